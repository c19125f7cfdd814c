"""What keys do."""

from __future__ import annotations

import attrs
import pytest

from matterstack.core.errors import UsageError
from matterstack.core.ids import RunId
from matterstack.core.run import messages as m
from matterstack.core.states import JobState
from matterstack.watch.known import Known, log_path, run_path
from matterstack.watch.shown_change import ShownChange
from matterstack.watch.typed_change import TypedChange
from matterstack.watch.view import (
    Action,
    Agree,
    Look,
    Quit,
    Screen,
    SentCommand,
    View,
    opened_run,
    press,
    run_of,
    selected_run,
    selected_task,
    wanted_documents,
)
from tests.support.states import RUN_ID, ToldRun, task
from tests.watch.scenes import known_of

OLD, NEW = RUN_ID, RunId("20260102T000000-abcdef")


def two_runs() -> Known:
    old, new = ToldRun.running(task("a"), task("b"), task("c", "a")), ToldRun.new(NEW)
    old.activate("a", "b")
    return known_of(old, new)


def typed(known: Known, view: View, *keys: str) -> tuple[View, list[Action]]:
    actions = []
    for key in keys:
        view, action = press(view, known, key, 10)
        actions += [] if action is None else [action]
        known.follow(opened_run(view) or OLD)
    return view, actions


def test_runs_are_chosen_from_the_newest_down() -> None:
    known = two_runs()
    assert selected_run(View(), known) == NEW
    assert selected_run(typed(known, View(), "down")[0], known) == OLD
    assert selected_run(typed(known, View(), "j", "j", "j", "k")[0], known) == NEW
    assert selected_run(typed(known, View(), "end")[0], known) == OLD
    assert selected_run(typed(known, View(), "end", "home")[0], known) == NEW
    assert selected_run(typed(known, View(), "page down", "page up")[0], known) == NEW


def test_enter_goes_deeper_and_escape_comes_back_to_where_one_was() -> None:
    known = two_runs()
    view, _ = typed(known, View(), "down", "enter")
    assert (view.screen, view.run_id) == (Screen.RUN, OLD)
    view, _ = typed(known, view, "down", "enter")
    assert (view.screen, view.task_id) == (Screen.TASK, "b")
    view, _ = typed(known, view, "l")
    assert view.screen is Screen.LOG
    view, _ = typed(known, view, "escape", "backspace")
    assert (view.screen, selected_task(view, known)) == (Screen.RUN, "b")
    view, _ = typed(known, view, "e")
    assert view.screen is Screen.EXPLAIN
    view, _ = typed(known, view, "escape", "escape", "escape", "escape")
    assert (view.screen, selected_run(view, known)) == (Screen.RUNS, OLD)


def test_the_log_of_the_chosen_task_is_one_key_away_and_leads_back() -> None:
    known = two_runs()
    view, _ = typed(known, run_of(OLD), "down", "l", "s")
    assert (view.screen, view.task_id, view.stream) == (Screen.LOG, "b", "stderr")
    assert typed(known, view, "s")[0].stream == "stdout"
    view, _ = typed(known, view, "escape", "down", "l")
    assert (view.screen, view.task_id, view.stream) == (Screen.LOG, "c", "stdout")


@pytest.mark.parametrize(("key", "command"), [("p", "pause"), ("c", "cancel")])
@pytest.mark.parametrize("screen", list(Screen))
def test_what_changes_a_run_is_done_after_a_yes_and_never_without(
    key: str, command: str, screen: Screen
) -> None:
    known = two_runs()
    view = View(screen=screen, run_id=OLD, task_id="a")
    asked, actions = typed(known, view, key)
    assert (asked.asked, actions) == (SentCommand(command, OLD), [])
    assert typed(known, asked, "y") == (view, [SentCommand(command, OLD)])
    assert typed(known, asked, "Y") == (view, [SentCommand(command, OLD)])
    for other in ("n", "enter", "escape", "q", key):
        assert typed(known, asked, other) == (view, []), other


def test_a_question_stays_about_the_run_that_it_was_asked_for() -> None:
    known = two_runs()
    known.runs.pop(NEW)
    view, _ = typed(known, View(), "p")
    newer = ToldRun.running(task("a"))
    known.runs[NEW] = {**known.runs[OLD], "run_id": NEW}
    assert newer.state.status.value == "RUNNING"
    assert selected_run(view, known) == NEW
    assert typed(known, view, "y")[1] == [SentCommand("pause", OLD)]


