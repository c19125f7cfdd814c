"""What is drawn: the right things, in the room that there is, and never more."""

from __future__ import annotations

from datetime import UTC

import attrs
import pytest
from rich.cells import cell_len

from matterstack.core.ids import RunId
from matterstack.core.model.workflow import Workflow
from matterstack.core.operators import ASKED
from matterstack.core.run import messages as m
from matterstack.core.run.replan_steps import Step
from matterstack.core.states import JobState
from matterstack.watch.drawing import draw
from matterstack.watch.known import Known, Stream, log_path, run_path
from matterstack.watch.parts import Scene, window
from matterstack.watch.shown_change import ShownChange
from matterstack.watch.typed_change import TypedChange
from matterstack.watch.view import Screen, SentCommand, View, run_of
from tests.support.states import RUN_ID, ToldRun, task
from tests.watch.scenes import NOW, because, known_of, lines_with, look, rows

OTHER = RunId("20260102T000000-abcdef")
NAUGHTY = "\x1b[2J\x1b]0;x\x07[red]\u202eevil\n\x9b1m\ud83d"


def busy_run() -> ToldRun:
    """Some of everything."""
    run = ToldRun.running(
        task("good"), task("bad", allow_failure=True), task("now"), task("later", "now"), task("free")
    )
    run.prepare(seats=3)
    run.submit("good", "bad", "now")
    run.end("good")
    run.collect("good")
    run.end("bad", JobState.COMPLETED_ERROR, reason="it broke")
    run.collect("bad")
    run.tell(m.Observed(token=run.token("now"), state=JobState.RUNNING))
    return run


# ---- all runs


def test_all_runs_are_there_with_progress_seats_and_why_not() -> None:
    run, waiting = busy_run(), ToldRun.new(OTHER)
    shown = look(known_of(run, waiting), View(), 160, 24)
    first, second = lines_with(shown, "-abcdef")[:2]
    assert first.startswith(f"▸ demo      {OTHER} PENDING")
    assert "no engine has taken it up yet" in first
    assert second.startswith(f"  demo      {RUN_ID} RUNNING   █████████▒▒▒▒▒░░░░░░░░░░")
    assert second.split()[-2:] == ["2/5", "1"]
    assert "2 runs  1 PENDING  1 RUNNING" in shown.splitlines()[0]
    assert shown.splitlines()[0].endswith("● live")
    assert "seats taken: cluster 0 of 100 · local 1 of 4" in shown


def test_the_chosen_run_is_told_of_more_closely() -> None:
    run = busy_run()
    known = known_of(run)
    because(known, run, {"message": "job 7 waits in the queue"}, {"message": "and more"})
    shown = look(known, View())
    assert "1 active, 1 failed, 1 ready, 1 waiting, 1 succeeded" in shown
    assert "1 of 10 jobs · local: 1 of 4 seats taken · cluster: 0 of 100 seats taken" in shown
    assert "why: job 7 waits in the queue (and 1 more cause: e)" in shown
    because(known, run, {"message": "task x waits for a person", "needs_person": True})
    assert "needs you: task x waits for a person" in look(known, View())


def test_without_runs_it_is_said_how_to_get_one() -> None:
    known = Known.of({"seq": 0, "jobs": {}, "runs": []})
    assert "matterstack run start WORKSPACE" in look(known, View())


@pytest.mark.parametrize("chosen", [0, 1, 99, 150, 199])
def test_of_two_hundred_runs_those_around_the_chosen_one_are_drawn(chosen: int) -> None:
    runs = [ToldRun.new(RunId(f"20260101T{i:06d}-abcdef")) for i in range(200)]
    shown = look(known_of(*runs, opened=False), View(run_id=runs[chosen].state.run_id), 100, 24)
    listed = [line.split()[-8:] for line in shown.splitlines() if "PENDING" in line and "-abcdef" in line]
    assert len(listed) == 24 - 4 - 5
    (marked,) = lines_with(shown, "▸")
    assert f"{chosen:06d}-abcdef" in marked


