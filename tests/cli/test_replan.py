"""``run replan``: a mended campaign is asked once more for the iteration in hand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from matterstack.actors.runtime import Runtime
from matterstack.core.ids import RunId
from matterstack.core.run.messages import Replan, ReplanChoices
from matterstack.storage.commands import insert_command, open_commands
from matterstack.storage.layout import Root
from matterstack.storage.schema import open_database
from matterstack.usecases.replanning import keep_replanned, preview_replan
from tests.support.campaigns import Diary, write_tasks, write_workspace
from tests.support.command import CommandLine
from tests.support.on_terminal import on_terminal
from tests.support.polling import wait_until

TWO_ROUNDS: Final = """\
from pathlib import Path
from matterstack import Task, Workflow

class Rounds:
    def plan(self, state, results):
        n = state.get("n", 0)
        if n == 2:
            return None
        seen = sorted(results)
        return Workflow([Task(f"{name}{n}", command=["true"], params={"seen": seen}) for name in NAMES])

    def analyze(self, state, results):
        return {"n": state.get("n", 0) + 1, "names": sorted(results)}

NAMES = ["a", "b"]

def get_campaign():
    return Rounds()
"""
COPY: Final = ["cp", "in.dat", "out.dat"]


def script(words: str) -> list[str]:
    return ["bash", "-c", words]


def made(command_line: CommandLine, *tasks: Mapping[str, Any], **files: str) -> str:
    folder = write_tasks(command_line.root, "w", tasks)
    for name, content in files.items():
        (folder / name.replace("_", ".")).write_text(content)
    return command_line.new_run("w")


def mend(command_line: CommandLine, *tasks: Mapping[str, Any]) -> None:
    """The campaign plans these from now on."""
    workspace(command_line).joinpath("tasks.json").write_text(json.dumps(tasks))


def workspace(command_line: CommandLine) -> Path:
    return command_line.root / "workspaces" / "w"


def serve(command_line: CommandLine, run_id: str) -> str:
    """Serve the run to its end; returns its status."""
    command_line.run("run", "loop", "--until-done", run_id)
    return str(command_line.status(run_id)["status"])


def replan(command_line: CommandLine, run_id: str, *options: str) -> Any:
    return command_line.json("run", "replan", run_id, "--yes", *options)["replanned"]


def steps(replanned: Mapping[str, Any]) -> dict[str, str]:
    return {task["task_id"]: task["step"] for task in replanned["tasks"]}


def attempts(command_line: CommandLine, run_id: str) -> dict[str, int]:
    return {task_id: len(task["attempts"]) for task_id, task in command_line.tasks(run_id).items()}


def statuses(command_line: CommandLine, run_id: str) -> dict[str, str]:
    return {task_id: task["status"] for task_id, task in command_line.tasks(run_id).items()}


def assert_refused(command_line: CommandLine, run_id: str, words: str, *options: str) -> None:
    """Told in one sentence, and nothing of it is stored."""
    before = command_line.events(run_id), command_line.status(run_id)
    done = command_line.run("run", "replan", run_id, "--yes", *options)
    assert done.exit_code not in {0, 1}, done
    assert words in done.stderr
    assert (command_line.events(run_id), command_line.status(run_id)) == before
    assert not (command_line.run_folder("w", run_id) / "versions").exists()


# ---- what changes ----


def test_a_wrong_file_name_is_mended_and_only_what_it_failed_is_done(command_line: CommandLine) -> None:
    wrong = {"id": "a", "command": COPY, "files": {"in.dat": "wrong.dat"}, "outputs": ["out.dat"]}
    others = [{"id": "b", "command": ["true"], "depends_on": ["a"]}, {"id": "c", "command": ["true"]}]
    run_id = made(command_line, wrong, *others, right_dat="1\n")
    assert serve(command_line, run_id) == "FAILED"
    (cause,) = command_line.json("run", "explain", run_id)["causes"]
    assert f"matterstack run replan {run_id}" in cause["action"]
    mend(command_line, {**wrong, "files": {"in.dat": "right.dat"}}, *others)

    said = command_line.ok("run", "replan", run_id, "--dry-run")
    assert "a: changed; failed: tried again\n    files.in.dat: 'wrong.dat' -> 'right.dat'" in said
    assert "b: as planned before, and to be done after all" in said
    assert command_line.status(run_id)["status"] == "FAILED"
    asked = command_line.run("run", "replan", run_id)
    assert asked.exit_code == 2
    assert "say --yes" in asked.stderr
    assert command_line.run("run", "replan", run_id, "--json").error["code"] == "usage"
    assert "Replanned" not in command_line.event_types(run_id), "nothing was changed"

    done = command_line.json("run", "replan", run_id, "--yes", "--why", "a typo")
    assert done["status"] == "RUNNING"
    assert steps(done["replanned"]) == {"a": "tried_again"}
    assert (done["replanned"]["same"], done["replanned"]["reopened"]) == (2, ["a", "b"])
    assert serve(command_line, run_id) == "COMPLETED"
    assert attempts(command_line, run_id) == {"a": 2, "b": 1, "c": 1}
    command_line.ok("check")
    again = command_line.run("run", "replan", run_id, "--yes")
    assert again.exit_code == 4
    assert "nothing would change" in again.stderr


def test_a_file_with_another_content_makes_stale_what_had_it_and_tries_again_what_failed(
    command_line: CommandLine,
) -> None:
    given = {"files": {"energy.sh": "energy.sh"}, "outputs": ["out"]}
    well = {"id": "well", "command": ["sh", "energy.sh", "0"], **given}
    badly = {"id": "badly", "command": ["sh", "energy.sh", "1"], **given}
    other = {"id": "other", "command": ["true"]}
    run_id = made(command_line, well, badly, other, energy_sh="touch out; exit $1\n")
    assert serve(command_line, run_id) == "FAILED"
    workspace(command_line).joinpath("energy.sh").write_text("touch out\n")
    said = command_line.ok("run", "replan", run_id, "--dry-run")
    assert "files.energy.sh: the content has changed" in said
    assert steps(replan(command_line, run_id)) == {"well": "stale", "badly": "tried_again"}
    assert serve(command_line, run_id) == "COMPLETED"
    assert attempts(command_line, run_id) == {"well": 1, "badly": 2, "other": 1}
    assert steps(command_line.json("run", "replan", run_id, "--dry-run")["replanned"]) == {"well": "stale"}
    assert steps(replan(command_line, run_id, "--redo-changed")) == {"well": "redone"}
    assert serve(command_line, run_id) == "COMPLETED"
    assert attempts(command_line, run_id) == {"well": 2, "badly": 2, "other": 1}
    versions = command_line.run_folder("w", run_id) / "versions"
    assert [path.read_text() for path in versions.iterdir()] == ["touch out\n"]
    command_line.ok("check")


def test_every_task_renamed_is_told_and_all_is_done_once_more(command_line: CommandLine) -> None:
    run_id = made(command_line, {"id": "a", "command": ["true"]}, {"id": "b", "command": ["false"]})
    assert serve(command_line, run_id) == "FAILED"
    mend(
        command_line, {"id": "x", "command": ["true"]}, {"id": "y", "command": ["true"], "depends_on": ["x"]}
    )
    said = command_line.ok("run", "replan", run_id, "--dry-run")
    assert "no task has the name that it had" in said
    assert steps(replan(command_line, run_id)) == {
        "x": "planned", "y": "planned", "a": "result_kept", "b": "withdrawn",
    }  # fmt: skip
    assert serve(command_line, run_id) == "COMPLETED"
    assert statuses(command_line, run_id) == {
        "a": "SUCCEEDED", "b": "CANCELLED", "x": "SUCCEEDED", "y": "SUCCEEDED",
    }  # fmt: skip
    assert "which the plan has no more" in command_line.ok("run", "explain", run_id)
    command_line.ok("check")


def test_an_amendment_stays_on_top_and_a_clash_is_shown_and_the_plans_only_on_demand(
    command_line: CommandLine,
) -> None:
    task: dict[str, Any] = {"id": "a", "command": ["false"], "resources": {"walltime_s": 60}}
    run_id = made(command_line, task)
    assert serve(command_line, run_id) == "FAILED"
    command_line.ok("run", "amend", run_id, "a", "--set", "resources.walltime_s=7200", "--yes")
    mend(command_line, {**task, "resources": {"walltime_s": 600}})
    said = command_line.ok("run", "replan", run_id, "--dry-run")
    assert "clash: resources.walltime_s: 7200 was amended, 600 is planned now: the amendment's stays" in said
    (shown,) = command_line.json("run", "replan", run_id, "--dry-run")["replanned"]["tasks"]
    path = "resources.walltime_s"
    assert (shown["step"], shown["differences"]) == ("tried_again", [{"path": path, "old": 60, "new": 7200}])
    said = command_line.ok("run", "replan", run_id, "--dry-run", "--yes-plan")
    assert "the plan's is taken" in said
    (done,) = replan(command_line, run_id, "--yes-plan")["tasks"]
    assert done["clashes"] == [
        {"path": "resources.walltime_s", "amended": 7200, "planned": 600, "takes": "planned"}
    ]
    assert done["differences"] == [{"path": path, "old": 60, "new": 600}]
    serve(command_line, run_id)
    prepared = [e["data"] for e in command_line.events(run_id) if e["type"] == "AttemptPrepared"]
    assert [one["resources"]["walltime_s"] for one in prepared] == [60, 600]
    command_line.ok("check")


def test_the_iteration_in_hand_is_asked_for_with_what_was_known_when_it_was_planned(
    command_line: CommandLine,
) -> None:
    write_workspace(command_line.root, "w", TWO_ROUNDS)
    run_id = command_line.new_run("w")
    assert serve(command_line, run_id) == "COMPLETED"
    campaign = workspace(command_line) / "campaign.py"
    campaign.write_text(TWO_ROUNDS.replace('["a", "b"]', '["a", "b", "c"]'))
    replanned = replan(command_line, run_id)
    assert replanned["iteration"] == 2
    assert (steps(replanned), replanned["same"]) == ({"c1": "planned"}, 2), (
        "with the results of round 1 alone"
    )
    assert replanned["campaign"][0]["path"] == "campaign.py"
    kinds = command_line.event_types(run_id)
    assert kinds[kinds.index("RunReopened") :] == [
        "RunReopened",
        "CampaignChanged",
        "Replanned",
        "TaskPlanned",
    ]
    assert serve(command_line, run_id) == "COMPLETED"
    assert attempts(command_line, run_id) == dict.fromkeys(["a0", "b0", "a1", "b1", "c1"], 1)
    analyzed = [e["data"]["state"] for e in command_line.events(run_id) if e["type"] == "IterationAnalyzed"]
    assert analyzed[-1] == {"n": 2, "names": ["a0", "a1", "b0", "b1", "c1"]}, "once more, from the same state"
    command_line.ok("run", "export-evidence", run_id)
    bundle = command_line.run_folder("w", run_id) / "evidence"
    assert "bound" in command_line.ok("evidence", "verify", str(bundle))
    command_line.ok("evidence", "verify", str(bundle), "--against-store")
    assert "planned round 2 anew" in (bundle / "report.md").read_text()
    command_line.ok("check")


def test_a_pinned_run_takes_another_campaign_by_a_replan(command_line: CommandLine) -> None:
    command = script(f"echo '# later' >> {workspace(command_line)}/campaign.py")
    run_id = made(command_line, {"id": "a", "command": command}, {"id": "b", "command": ["true"]})
    run_id = command_line.new_run("w", "pin_campaign=true")
    assert serve(command_line, run_id) == "FAILED"
    assert "matterstack run replan" in command_line.status(run_id)["status_reason"]
    (cause,) = command_line.json("run", "explain", run_id)["causes"]
    assert f"matterstack run replan {run_id}" in cause["action"]
    replanned = replan(command_line, run_id)
    assert (replanned["tasks"], replanned["same"], replanned["reopens_run"]) == ([], 2, True)
    assert serve(command_line, run_id) == "COMPLETED"
    assert attempts(command_line, run_id) == {"a": 1, "b": 1}
    command_line.ok("check")


def test_a_pinned_run_that_was_never_planned_takes_another_campaign(command_line: CommandLine) -> None:
    made(command_line, {"id": "a", "command": ["true"]})
    run_id = command_line.new_run("w", "pin_campaign=true")
    with (workspace(command_line) / "campaign.py").open("a") as campaign:
        campaign.write("# later\n")
    pending = command_line.run("run", "replan", run_id, "--yes")
    assert pending.exit_code == 4
    assert "nothing has been planned yet" in pending.stderr
    assert serve(command_line, run_id) == "FAILED"
    command_line.ok("run", "replan", run_id, "--yes")
    assert serve(command_line, run_id) == "COMPLETED"
    command_line.ok("check")


def test_a_person_is_shown_the_plan_and_asked(command_line: CommandLine) -> None:
    run_id = made(command_line, {"id": "a", "command": ["false"]})
    assert serve(command_line, run_id) == "FAILED"
    mend(command_line, {"id": "a", "command": ["true"]})
    for answer, is_taken in (("n", False), ("y", True)):
        done = on_terminal(command_line, "run", "replan", run_id, typed=f"{answer}\n", TERM="dumb")
        assert 'command: ["false"] -> ["true"]' in done.stdout
        assert "Take this plan?" in done.stdout
        assert ("nothing was changed" in done.stdout) is not is_taken
        assert ("Replanned" in command_line.event_types(run_id)) is is_taken


# ---- while it runs ----


@pytest.mark.parametrize("cancels", [False, True])
def test_an_engine_takes_a_plan_and_a_live_job_that_is_gone_is_ended_only_on_demand(
    command_line: CommandLine, tmp_path: Path, cancels: bool
) -> None:
    diary = Diary(tmp_path)
    live = [diary.task(name, diary.gate()) for name in ("gone", "stays")]
    later = {"id": "later", "command": ["true"], "depends_on": ["stays"]}
    run_id = made(command_line, *live, later)
    engine = command_line.start("run", "loop", "--until-done", run_id)
    wait_until(lambda: len(diary.started()) == 2, 60, "two jobs")
    mend(command_line, {**live[1], "priority": 3}, {**later, "env": {"A": "1"}}, diary.task("new"))
    replanned = replan(command_line, run_id, *(["--cancel-gone"] if cancels else []))
    assert steps(replanned) == {
        "stays": "next_attempt", "later": "changed", "new": "planned",
        "gone": "job_ended" if cancels else "job_left",
    }  # fmt: skip
    if cancels:
        wait_until(lambda: statuses(command_line, run_id)["gone"] == "CANCELLED", 60, "the end of its job")
    diary.open()
    assert engine.wait().exit_code == 0
    assert statuses(command_line, run_id) == {
        "gone": "CANCELLED" if cancels else "SUCCEEDED",
        "stays": "SUCCEEDED", "later": "SUCCEEDED", "new": "SUCCEEDED",
    }  # fmt: skip
    assert sorted(diary.started()) == ["gone", "new", "stays"], "each once"
    prepared = {
        e["data"]["task_id"]: e["data"]["version"]
        for e in command_line.events(run_id)
        if e["type"] == "AttemptPrepared"
    }
    assert prepared == {"gone": 1, "stays": 1, "later": 2, "new": 1}
    command_line.ok("check")


@pytest.mark.parametrize("then", ["human", "compute"])
def test_a_question_that_is_asked_is_answered_as_it_was_asked(command_line: CommandLine, then: str) -> None:
    asked: dict[str, Any] = {"id": "choose", "operator": "human", "params": question("site")}
    run_id = made(command_line, asked)
    engine = command_line.start("run", "loop", "--until-done", run_id)
    wait_until(lambda: "JobAccepted" in command_line.event_types(run_id), 60, "the question")
    mend(
        command_line,
        {**asked, "params": question("cell")} if then == "human" else {"id": "choose", "command": ["false"]},
    )
    assert steps(replan(command_line, run_id)) == {"choose": "next_attempt"}
    shown = command_line.json("respond", run_id, "choose")
    assert (shown["operator"], list(shown["manifest"]["fields"])) == ("human", ["site"])
    command_line.ok("respond", run_id, "choose", "--set", "site=top")
    assert engine.wait().exit_code == 0
    assert statuses(command_line, run_id) == {"choose": "SUCCEEDED"}
    later = command_line.json("run", "replan", run_id, "--dry-run")["replanned"]
    assert steps(later) == {"choose": "stale"}, "that was no answer to what is planned"
    command_line.ok("check")


def question(field: str) -> dict[str, Any]:
    return {"question": "Which?", "fields": {field: {"type": "string"}}}


def command_for(command_line: CommandLine, run_id: str, **choices: bool) -> Replan:
    """What a person has looked at, and not yet agreed to; the campaign's files are kept already."""
    import trio

    async def look() -> Replan:
        root = Root(command_line.root)
        found = await preview_replan(root, RunId(run_id), ReplanChoices(**choices), "ann")
        await keep_replanned(root, found, Runtime())
        return found.command

    return trio.run(look)