def test_what_a_run_cannot_be_told_is_said_before_anything_is_asked() -> None:
    run = ToldRun.running(task("a"))
    known = known_of(run)
    view, actions = typed(known, run_of(OLD), "r")
    assert (view.asked, actions) == (None, [])
    assert view.notice == f"demo {OLD} is RUNNING: only a PAUSED run can be resumed"
    assert typed(known, view, "down")[0].notice == ""
    run.tell(m.Pause(by="ann"))
    known = known_of(run)
    assert "only a RUNNING run can be paused" in typed(known, run_of(OLD), "p")[0].notice
    assert typed(known, run_of(OLD), "r")[0].asked == SentCommand("resume", OLD)
    run.activate()
    run.tell(m.Cancel(by="ann"), m.Settle())
    known = known_of(run)
    assert typed(known, run_of(OLD), "c")[0].notice == f"demo {OLD} is CANCELLED already"


def test_filters_go_round_and_the_choice_stays_within_them() -> None:
    known = two_runs()
    view, _ = typed(known, run_of(OLD), "tab")
    assert selected_task(view, known) == "a"
    view, _ = typed(known, view, "tab")
    assert selected_task(view, known) == "c"
    view, _ = typed(known, view, "tab")
    assert selected_task(view, known) is None
    assert typed(known, view, "enter", "l", "down") == (view, [])
    assert typed(known, view, "tab", "tab")[0] == run_of(OLD)
    assert typed(known, run_of(OLD), "back tab", "tab")[0] == run_of(OLD)


def test_q_quits_everywhere() -> None:
    known = two_runs()
    for screen in Screen:
        assert typed(known, View(screen=screen, run_id=OLD, task_id="a"), "q")[1] == [Quit()]


def test_where_there_is_nothing_keys_do_nothing() -> None:
    known = Known.of({"seq": 0, "jobs": {}, "runs": []})
    for key in ("down", "enter", "e", "p", "r", "c", "escape", "x"):
        assert press(View(), known, key, 10) == (View(), None), key


def test_texts_are_scrolled_from_their_top_and_output_from_its_end() -> None:
    known = two_runs()
    text = View(screen=Screen.EXPLAIN, run_id=OLD)
    assert typed(known, text, "down", "down", "up")[0].scroll == 1
    assert typed(known, text, "page down")[0].scroll == 10
    assert typed(known, text, "down", "home", "up")[0].scroll == 0
    output = View(screen=Screen.LOG, run_id=OLD, task_id="a")
    assert typed(known, output, "up", "up", "down")[0].scroll == 1
    assert typed(known, output, "page up", "end")[0].scroll == 0


def test_only_what_is_looked_at_is_asked_for() -> None:
    known = two_runs()
    assert wanted_documents(View(run_id=OLD), known) == [run_path(OLD, "explain")]
    assert opened_run(View(run_id=OLD)) is None
    assert wanted_documents(run_of(OLD), known) == [run_path(OLD, "explain")]
    assert opened_run(run_of(OLD)) == OLD
    log = View(screen=Screen.LOG, run_id=OLD, task_id="a", stream="stderr")
    assert wanted_documents(log, known) == [run_path(OLD, "explain"), log_path(OLD, "a", "stderr")]
    assert wanted_documents(attrs.evolve(log, task_id="c"), known) == [run_path(OLD, "explain")]
    known.runs[OLD]["questions"] = 1
    assert run_path(OLD, "questions") in wanted_documents(run_of(OLD), known)
    known.runs[OLD]["status"] = "COMPLETED"
    assert run_path(OLD, "explain") not in wanted_documents(run_of(OLD), known)
    assert wanted_documents(View(screen=Screen.EXPLAIN, run_id=OLD), known) == [run_path(OLD, "explain")]


def test_names_of_tasks_cannot_lead_to_other_documents() -> None:
    assert log_path(OLD, "../../x?y", "stdout").startswith(f"/api/runs/{OLD}/tasks/..%2F..%2Fx%3Fy/log?")


# ---- changes ----

SHOWN = ShownChange("amend", OLD, "p-1", ("demo: task a will be amended:", "  x: 1 -> 2", "Change it?"))


def failed_run() -> Known:
    run = ToldRun.running(task("a"), task("b"), task("c", "a"))
    run.activate("a", "b")
    run.end("a", JobState.COMPLETED_ERROR)
    run.collect("a")
    return known_of(run)