def test_a_window_holds_the_chosen_entry_and_is_full_where_it_can_be() -> None:
    for count in (0, 1, 5, 6, 100):
        for selected in range(count):
            shown = window(count, selected, 5)
            assert selected in shown
            assert len(shown) == min(5, count)
    assert list(window(0, 0, 5)) == []


# ---- one run


def test_a_run_shows_its_tasks_what_needs_a_look_first_and_its_last_events() -> None:
    shown = look(known_of(busy_run()), width=120, height=30)
    assert shown.splitlines()[0].startswith(f"demo  {RUN_ID}  RUNNING")
    assert " 2 of 5: 1 active, 1 failed, 1 ready, 1 waiting, 1 succeeded" in shown
    heading = next(i for i, line in enumerate(shown.splitlines()) if line.startswith("  TASK"))
    tasks = [line[2:].split() for line in shown.splitlines()[heading + 1 : heading + 6]]
    assert [line[:2] for line in tasks] == [
        ["now", "ACTIVE"], ["bad", "FAILED"], ["free", "READY"], ["later", "WAITING"], ["good", "SUCCEEDED"],
    ]  # fmt: skip
    assert "local RUNNING job-now" in shown
    assert lines_with(shown, "1-5 of 5")
    assert "00:00:17 bad FAILED: it broke" in shown
    assert lines_with(shown, "now is RUNNING")


def test_what_a_run_asks_is_shown_with_the_command_that_answers() -> None:
    run = ToldRun.running(task("pick", operator="human", command=[]))
    known = known_of(run)
    known.runs[RUN_ID]["questions"] = 2
    question = {"task_id": "pick", "text": "Which\none?"}
    known.take_document(run_path(RUN_ID, "questions"), {"questions": [question], "count": 2})
    narrow, wide = look(known), look(known, width=150)
    assert "pick asks: Which one?" in narrow
    assert f"matterstack respond {RUN_ID} pick" in narrow
    assert "and 1 more questions" in narrow
    (line,) = lines_with(wide, "pick asks")
    assert line.endswith(f"matterstack respond {RUN_ID} pick")
    broken = {**question, "problem": "operators/pick: 'pick' is a symbolic link"}
    known.take_document(run_path(RUN_ID, "questions"), {"questions": [broken], "count": 1})
    assert "  operators/pick: 'pick' is a symbolic link" in look(known)


def test_only_the_tasks_that_were_asked_for_are_listed() -> None:
    known = known_of(busy_run())
    shown = look(known, attrs.evolve(run_of(RUN_ID), only=3))
    (bad,) = lines_with(shown, "FAILED  ")
    assert bad.startswith("▸ bad")
    assert "1-1 of 1 failed" in shown


def test_rounds_are_listed_where_there_is_room() -> None:
    run = ToldRun.running(task("a"))
    run.succeed("a")
    run.tell(m.Settle(), m.Analyzed(iteration=1, state={}))
    run.tell(m.Planned(iteration=2, workflow=Workflow([task("b")], name="second")))
    shown = look(known_of(run), width=100, height=45)
    assert lines_with(shown, "  2 second")
    assert "round 2 (second)" in shown


def test_of_a_run_that_is_being_cancelled_nothing_else_is_said_than_that() -> None:
    run = busy_run()
    run.tell(m.Cancel(by="ann", reason="wrong cell"))
    known = known_of(run)
    because(known, run, {"message": "task x waits for a person", "needs_person": True})
    for view in (View(), run_of(RUN_ID)):
        shown = look(known, view)
        assert "being cancelled by ann: wrong cell" in shown
        assert "waits for a person" not in shown


def test_a_question_has_no_output() -> None:
    run = ToldRun.running(task("pick", operator="gate", command=[]))
    run.tell(m.Prepare(backend=ASKED, seats=1))
    shown = look(known_of(run), View(screen=Screen.TASK, run_id=RUN_ID, task_id="pick"))
    assert "gate waits for an answer, and prints nothing" in shown


def test_a_run_that_is_not_read_yet_or_cannot_be_says_so() -> None:
    run = busy_run()
    known = known_of(run, opened=False)
    assert "reading its tasks…" in look(known, run_of(RUN_ID))
    assert "there is no run 20260102T000000-abcdef" in look(known, run_of(OTHER))


