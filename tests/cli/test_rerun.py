"""Run again what has ended, and ask for more where a try lacked something."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.campaigns import Diary, write_tasks, write_workspace
from tests.support.command import CommandLine

SUM = """\
from matterstack import Task, Workflow

class Sum:
    def plan(self, state, results):
        if state:
            return None
        return Workflow([
            Task("energy", command=["sh", "energy.sh"], files={"energy.sh": "energy.sh"}, outputs=["e.txt"]),
            Task("double", command=["sh", "double.sh"], files={"double.sh": "double.sh"},
                 inputs={"e.txt": "energy/e.txt"}, outputs=["d.txt"]),
        ])

    def analyze(self, state, results):
        return {name: results[task].outputs[0].read_text().strip()
                for name, task in (("e", "energy"), ("d", "double"))}

def get_campaign():
    return Sum()
"""
DOUBLE = "echo $((2 * $(cat e.txt))) > d.txt"


def summed_run(command_line: CommandLine) -> tuple[str, Path]:
    """A COMPLETED run, and the folder of its workspace."""
    folder = write_workspace(
        command_line.root, "w", SUM, files={"energy.sh": "echo 2 > e.txt", "double.sh": DOUBLE}
    )
    run_id = command_line.new_run("w")
    command_line.ok("run", "loop", "--until-done", run_id)
    return run_id, folder


def analyzed(command_line: CommandLine, run_id: str) -> list[dict[str, str]]:
    """What each analysis came to."""
    events = command_line.events(run_id)
    return [event["data"]["state"] for event in events if event["type"] == "IterationAnalyzed"]


def test_a_task_that_succeeded_is_rerun_with_its_dependents_after_a_fix(command_line: CommandLine) -> None:
    run_id, folder = summed_run(command_line)
    tasks = command_line.run_folder("w", run_id) / "tasks"
    before = {path: path.read_bytes() for path in tasks.rglob("*") if path.is_file()}
    history = command_line.events(run_id)
    (folder / "energy.sh").write_text("echo 5 > e.txt")

    said = command_line.ok("run", "rerun", run_id, "energy", "--recursive")

    assert f"run {run_id} is RUNNING" in said
    assert f"matterstack run loop {run_id}" in said, "nobody serves it"
    command_line.ok("run", "loop", "--until-done", run_id)
    assert command_line.status(run_id)["status"] == "COMPLETED"
    assert analyzed(command_line, run_id) == [{"e": "2", "d": "4"}, {"e": "5", "d": "10"}]
    assert [len(task["attempts"]) for task in command_line.tasks(run_id).values()] == [2, 2]
    assert {path: path.read_bytes() for path in before} == before, "what the first attempts left is as it was"
    assert command_line.events(run_id)[: len(history)] == history


def test_a_task_is_rerun_alone_where_its_dependents_are_not_asked_for(command_line: CommandLine) -> None:
    run_id, folder = summed_run(command_line)
    (folder / "energy.sh").write_text("echo 5 > e.txt")
    command_line.ok("run", "rerun", run_id, "energy")
    command_line.ok("run", "loop", "--until-done", run_id)
    assert analyzed(command_line, run_id)[-1] == {"e": "5", "d": "4"}


def test_what_cannot_be_rerun_is_refused_with_its_reason(command_line: CommandLine, diary: Diary) -> None:
    write_tasks(command_line.root, "w", [diary.task("a", "false"), diary.task("b", depends_on=["a"])])
    run_id = command_line.new_run("w")
    assert command_line.run("run", "loop", "--until-done", run_id).exit_code == 1

    def refused(*words: str) -> tuple[int, str]:
        done = command_line.run("run", "rerun", run_id, *words, "--json")
        return done.exit_code, done.error["message"] if done.exit_code != 2 else ""

    assert refused("nobody") == (3, f"run {run_id} has no task 'nobody'")
    assert refused("b") == (4, "task b depends on task a, which is FAILED")
    assert refused()[0] == 2
    command_line.ok("run", "retry", run_id)
    command_line.ok("run", "cancel", run_id)
    assert refused("a") == (4, f"run {run_id} is CANCELLED and cannot become RUNNING")
    assert command_line.status(run_id)["status"] == "CANCELLED"


GROWING = """\
from matterstack import Growth, Resources, Task, Workflow

class Growing:
    def plan(self, state, results):
        if state:
            return None
        grow = Growth(walltime=3, most_walltime_s=60)
        return Workflow([Task("slow", command=["sh", "slow.sh"], files={"slow.sh": "slow.sh"}, retries=5,
                              retry_on=["timeout"], resources=Resources(walltime_s=1, grow=grow))])

    def analyze(self, state, results):
        return {"exit_code": results["slow"].exit_code}

def get_campaign():
    return Growing()
"""


def test_walltime_grows_until_a_task_fits(command_line: CommandLine) -> None:
    # It ends by itself only where it may take ten seconds, so nothing depends on how long it really takes.
    slow = """python -c 'import json; print(json.load(open("manifest.json"))["resources"]["walltime_s"])' > w
    [ "$(cat w)" -ge 9 ] || exec sleep 600
    """
    write_workspace(command_line.root, "w", GROWING, files={"slow.sh": slow})
    run_id = command_line.new_run("w")

    command_line.ok("run", "loop", "--until-done", run_id)

    attempts = command_line.tasks(run_id)["slow"]["attempts"]
    assert [(a["resources"]["walltime_s"], a["raw_state"]) for a in attempts] == [
        (1, "TIMEOUT"), (3, "TIMEOUT"), (9, "COMPLETED"),
    ]  # fmt: skip
    retried = [e["data"] for e in command_line.events(run_id) if e["type"] == "TaskRetried"]
    assert [fact["kind"] for fact in retried] == ["timeout"] * 2
    folder = command_line.run_folder("w", run_id) / "tasks" / "slow"
    written = [json.loads((folder / n / "manifest.json").read_text()) for n in ("1", "2", "3")]
    assert [manifest["resources"]["walltime_s"] for manifest in written] == [1, 3, 9]