@pytest.mark.parametrize("screen", list(Screen))
@pytest.mark.parametrize(("key", "command", "begins"), [("a", "amend", "b "), ("t", "retry", "--failed ")])
def test_a_change_is_typed_looked_at_and_only_then_agreed_to(
    screen: Screen, key: str, command: str, begins: str
) -> None:
    known = failed_run()
    view = View(screen=screen, run_id=OLD, task_id="b")
    known.follow(OLD)
    begins = begins if screen in {Screen.RUN, Screen.TASK, Screen.LOG} else "--failed "
    typing, actions = typed(known, view, key)
    assert (typing.line, actions) == (TypedChange(command, OLD, begins), [])
    typing, actions = typed(known, typing, *"q env.X=y1", "backspace", *"2", "up", "tab")
    assert typing.line is not None
    assert (typing.line.text, actions) == (f"{begins}q env.X=y2", []), "keys of the screen are letters there"
    assert typed(known, typing, "escape") == (view, [])
    after, (look,) = typed(known, typing, "enter")
    assert after == view
    assert isinstance(look, Look)
    assert (look.command, look.run_id, look.line) == (command, OLD, typing.line)
    assert look.fields["set"] == ["env.X=y2"]


def test_a_retry_begins_with_the_selected_task_where_that_has_failed() -> None:
    known = failed_run()
    view = View(screen=Screen.RUN, run_id=OLD, task_id="a")
    known.follow(OLD)
    line = typed(known, view, "t")[0].line
    assert line is not None
    assert line.text == "a "


def test_what_was_shown_is_done_after_a_yes_and_never_without() -> None:
    known = failed_run()
    view = View(screen=Screen.RUN, run_id=OLD)
    shown = attrs.evolve(view, shown=SHOWN)
    for key in ("y", "Y"):
        assert typed(known, shown, key) == (view, [Agree(SHOWN)])
    for key in ("n", "enter", "escape", "q", "a", "x"):
        assert typed(known, shown, key) == (view, []), key


def test_the_selected_task_is_cancelled_after_it_was_shown_what_ends_with_it() -> None:
    known = failed_run()
    for screen in (Screen.RUN, Screen.TASK):
        view = View(screen=screen, run_id=OLD, task_id="b")
        known.follow(OLD)
        assert typed(known, view, "x") == (view, [Look("cancel_tasks", OLD, {"tasks": ["b"]})])
    for screen in (Screen.RUNS, Screen.LOG, Screen.EXPLAIN):
        view = View(screen=screen, run_id=OLD, task_id="b")
        assert typed(known, view, "x") == (view, [])


def test_what_cannot_be_changed_is_said_before_anything_is_typed() -> None:
    run = ToldRun.running(task("a"))
    run.tell(m.Cancel(by="ann"), m.Settle())
    known = known_of(run)
    for key in "atxfn":
        view, actions = typed(known, View(screen=Screen.RUN, run_id=OLD, task_id="a"), key)
        assert (view.line, actions) == (None, [])
        assert f"demo {OLD} is CANCELLED" in view.notice


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("a", "amend tasks"),
        ("t", "show first what a retry would change"),
        ("x", "cancel single tasks"),
        ("f", "amend the config"),
        ("n", "plan a run anew"),
    ],
)
def test_of_an_older_monitor_it_is_said_what_it_cannot_do_before_anything_is_typed(
    key: str, words: str
) -> None:
    known = failed_run()
    # As 0.2.0 has it: its retry can not be looked at first.
    names = ("pause", "resume", "cancel", "retry", "rerun", "respond")
    known.runs[OLD]["allowed"] = dict.fromkeys(names, True)
    known.follow(OLD)
    view = View(screen=Screen.RUN, run_id=OLD, task_id="b")
    after, actions = typed(known, view, key)
    assert (after.line, actions) == (None, [])
    assert f"demo {OLD}: its monitor is of an older version, and cannot {words}" in after.notice
    assert typed(known, view, "p")[0].asked == SentCommand("pause", OLD)


@pytest.mark.parametrize("screen", list(Screen))
@pytest.mark.parametrize(
    ("key", "command", "words", "fields"),
    [
        ("f", "amend_config", "priority=3 from-workspace", {"set": ["priority=3"], "from_workspace": True}),
        ("n", "replan", "redo-changed --yes-plan", {"redo_changed": True, "yes_plan": True}),
        ("n", "replan", "", {}),
    ],
)
def test_config_and_plan_are_those_of_the_whole_run_whatever_is_selected(
    screen: Screen, key: str, command: str, words: str, fields: dict[str, object]
) -> None:
    known = failed_run()
    view = View(screen=screen, run_id=OLD, task_id="b")
    known.follow(OLD)
    typing, actions = typed(known, view, key)
    assert (typing.line, actions) == (TypedChange(command, OLD), [])
    after, (look,) = typed(known, typing, *words, "enter")
    assert after == view
    assert look == Look(command, OLD, fields, TypedChange(command, OLD, words))