# ---- texts


def with_log(text: str, **more: object) -> Known:
    known = known_of(busy_run())
    path = log_path(RUN_ID, "bad", "stdout")
    known.take_document(path, {"text": text, "attempt": 1, "start": 0, "size": len(text), **more})
    return known


TASK = View(screen=Screen.TASK, run_id=RUN_ID, task_id="bad")
LOG = attrs.evolve(TASK, screen=Screen.LOG)


def test_a_task_shows_its_attempts_and_the_end_of_its_output() -> None:
    shown = look(with_log("".join(f"step {i}\n" for i in range(100))), TASK)
    assert shown.splitlines()[0].startswith("bad  FAILED")
    assert "reason     it broke" in shown
    assert "attempt 1  COMPLETED_ERROR, on local job job-bad, exit code 1," in shown
    assert lines_with(shown, "step 99")
    assert not lines_with(shown, "step 40")


def test_output_can_be_scrolled_to_its_beginning_and_no_further() -> None:
    known = with_log("".join(f"step {i}\n" for i in range(100)))
    assert "step 99" in look(known, LOG).splitlines()[-3], "over two lines of keys"
    top = look(known, attrs.evolve(LOG, scroll=10**9))
    assert top.splitlines()[2] == "step 0"
    scene = Scene(known=known, view=LOG, width=80, height=24, now=NOW, zone=UTC)
    most = draw(scene).most_scroll
    assert look(known, attrs.evolve(LOG, scroll=most)) == top
    assert look(known, attrs.evolve(LOG, scroll=most - 1)).splitlines()[2] == "step 1"
    assert f"{most} lines further down" in top


@pytest.mark.parametrize(
    ("task_id", "document", "words"),
    [
        ("later", None, "it has not been tried yet"),
        ("bad", None, "reading…"),
        ("bad", {"text": "", "attempt": 1, "start": 0, "size": 0}, "nothing was printed"),
        ("bad", {"error": "no such task"}, "no such task"),
        (
            "bad",
            {"text": "x\n", "attempt": 2, "start": 9, "size": 11},
            "stdout of attempt 2, the last 1 lines",
        ),
    ],
)
def test_why_there_is_no_output_is_said(task_id: str, document: dict[str, object] | None, words: str) -> None:
    known = known_of(busy_run())
    if document is not None:
        known.take_document(log_path(RUN_ID, task_id, "stdout"), document)
    assert words in look(known, attrs.evolve(LOG, task_id=task_id))


def test_causes_are_told_with_since_when_and_what_can_be_done() -> None:
    run = busy_run()
    known = known_of(run)
    explain = View(screen=Screen.EXPLAIN, run_id=RUN_ID)
    assert "looking…" in look(known, explain)
    because(known, run)
    assert "nothing keeps it from going on" in look(known, explain)
    cause = {"message": "held by you", "action": "scontrol release 7\nsqueue", "blocks": 2}
    since = "2026-01-01T00:00:00.000000Z"
    because(known, run, {**cause, "since": since}, *({"message": f"cause {i}"} for i in range(30)))
    shown = look(known, explain)
    assert shown.splitlines()[2:6] == [
        "1. held by you",
        "   since 00:00:00 (5 min); 2 tasks wait for it",
        "     scontrol release 7",
        "     squeue",
    ]
    assert lines_with(look(known, attrs.evolve(explain, scroll=10**9)), "31. cause 29")


# ---- connection, questions, keys


def test_whoever_looks_is_told_when_what_they_see_is_old() -> None:
    known = known_of(busy_run())
    known.stream = Stream(lost_at="2026-01-01T00:04:00.000000Z", problem="the connection was lost")
    for view in (View(), run_of(RUN_ID), TASK, LOG, View(screen=Screen.EXPLAIN, run_id=RUN_ID)):
        shown = look(known, view)
        assert shown.splitlines()[0].endswith("○ not live since 00:04:00")
        assert "not live: the connection was lost; trying again" in shown
    known.stream = Stream(lost_at="2026-01-01T00:04:00.000000Z")
    assert "connecting…" in look(known, View())