def test_who_agrees_to_what_is_not_so_any_more_is_told_what_changed(command_line: CommandLine) -> None:
    task = {"id": "a", "command": ["false"]}
    run_id = made(command_line, task)
    assert serve(command_line, run_id) == "FAILED"
    mend(command_line, {**task, "command": ["true"]})
    command = command_for(command_line, run_id)
    command_line.ok("run", "amend", run_id, "a", "--set", "env.A=1", "--yes")
    store = open_database(command_line.root / ".matterstack" / "state.db")
    stored = insert_command(store, RunId(run_id), command, Runtime().now())
    # Whoever comes next carries out what was asked before.
    command_line.ok("run", "amend", run_id, "a", "--set", "env.A=2", "--yes")
    (outcome,) = store.execute("SELECT outcome FROM commands WHERE id = ?", (stored.id,)).fetchone()
    store.close()
    refusal = json.loads(outcome)
    assert refusal["code"] == "changed"
    assert "has changed since its plan was shown: task a was amended" in refusal["message"]
    assert "Replanned" not in command_line.event_types(run_id)


def test_a_command_whose_sender_has_died_is_carried_out_whole_by_who_comes_next(
    command_line: CommandLine,
) -> None:
    run_id = made(command_line, {"id": "a", "command": ["false"]}, {"id": "b", "command": ["true"]})
    assert serve(command_line, run_id) == "FAILED"
    mend(command_line, {"id": "a", "command": ["true"]}, {"id": "c", "command": ["true"]})
    command = command_for(command_line, run_id)
    store = open_database(command_line.root / ".matterstack" / "state.db")
    insert_command(store, RunId(run_id), command, Runtime().now())
    assert open_commands(store)[0].command == command
    store.close()
    command_line.ok("run", "amend", run_id, "a", "--set", "env.A=1", "--yes")
    assert serve(command_line, run_id) == "COMPLETED"
    assert statuses(command_line, run_id) == {"a": "SUCCEEDED", "b": "SUCCEEDED", "c": "SUCCEEDED"}
    command_line.ok("check")


