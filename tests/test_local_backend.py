"""Jobs on this machine, from the command line: what they are given, how they end, and how many there are."""

import json
import os
import signal
from pathlib import Path
from typing import Any

from tests.support.campaigns import Diary, write_tasks, write_workspace
from tests.support.command import PATIENCE_S, CommandLine
from tests.support.polling import wait_until


def _served(command_line: CommandLine, tasks: list[dict[str, Any]], **options: Any) -> str:
    """Run these tasks to the end of their run; returns its id."""
    write_tasks(command_line.root, "campaign", tasks, **options)
    run_id = command_line.new_run("campaign")
    command_line.run("run", "loop", "--until-done", run_id)
    return run_id


def _shell(task_id: str, line: str, **fields: Any) -> dict[str, Any]:
    return {"id": task_id, "command": ["bash", "-c", line], **fields}


def _attempt(command_line: CommandLine, run_id: str, task_id: str, n: int = 1) -> Path:
    return command_line.run_folder("campaign", run_id) / "tasks" / task_id / str(n)


def test_a_job_finds_its_files_parameters_environment_and_inputs(command_line: CommandLine) -> None:
    write_workspace(command_line.root, "campaign", None, files={"relax.sh": "echo relaxed > out.xyz\n"})
    (command_line.root / "workspaces" / "campaign" / "relax.sh").chmod(0o755)
    first = {
        "id": "relax",
        "command": ["./relax.sh"],
        "files": {"relax.sh": "relax.sh"},
        "outputs": ["*.xyz"],
    }
    second = _shell(
        "energy",
        'test "$PWD" = "$(dirname "$(readlink -f manifest.json)")" && cat start.xyz && '
        'echo "to stderr" >&2 && '
        """echo "{\\"mode\\": \\"$MODE\\", \\"task\\": \\"$MATTERSTACK_TASK_ID\\"}" > result.json""",
        inputs={"start.xyz": "relax/out.xyz"},
        env={"MODE": "it's 'fast' $HOME"},
        params={"cutoff_ev": 500.5, "name": "Li₃N"},
        resources={"cpus": 1, "memory_mib": 64, "walltime_s": 30},
    )

    run_id = _served(command_line, [first, second])

    assert command_line.status(run_id)["status"] == "COMPLETED"
    relax, energy = (_attempt(command_line, run_id, task) for task in ("relax", "energy"))
    assert (relax / "out.xyz").read_text() == "relaxed\n"
    assert (energy / "stdout.log").read_text() == "relaxed\n"
    assert (energy / "stderr.log").read_text() == "to stderr\n"
    assert json.loads((energy / "result.json").read_text()) == {"mode": "it's 'fast' $HOME", "task": "energy"}
    manifest = json.loads((energy / "manifest.json").read_text())
    assert manifest["params"] == {"cutoff_ev": 500.5, "name": "Li₃N"}
    assert manifest["resources"]["walltime_s"] == 30
    assert manifest["run_id"] == run_id
    assert manifest["inputs"][0]["from"] == "relax/out.xyz"
    record = json.loads((energy / "exit.json").read_text())
    (attempt,) = command_line.tasks(run_id)["energy"]["attempts"]
    assert record["exit_code"] == attempt["exit_code"] == 0
    assert record["job_id"] == attempt["job_id"]
    (found,) = (
        event["data"]["outputs"]
        for event in command_line.events(run_id)
        if event["type"] == "TaskSucceeded" and event["data"]["task_id"] == "relax"
    )
    assert found[0]["path"] == "out.xyz"
    ended = [e["data"] for e in command_line.events(run_id) if e["type"] == "TaskSucceeded"][-1]
    assert ended["data"] == {"mode": "it's 'fast' $HOME", "task": "energy"}