@pytest.mark.parametrize("screen", list(Screen))
@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_keys_are_named_below(screen: Screen, width: int) -> None:
    view = View(screen=screen, run_id=RUN_ID, task_id="bad")
    foot = " ".join(look(with_log("x\n"), view, width).splitlines()[-4:])
    assert "q quit" in foot
    assert ("p pause" in foot) is (screen not in {Screen.TASK, Screen.LOG})
    assert ("esc" in foot) is (screen is not Screen.RUNS)


def test_a_question_names_its_run_and_what_will_happen() -> None:
    known = known_of(busy_run())
    asked = attrs.evolve(run_of(RUN_ID), asked=SentCommand("cancel", RUN_ID))
    shown = " ".join(look(known, asked).splitlines()[-2:])
    assert f"Cancel demo {RUN_ID} for ever?" in shown
    assert "y: yes, any other key: no" in shown
    assert "p pause" not in shown
    told = attrs.evolve(run_of(RUN_ID), notice="it was paused")
    assert "it was paused" in look(known, told).splitlines()[-3]


# ---- whatever comes


def naughty() -> tuple[Known, list[View]]:
    run = ToldRun.running(task("bad"))
    run.activate("bad")
    run.end("bad", JobState.COMPLETED_ERROR, reason=NAUGHTY)
    run.collect("bad")
    run.tell(m.Pause(by=NAUGHTY, reason=NAUGHTY))
    known = known_of(run)
    entry = known.runs[RUN_ID]
    entry["workspace"] = NAUGHTY
    entry["questions"] = 1
    entry["stages"] = [{"iteration": i, "name": NAUGHTY, "jobs": 0, "tasks": {}} for i in (1, 2)]
    entry["caps"]["backends"][NAUGHTY] = {"max_jobs": 1, "jobs": 0}
    because(known, run, {"message": NAUGHTY, "action": NAUGHTY, "blocks": 1})
    question = {"task_id": NAUGHTY, "text": NAUGHTY}
    known.take_document(run_path(RUN_ID, "questions"), {"questions": [question], "count": 1})
    for stream in ("stdout", "stderr"):
        document = {"text": NAUGHTY, "attempt": 1, "start": 0, "size": 9}
        known.take_document(log_path(RUN_ID, "bad", stream), document)
    known.stream = Stream(lost_at="2026-01-01T00:04:00.000000Z", problem=NAUGHTY)
    views = [View(screen=screen, run_id=RUN_ID, task_id="bad") for screen in Screen]
    asked = [attrs.evolve(view, asked=SentCommand("pause", RUN_ID)) for view in views]
    change = ShownChange("amend", RUN_ID, "p-1", (NAUGHTY, f"  {NAUGHTY}", NAUGHTY))
    asked += [attrs.evolve(view, shown=change) for view in views]
    asked += [attrs.evolve(view, line=TypedChange("amend", RUN_ID, NAUGHTY)) for view in views]
    return known, [*views, *asked, *(attrs.evolve(view, notice=NAUGHTY) for view in views)]


@pytest.mark.parametrize(
    "size", [(1, 1), (2, 3), (10, 5), (20, 4), (40, 12), (80, 24), (81, 25), (132, 43), (200, 50), (400, 120)]
)
def test_every_picture_fills_the_terminal_exactly_and_controls_nothing(size: tuple[int, int]) -> None:
    width, height = size
    known, views = naughty()
    empty = Known.of({"seq": 0, "jobs": {}, "runs": []})
    for one, view in [*((known, view) for view in views), *((empty, view) for view in views)]:
        drawn = rows(one, view, width, height)
        assert len(drawn) == height, view
        assert {cell_len(row) for row in drawn} == {width}, view
        assert all(row.isprintable() for row in drawn), view


def test_markup_of_others_is_shown_as_it_was_written() -> None:
    known, _ = naughty()
    shown = look(known, View(screen=Screen.LOG, run_id=RUN_ID, task_id="bad"))
    assert "[red]" in shown