@pytest.mark.parametrize("point", ["before_commit", "inside_commit", "after_commit"])
def test_whoever_dies_while_a_plan_is_taken_in_leaves_it_whole_or_not_at_all(
    command_line: CommandLine, point: str
) -> None:
    run_id = made(command_line, {"id": "a", "command": ["false"]}, {"id": "b", "command": ["true"]})
    assert serve(command_line, run_id) == "FAILED"
    mend(command_line, {"id": "a", "command": ["true"]}, {"id": "c", "command": ["true"]})
    before = command_line.event_types(run_id)
    died = command_line.run("run", "replan", run_id, "--yes", env={"MATTERSTACK_CRASH_AT": f"{point}:1"})
    assert died.exit_code not in {0, 1, 2, 3}, died
    new = command_line.event_types(run_id)[len(before) :]
    whole = ["RunReopened", "Replanned", "TaskReopened", "TaskReplanned", "TaskPlanned"]
    assert new == (whole if point == "after_commit" else [])
    # Whoever comes next carries out what was asked before.
    command_line.ok("run", "amend", run_id, "a", "--set", "env.A=1", "--yes")
    assert command_line.event_types(run_id)[len(before) :] == [*whole, "TaskAmended"]
    assert serve(command_line, run_id) == "COMPLETED"
    command_line.ok("check")