def test_each_way_to_fail_is_told_in_words(command_line: CommandLine, diary: Diary) -> None:
    tasks = [
        _shell("exits", "exit 3"),
        {"id": "mistyped", "command": ["relaxx", "--fast"]},
        _shell("late", "sleep 300", resources={"walltime_s": 1}),
        _shell("forgetful", "touch other.txt", outputs=["*.xyz", "other.txt"]),
        _shell("babbling", "echo '{not json' > result.json"),
        {"id": "lacking", "command": ["true"], "files": {"here.py": "not_there.py"}},
        _shell("killed", "kill -KILL $$"),
        _shell("shot", f"touch {diary.folder}/shot; sleep 300"),
        _shell("behind", ":", depends_on=["exits"]),
    ]
    write_tasks(command_line.root, "campaign", tasks, max_jobs=8)
    run_id = command_line.new_run("campaign")
    engine = command_line.start("run", "loop", "--until-done", run_id)
    wait_until((diary.folder / "shot").exists, PATIENCE_S, "the start of the job that is to be shot")

    def job_id() -> str | None:
        known: str | None = command_line.tasks(run_id)["shot"]["attempts"][0]["job_id"]
        return known

    # The job works before the store has its id.
    wait_until(lambda: job_id() is not None, PATIENCE_S, "the id of that job")
    os.kill(int(str(job_id()).split(".")[0]), signal.SIGKILL)

    assert engine.wait().exit_code == 1

    listed = command_line.tasks(run_id)
    reasons = {task_id: task["reason"] for task_id, task in listed.items()}
    attempts = {task_id: (task["attempts"] or [{}])[-1] for task_id, task in listed.items()}
    assert reasons["exits"] == "its job ended with exit code 3"
    assert reasons["mistyped"].startswith("its job ended with exit code 127")
    assert reasons["late"] == "its job reached its walltime and was ended"
    assert attempts["late"]["raw_state"] == "TIMEOUT"
    assert reasons["forgetful"] == "its job ended well, but no file matches the output '*.xyz'"
    assert reasons["babbling"].startswith("result.json: is not valid JSON")
    assert "not_there.py" in reasons["lacking"]
    assert "No such file" in reasons["lacking"]
    assert reasons["killed"].startswith("its job ended with exit code 137")
    assert reasons["shot"] == "its job was killed from outside, before it could record how it ended"
    assert attempts["shot"]["raw_state"] == "KILLED"
    assert not command_line.job_processes(run_id), "what is left of a job that was shot has ended as well"
    assert reasons["behind"] == "task exits, which it depends on, failed"
    assert listed["behind"]["status"] == "SKIPPED"
    assert {task["status"] for task_id, task in listed.items() if task_id != "behind"} == {"FAILED"}
    status = command_line.status(run_id)
    assert status["status"] == "FAILED"
    assert status["status_reason"].endswith("5 more tasks failed")


def test_a_process_that_a_job_leaves_behind_ends_with_it(command_line: CommandLine) -> None:
    run_id = _served(command_line, [_shell("leaky", "sleep 300 & echo started")])

    assert command_line.status(run_id)["status"] == "COMPLETED"
    assert command_line.ok("run", "logs", run_id, "leaky") == "started\n"
    wait_until(lambda: not command_line.job_processes(run_id), PATIENCE_S, "the end of what it left")


def test_a_failed_attempt_is_tried_again_in_a_folder_of_its_own(
    command_line: CommandLine, diary: Diary
) -> None:
    flaky = f'test "$MATTERSTACK_ATTEMPT" = 3 || {{ echo again > {diary.folder}/again; exit 7; }}'
    tasks = [
        _shell("flaky", flaky, retries=2),
        _shell("stubborn", "exit 7", retries=1, allow_failure=True),
        _shell("choosy", "exit 7", retries=5, retry_on=["timeout"], allow_failure=True),
        _shell("after", ":", depends_on=["flaky", "stubborn"]),
    ]

    run_id = _served(command_line, tasks)

    assert command_line.status(run_id)["status"] == "COMPLETED"
    listed = command_line.tasks(run_id)
    assert [a["exit_code"] for a in listed["flaky"]["attempts"]] == [7, 7, 0]
    assert [a["exit_code"] for a in listed["stubborn"]["attempts"]] == [7, 7]
    assert [a["exit_code"] for a in listed["choosy"]["attempts"]] == [7]
    assert listed["after"]["status"] == "SUCCEEDED"
    assert (_attempt(command_line, run_id, "flaky", 3) / "exit.json").is_file()