def test_a_change_that_is_shown_can_be_read_to_its_end_and_is_still_asked() -> None:
    known = failed_run()
    view = View(screen=Screen.EXPLAIN, run_id=OLD, scroll=2)
    shown = attrs.evolve(view, shown=SHOWN)
    moved, actions = typed(known, shown, "down", "j", "page down", "up")
    assert (moved, actions) == (attrs.evolve(shown, above=11), [])
    assert typed(known, moved, "home")[0] == shown
    assert typed(known, moved, "y") == (view, [Agree(SHOWN)])
    assert typed(known, moved, "n") == (view, [])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("relax-1", "say what is to change"),
        ("relax-1 resources.walltim_s=1", "(did you mean resources.walltime_s?)"),
        ("--kind", "--kind: what?"),
        ("--exit-code x env.A=1", "--exit-code: must be a whole number, not 'x'"),
        ("--fialed env.A=1", "there is no --fialed"),
        ("'relax-1 env.A=1", "cannot be split into words"),
        ("=1", "no PATH=VALUE"),
    ],
)
def test_a_line_that_makes_no_sense_is_typed_on(text: str, words: str) -> None:
    known = two_runs()
    view = attrs.evolve(run_of(OLD), line=TypedChange("amend", OLD, text))
    after, actions = typed(known, view, "enter")
    assert (after.line, actions) == (view.line, [])
    assert words in after.notice


@pytest.mark.parametrize(
    ("command", "text", "words"),
    [
        ("amend_config", "", "say what is to change"),
        ("amend_config", "--why x", "say what is to change"),
        ("amend_config", "priority", "there is no priority (there are: from-workspace"),
        ("amend_config", "--priority=3", "there is no --priority=3"),
        ("amend_config", "--config priority", "'priority' is no PATH=VALUE"),
        ("amend_config", "--config", "--config: what?"),
        ("replan", "redo", "there is no redo (there are: redo-changed, cancel-gone, yes-plan, --why"),
        ("replan", "relax-1", "or nothing at all"),
        ("replan", "yes-plan=1", "there is no yes-plan=1"),
    ],
)
def test_a_line_about_the_whole_run_that_makes_no_sense_is_typed_on(
    command: str, text: str, words: str
) -> None:
    known = two_runs()
    view = attrs.evolve(run_of(OLD), line=TypedChange(command, OLD, text))
    after, actions = typed(known, view, "enter")
    assert (after.line, actions) == (view.line, [])
    assert words in after.notice


def test_lines_about_the_whole_run_take_the_words_of_the_command_line() -> None:
    line = """'backends.c.prologue=["module load a"]' --config priority=3 --resubmit --why='new module'"""
    assert TypedChange("amend_config", OLD, line).fields() == {
        "set": ['backends.c.prologue=["module load a"]', "priority=3"],
        "resubmit": True,
        "reason": "new module",
    }
    from_files = {"set": [], "from_workspace": True}
    for word in ("from-workspace", "--from-workspace", "--config-from-workspace"):
        assert TypedChange("amend_config", OLD, word).fields() == from_files, word
    every = {"redo_changed": True, "cancel_gone": True, "yes_plan": True, "reason": "mended"}
    assert TypedChange("replan", OLD, "--redo-changed cancel-gone yes-plan --why mended").fields() == every


@pytest.mark.parametrize("command", ["amend", "retry"])
def test_why_is_kept_and_is_not_what_tasks_failed_with(command: str) -> None:
    fields = TypedChange(command, OLD, "scf priority=1 --reason gone --why 'too short'").fields()
    assert (fields["reason"], fields["which"]) == ("too short", {"reason": "gone"})


def test_a_line_names_tasks_as_the_command_line_does() -> None:
    which = "'relax-*' scf --failed --kind=timeout --kind exit:3 --exit-code 3 --reason 'no licence'"
    fields = TypedChange("retry", OLD, f"{which} --set env.A=x priority=1").fields()
    assert fields == {
        "tasks": ["relax-*", "scf"],
        "which": {"failed": True, "kinds": ["timeout", "exit:3"], "exit_codes": [3], "reason": "no licence"},
        "set": ["env.A=x", "priority=1"],
    }
    assert TypedChange("amend", OLD, "scf --resubmit").fields()["resubmit"] is True
    with pytest.raises(UsageError, match="there is no --resubmit"):
        TypedChange("retry", OLD, "scf --resubmit").fields()


def test_a_line_and_its_last_word_can_be_taken_back() -> None:
    line = TypedChange("amend", OLD, "scf env.A=x")
    assert line.typed("\x17").text == "scf "
    assert line.typed("\x15").text == ""
    assert TypedChange("amend", OLD).typed("backspace").typed("\x00").text == ""