# ---- campaigns that cannot be taken ----

BROKEN: Final[Sequence[tuple[str, str, str]]] = (
    ("get_campaign():", "get_campaign()", "SyntaxError"),
    ("n = state", "raise ValueError('no such cell')  # ", "ValueError: no such cell"),
    ("n == 2", "n == 1", "plan() returned None for iteration 2, which has tasks"),
    ('Task(f"{name}{n}"', 'Task(f"{name}0"', "the id is already that of an earlier iteration"),
    ("return Workflow(", "return list(", "plan() must return a Workflow or None, not list"),
    ('["true"]', "[]", "command"),
)


@pytest.mark.parametrize(("old", "new", "words"), BROKEN)
def test_a_campaign_that_plans_nothing_that_could_be_is_told_and_nothing_is_stored(
    command_line: CommandLine, old: str, new: str, words: str
) -> None:
    assert old in TWO_ROUNDS
    write_workspace(command_line.root, "w", TWO_ROUNDS)
    run_id = command_line.new_run("w")
    assert serve(command_line, run_id) == "COMPLETED"
    workspace(command_line).joinpath("campaign.py").write_text(TWO_ROUNDS.replace(old, new))
    before = command_line.events(run_id)
    done = command_line.run("run", "replan", run_id, "--yes")
    assert done.exit_code not in {0, 1}, done
    assert words in done.stderr
    assert command_line.events(run_id) == before
    assert not (command_line.run_folder("w", run_id) / "versions").exists()


def test_what_a_stale_task_did_not_leave_is_not_taken_of_it(command_line: CommandLine) -> None:
    maker = {"id": "a", "command": ["touch", "old"], "outputs": ["old"]}
    run_id = made(command_line, maker, {"id": "b", "command": ["false"], "inputs": {"x": "a/old"}})
    assert serve(command_line, run_id) == "FAILED"
    mend(
        command_line,
        {**maker, "command": ["touch", "new"], "outputs": ["new"]},
        {"id": "b", "command": ["true"], "inputs": {"x": "a/new"}},
    )
    assert_refused(command_line, run_id, "'new' matches no output of 'a'")
    replan(command_line, run_id, "--redo-changed")
    assert serve(command_line, run_id) == "COMPLETED"


def test_a_plan_that_no_backend_could_give_is_refused(command_line: CommandLine) -> None:
    run_id = made(command_line, {"id": "a", "command": ["false"]})
    assert serve(command_line, run_id) == "FAILED"
    mend(command_line, {"id": "a", "command": ["true"], "resources": {"cpus": 100_000}})
    assert_refused(command_line, run_id, "cpus=100000")