def test_what_would_change_stands_over_the_question_and_long_lines_are_broken() -> None:
    known = known_of(busy_run())
    lines = ("demo: tasks a and b will be amended:", f"  env.A: nothing -> {'x' * 120}", "Change it?")
    view = attrs.evolve(run_of(RUN_ID), shown=ShownChange("amend", RUN_ID, "p-1", lines))
    foot = look(known, view).splitlines()[-5:]
    assert foot[0].startswith("demo: tasks a and b will be amended:")
    assert foot[1].startswith("  env.A: nothing ->")
    assert foot[-1].startswith("Change it?  y: yes, any other key: no")
    many = ShownChange("amend", RUN_ID, "p-1", (*(f"line {n}" for n in range(100)), "Change it?"))
    assert look(known, attrs.evolve(view, shown=many)).splitlines()[-1].startswith("Change it?")


def test_of_what_is_typed_the_end_is_always_there() -> None:
    known = known_of(busy_run())
    line = TypedChange("amend", RUN_ID, f"task-{'x' * 200} env.A=end")
    shown = look(known, attrs.evolve(run_of(RUN_ID), line=line, notice="that was wrong")).splitlines()
    (place,) = [number for number, row in enumerate(shown) if "env.A=end▏" in row]
    assert "that was wrong" in shown[place - 1]
    assert "esc: leave it" in " ".join(shown[place:])


def test_whoever_resumes_a_run_is_told_why_it_waits() -> None:
    run = busy_run()
    run.tell(m.Pause(by="ann", reason="10 tasks ended alike"))
    asked = attrs.evolve(run_of(RUN_ID), asked=SentCommand("resume", RUN_ID))
    assert "10 tasks ended alike" in " ".join(look(known_of(run), asked, 200).splitlines()[-2:])


def told(command: str, **result: object) -> list[str]:
    shown = ShownChange.of(command, RUN_ID, {"basis": "p-1", "result": result}, "demo")
    return [] if shown is None else list(shown.lines)


def test_what_would_change_is_told_in_words() -> None:
    difference = {"path": "resources.walltime_s", "old": 60, "new": 7200, "tasks": ["a", "b"]}
    some: dict[str, object] = {
        "selected": ["a", "b"], "tasks": ["a", "b"], "differences": [difference], "queued": ["a"],
        "running": ["b"], "resubmitted": [], "warnings": ["cluster was not asked"],
    }  # fmt: skip
    assert told("amend", **some) == [
        "demo: tasks a and b will be amended:",
        "  resources.walltime_s: 60 -> 7200   (2 tasks)",
        "task b at work now: not touched; a next attempt is as it says",
        "task a submitted: keeps what it was submitted with",
        "warning: cluster was not asked",
        "Change it?",
    ]
    assert told("retry", **{**some, "queued": [], "running": [], "warnings": []}) == [
        "demo: tasks a and b will be tried again, amended before:",
        "  resources.walltime_s: 60 -> 7200   (2 tasks)",
        "Try them again?",
    ]
    many = [{**difference, "path": f"env.{n}"} for n in range(11)]
    assert "  and 3 more differences" in told("amend", **{**some, "differences": many})
    anew = {**some, "differences": [], "tasks": [], "queued": [], "running": [], "warnings": []}
    assert told("amend", **{**anew, "resubmitted": ["a"]})[:2] == [
        "demo: nothing is amended.",
        "task a submitted, and waiting: cancelled and submitted anew",
    ]
    ends = {"task_id": "a", "is_live": True, "because": None}
    with_it = {"task_id": "c", "is_live": False, "because": "a"}
    assert told("cancel_tasks", tasks=[ends, with_it]) == [
        "demo: tasks a and c will be cancelled, 1 of them with jobs, which are ended first.",
        "task c: since a task before it is",
        "The run goes on without them. Cancel them?",
    ]
    assert told("cancel_tasks", tasks=[]) == []