def test_a_corrected_script_makes_a_failed_run_complete_by_retry(
    command_line: CommandLine, diary: Diary
) -> None:
    tasks = [
        diary.task("good"),
        diary.task("bad", "bash step.sh", files={"step.sh": "step.sh"}, depends_on=["good"]),
        diary.task("last", depends_on=["bad"]),
    ]
    folder = write_tasks(command_line.root, "campaign", tasks)
    (folder / "step.sh").write_text("exit 1\n")
    run_id = command_line.new_run("campaign")
    assert command_line.run("run", "loop", "--until-done", run_id).exit_code == 1
    assert command_line.status(run_id)["status_reason"] == "task bad failed: its job ended with exit code 1"
    assert command_line.tasks(run_id)["last"]["status"] == "SKIPPED"
    refused = command_line.run("run", "retry", run_id, "good")
    assert refused.exit_code == 4
    assert "task good is SUCCEEDED, and only failed tasks can be retried" in refused.stderr
    assert command_line.run("run", "retry", run_id, "nix").exit_code == 3

    (folder / "step.sh").write_text("exit 0\n")
    said = command_line.ok("run", "retry", run_id)
    assert said.splitlines()[0] == f"run {run_id} is RUNNING"
    assert f"matterstack run loop {run_id}" in said
    command_line.ok("run", "loop", "--until-done", run_id)

    assert command_line.status(run_id)["status"] == "COMPLETED"
    assert diary.started() == ["good", "bad", "bad", "last"]
    assert command_line.run("run", "retry", run_id).exit_code == 4


def test_retry_beside_an_engine_that_serves_other_runs_is_taken_up(
    command_line: CommandLine, diary: Diary
) -> None:
    write_tasks(command_line.root, "campaign", [diary.task("flaky", f"test -e {diary.folder}/mended")])
    run_id = command_line.new_run("campaign")
    engine = command_line.start("run", "loop")
    wait_until(lambda: command_line.status(run_id)["status"] == "FAILED", PATIENCE_S)
    (diary.folder / "mended").touch()

    command_line.ok("run", "retry", run_id, "flaky")

    wait_until(lambda: command_line.status(run_id)["status"] == "COMPLETED", PATIENCE_S)
    assert engine.process.poll() is None
    assert diary.started() == ["flaky", "flaky"]


def test_no_more_jobs_than_the_backend_has_seats_run_at_once(command_line: CommandLine, diary: Diary) -> None:
    tasks = [diary.task(f"t{i}", diary.crowd(3)) for i in range(8)]
    write_tasks(command_line.root, "campaign", tasks, max_jobs=3)
    runs = [command_line.new_run("campaign") for _ in range(3)]

    command_line.ok("run", "loop", "--until-done")

    assert {command_line.status(run)["status"] for run in runs} == {"COMPLETED"}
    assert len(diary.ended()) == 24
    assert diary.most_at_once() == 3


def test_a_diamond_of_200_tasks_keeps_to_the_cap_of_its_run(command_line: CommandLine, diary: Diary) -> None:
    middle = [f"m{i}" for i in range(198)]
    tasks = [
        diary.task("top"),
        *(diary.task(task, diary.crowd(1 + 4), depends_on=["top"]) for task in middle),
        diary.task("bottom", depends_on=middle),
    ]

    run_id = _served(command_line, tasks, max_jobs=50, cap=4)

    assert command_line.status(run_id)["status"] == "COMPLETED"
    started = diary.started()
    assert (started[0], started[-1]) == ("top", "bottom")
    assert sorted(started) == sorted([*middle, "top", "bottom"])
    assert diary.most_at_once() == 4