def test_another_config_is_told_in_words() -> None:
    result: dict[str, object] = {
        "config": [
            {"path": "priority", "old": 1, "new": 3, "is_new": False, "is_gone": False},
            {"path": "backends.more", "old": None, "new": {"type": "local"}, "is_new": True},
            {"path": "params", "old": {"n": 1}, "new": None, "is_new": False, "is_gone": True},
        ],
        "resubmitted": ["a"], "queued": [], "running": ["b"], "notes": ["warning: cluster was not asked"],
    }  # fmt: skip
    assert told("amend_config", **result) == [
        "demo: its config, from now on:",
        "  priority: 1 -> 3",
        '  backends.more: not set -> {"type": "local"}',
        '  params: {"n": 1} -> not set',
        "task a submitted, and waiting: cancelled and submitted anew",
        "task b at work now: not touched",
        "warning: cluster was not asked",
        "Change it?",
    ]
    assert told("amend_config", **{**result, "config": []}) == []


def planned(task_id: str, change: str, step: str, **more: object) -> dict[str, object]:
    return {"task_id": task_id, "change": change, "status": None, "step": step,
            "differences": [], "clashes": [], "files": [], **more}  # fmt: skip


PLAN: dict[str, object] = {
    "iteration": 2, "name": None, "same": 37, "reopened": ["d", "e"], "skipped": ["f"], "reopens_run": True,
    "campaign": [{"path": "campaign.py", "old": "1" * 64, "new": "2" * 64}],
    "warnings": ["cluster was not asked"],
}  # fmt: skip


def test_a_plan_is_told_with_all_that_becomes_of_tasks() -> None:
    longer = {"differences": [{"path": "resources.walltime_s", "old": 60, "new": 7200}]}
    clash = {"path": "priority", "amended": "a -> b", "planned": 4, "takes": "amended"}
    tasks = [
        planned("a", "new", "planned"),
        planned("b", "changed", "changed", **longer),
        planned("c", "changed", "changed", **longer),
        planned("d", "changed", "tried_again", files=[{"name": "INCAR", "old": None, "new": "3" * 64}]),
        planned("g", "changed", "stale", **longer),
        planned("h", "changed", "next_attempt", clashes=[clash, {**clash, "takes": "planned"}]),
        planned("i", "gone", "withdrawn"),
        planned("j", "gone", "job_left"),
        planned("k", "gone", "job_ended"),
        planned("l", "changed", "some_new_step"),
    ]
    assert told("replan", tasks=tasks, **PLAN) == [
        "demo: iteration 2 as it is planned now (campaign.py changed)",
        "  a: new",
        "  b, c: changed",
        "    resources.walltime_s: 60 -> 7200",
        "  d: changed; failed: tried again",
        "    files.INCAR: the content has changed (nothing -> 33333333)",
        "  g: stale: succeeded with another definition, and stays (--redo-changed does it again)",
        "    resources.walltime_s: 60 -> 7200",
        "  h: changed; at work now: not touched, a next attempt is as it says",
        "    clash: priority: 'a -> b' was amended, 4 is planned now: the amendment's stays (--yes-plan)",
        "    clash: priority: 'a -> b' was amended, 4 is planned now: the plan's is taken",
        "  i: gone: withdrawn",
        "  j: gone: its job goes on, and no other follows (--cancel-gone ends it)",
        "  k: gone: its job is ended",
        "  l: changed: some_new_step",
        "  e: as planned before, and to be done after all",
        "  f: skipped, since what it depends on did not succeed",
        "  37 tasks as planned before",
        "  the run goes on",
        "warning: cluster was not asked",
        "Take this plan (1 new, 5 changed, 1 stale, 3 gone, 1 job ended)?",
    ]
    again = [planned("a", "changed", "redone")]
    assert told("replan", tasks=again, **PLAN)[-1] == "Take this plan (1 done again)?"
    assert told("replan", tasks=[], **PLAN)[-1] == "Take this plan?"


def test_each_step_that_a_plan_may_take_has_its_words() -> None:
    for step in set(Step) - {Step.SAME}:
        (line,) = [
            line for line in told("replan", tasks=[planned("a", "x", step)], **PLAN) if "  a: " in line
        ]
        assert "x:" not in line, step


def test_of_a_plan_that_is_too_long_it_is_told_how_much_of_what_there_is() -> None:
    each = [
        planned(f"t{n}", "changed", "changed", differences=[{"path": "env.N", "old": None, "new": str(n)}])
        for n in range(130)
    ]
    gone = [planned(f"gone-{n}", "gone", "job_ended") for n in range(1300)]
    lines = told("replan", tasks=[*each, *gone], **PLAN)
    assert "  t99: changed" in lines
    assert "  t100: changed" not in lines
    place = lines.index("  and 1,330 more tasks, each with differences of its own:")
    assert lines[place + 1 : place + 3] == [
        "    30 tasks: changed",
        "    1,300 tasks: gone: its job is ended",
    ]
    (line,) = [line for line in told("replan", tasks=gone, **PLAN) if "gone-0," in line]
    assert line.endswith("gone-59 and 1,240 more: gone: its job is ended")


@pytest.mark.parametrize("size", [(80, 24), (40, 8)])
def test_all_of_a_change_can_be_read_above_the_question(size: tuple[int, int]) -> None:
    known = known_of(busy_run())
    lines = (*(f"line {n}." for n in range(100)), "Take this plan?")
    view = attrs.evolve(run_of(RUN_ID), shown=ShownChange("replan", RUN_ID, "p-1", lines))
    seen: set[str] = set()
    asked = 1 if size[0] == 80 else 2
    room = size[1] - 2 - asked
    for above in range(0, 100, room):
        scene = Scene(
            known=known, view=attrs.evolve(view, above=above), width=size[0], height=size[1], now=NOW
        )
        picture = draw(scene)
        foot = [row.plain.rstrip() for row in picture.rows]
        question = "Take this plan?  ↑↓: read on, y: yes, any other key: no"
        assert " ".join(foot[-asked:]) == question
        first = min(above, 100 - room)
        assert foot[-asked - 1].startswith(f"─ lines {first + 1}-{first + room} of 100; ↑↓: the others")
        assert picture.most_above == 100 - room
        seen |= set(foot)
    assert set(lines[:-1]) <= seen
    short = attrs.evolve(view, shown=ShownChange("replan", RUN_ID, "p-1", lines[-3:]), above=9)
    question = "Take this plan?  y: yes, any other key: no"
    assert look(known, short).splitlines()[-3:] == ["line 98.", "line 99.", question]


def key_help(known: Known, screen: Screen) -> str:
    view = View(screen=screen, run_id=RUN_ID, task_id="bad")
    return " ".join(look(known, view, 200).splitlines()[-3:])


@pytest.mark.parametrize("screen", list(Screen))
def test_only_keys_for_what_the_run_can_be_told_are_named(screen: Screen) -> None:
    run = busy_run()
    known = known_of(run)
    foot = key_help(known, screen)
    assert "f config" in foot
    assert "n replan" in foot
    assert "r resume" not in foot, "it is RUNNING"
    known.runs[RUN_ID]["allowed"]["replan"] = "RUNNING, and nothing has been planned yet"
    known.runs[RUN_ID]["allowed"]["amend_config"] = "CANCELLED: nothing of it is amended any more"
    foot = key_help(known, screen)
    assert "f config" not in foot
    assert "n replan" not in foot
    assert "a amend" in foot
    known.runs[RUN_ID]["allowed"] = {"pause": True, "retry": True}
    foot = key_help(known, screen)
    assert not [words for words in ("a amend", "t try again", "f config", "n replan") if words in foot]


@pytest.mark.parametrize(
    ("command", "called", "words"),
    [("amend_config", "config: ", "from-workspace"), ("replan", "replan: ", "redo-changed")],
)
def test_what_may_be_typed_about_the_whole_run_stands_below(command: str, called: str, words: str) -> None:
    view = attrs.evolve(run_of(RUN_ID), line=TypedChange(command, RUN_ID, "x"))
    shown = look(known_of(busy_run()), view).splitlines()
    (place,) = [number for number, row in enumerate(shown) if row.startswith(f"{called}x▏")]
    assert words in " ".join(shown[place:])
    assert "esc: leave it" in " ".join(shown[place:])
