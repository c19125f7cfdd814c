"""Whole runs on the real Slurm, through the installed command."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.backends.conftest import Shims
from tests.slurm_fixtures import StartCluster, point_to
from tests.support.campaigns import Diary, write_tasks
from tests.support.command import PATIENCE_S, CommandLine
from tests.support.polling import wait_until
from tests.support.slurm_cluster import SlurmCluster

SMALL = {"memory_mib": 20}
CLUSTER = {"type": "slurm", "poll_interval_s": 0.3, "grace_period_s": 0.5, "command_timeout_s": 20}


def _write(command_line: CommandLine, tasks: Iterable[Mapping[str, Any]], *, cap: int = 100) -> Path:
    """A workspace ``campaign`` whose tasks run on the cluster."""
    sized = [{"resources": SMALL, **task} for task in tasks]
    folder = write_tasks(command_line.root, "campaign", sized)
    (folder / "config.json").write_text(_config(cap, default_backend="cluster"))
    return folder


def _config(cap: int = 100, **more: Any) -> str:
    return json.dumps({"max_hpc_jobs_per_run": cap, "backends": {"cluster": CLUSTER}, **more})


def _diamond(diary: Diary, width: int) -> list[dict[str, Any]]:
    """One task, then many beside each other, then one."""
    middle = [f"m{i}" for i in range(width)]
    return [
        diary.task("first"),
        *(diary.task(name, depends_on=["first"]) for name in middle),
        diary.task("last", depends_on=middle),
    ]


def _jobs(cluster: SlurmCluster) -> list[str]:
    """States of all jobs that have not ended."""
    return cluster.output("squeue", "--array", "--noheader", "--format=%T").split()


def _live_attempts(events: Iterable[Mapping[str, Any]]) -> list[int]:
    """How many attempts held a seat after each event."""
    live: set[str] = set()
    counts = []
    for event in events:
        token = event["data"].get("token")
        if event["type"] == "AttemptPrepared":
            live.add(token)
        elif event["type"] in {"JobEnded", "SubmissionRefused", "SubmissionWithdrawn"}:
            live.discard(token)
        counts.append(len(live))
    return counts


def test_the_quickstart_runs_on_slurm_by_one_changed_setting(
    command_line: CommandLine, slurm_env: SlurmCluster, tmp_path: Path
) -> None:
    root = tmp_path / "fresh"
    assert command_line.run("init", str(root)).exit_code == 0
    (root / "workspaces" / "quickstart" / "config.json").write_text(_config())
    start = ("run", "start", "quickstart", "--json")

    there = command_line.run(*start, "--set", "default_backend=cluster", root=root)
    here = command_line.run(*start, root=root)

    assert (there.exit_code, there.json["status"]) == (0, "COMPLETED"), there.stderr
    assert there.json["tasks"] == here.json["tasks"]
    tasks = command_line.run("run", "tasks", there.json["run_id"], "--json", root=root).json
    assert {attempt["backend"] for task in tasks for attempt in task["attempts"]} == {"cluster"}
    known = slurm_env.output("squeue", "--array", "--states=all", "--noheader", "--format=%i").split()
    assert {attempt["job_id"] for task in tasks for attempt in task["attempts"]} <= set(known)


def test_a_diamond_of_200_tasks_never_has_more_jobs_than_its_cap(
    command_line: CommandLine, slurm_env: SlurmCluster, diary: Diary, shims: Shims
) -> None:
    cap = 20
    _write(command_line, _diamond(diary, 198), cap=cap)
    run_id = command_line.new_run("campaign")
    shims.add("sacct")
    engine = command_line.start("run", "loop", "--until-done", run_id)

    most = 0
    while engine.process.poll() is None:
        most = max(most, len(_jobs(slurm_env)))

    assert engine.wait().exit_code == 0, engine.stderr
    events = command_line.events(run_id)
    assert 2 < most <= cap
    assert max(_live_attempts(events)) == cap
    assert Counter(diary.started()) == Counter(["first", *(f"m{i}" for i in range(198)), "last"])
    assert (diary.started()[0], diary.started()[-1]) == ("first", "last")
    assert command_line.status(run_id)["tasks"]["SUCCEEDED"] == 200
    assert shims.calls("sacct") == 0


def test_a_pause_drains_the_queue_and_a_resume_goes_on(
    command_line: CommandLine, slurm_env: SlurmCluster, diary: Diary
) -> None:
    _write(command_line, [diary.task(f"t{i}", diary.gate()) for i in range(6)], cap=3)
    run_id = command_line.new_run("campaign")
    engine = command_line.start("run", "loop", "--until-done", run_id)
    wait_until(lambda: len(diary.started()) == 3, PATIENCE_S, "the first jobs")

    command_line.ok("run", "pause", run_id)
    diary.open()
    wait_until(
        lambda: command_line.status(run_id)["tasks"]["SUCCEEDED"] == 3, PATIENCE_S, "the end of the jobs"
    )

    wait_until(lambda: not _jobs(slurm_env), 10, "an empty queue")
    assert len(diary.started()) == 3
    assert command_line.status(run_id)["tasks"]["READY"] == 3

    command_line.ok("run", "resume", run_id)

    assert engine.wait().exit_code == 0
    assert Counter(diary.ended()) == Counter(f"t{i}" for i in range(6))
    types = command_line.event_types(run_id)
    between = types[types.index("RunPaused") : types.index("RunResumed")]
    assert not {"AttemptPrepared", "JobAccepted"} & set(between)


def _queued_and_running(command_line: CommandLine, diary: Diary) -> str:
    """A run of which three jobs run and two wait for a node."""
    wide = {"cpus": 4, "memory_mib": 20}
    _write(command_line, [diary.task(f"t{i}", "sleep 600", resources=wide) for i in range(5)])
    return command_line.new_run("campaign")


def test_after_a_cancel_no_job_is_left_in_the_cluster(
    command_line: CommandLine, slurm_env: SlurmCluster, diary: Diary
) -> None:
    run_id = _queued_and_running(command_line, diary)
    engine = command_line.start("run", "loop", "--until-done", run_id)
    wait_until(lambda: Counter(_jobs(slurm_env)) == {"RUNNING": 3, "PENDING": 2}, PATIENCE_S, "5 jobs")

    said = command_line.ok("run", "cancel", run_id)

    assert f"run {run_id} is CANCELLED" in said
    assert _jobs(slurm_env) == []
    assert engine.wait().exit_code == 1
    assert command_line.status(run_id)["tasks"]["CANCELLED"] == 5
    states = {task["attempts"][-1]["state"] for task in command_line.tasks(run_id).values()}
    assert states == {"CANCELLED"}
    assert len(set(diary.started())) == len(diary.started()) == 3


def test_a_cancel_without_an_engine_ends_the_jobs_too(
    command_line: CommandLine, slurm_env: SlurmCluster, diary: Diary
) -> None:
    run_id = _queued_and_running(command_line, diary)
    engine = command_line.start("run", "loop", run_id)
    wait_until(lambda: Counter(_jobs(slurm_env)) == {"RUNNING": 3, "PENDING": 2}, PATIENCE_S, "5 jobs")
    engine.kill()
    assert len(_jobs(slurm_env)) == 5, "jobs outlive the engine"

    command_line.ok("run", "cancel", run_id)

    assert command_line.status(run_id)["status"] == "CANCELLED"
    assert _jobs(slurm_env) == []


def test_an_engine_that_is_killed_again_and_again_runs_nothing_twice_and_loses_nothing(
    command_line: CommandLine, slurm_env: SlurmCluster, diary: Diary, shims: Shims
) -> None:
    _write(command_line, [diary.task(f"t{i}") for i in range(30)], cap=8)
    run_id = command_line.new_run("campaign")
    # Submissions are slow, and each outlives the engine that began it.
    shims.add("sbatch", 'sleep 0.2; exec "$REAL" "$@"')

    for _ in range(3):
        before = shims.calls("sbatch")
        engine = command_line.start("run", "loop", "--until-done", run_id)
        _wait_for_submissions(shims, before + 1)
        engine.kill()
    engine = command_line.start("run", "loop", "--until-done", run_id)

    assert engine.wait().exit_code == 0, engine.stderr
    assert Counter(diary.started()) == Counter(f"t{i}" for i in range(30))
    assert command_line.status(run_id)["tasks"]["SUCCEEDED"] == 30
    assert max(_live_attempts(command_line.events(run_id))) <= 8
    assert _jobs(slurm_env) == []


def _wait_for_submissions(shims: Shims, count: int) -> None:
    wait_until(lambda: shims.calls("sbatch") >= count, PATIENCE_S, f"{count} submissions")


@pytest.mark.usefixtures("slurm_env")
def test_a_job_that_sbatch_refuses_fails_its_task_in_the_words_of_sbatch(
    command_line: CommandLine, diary: Diary
) -> None:
    _write(
        command_line,
        [
            diary.task("lost", resources={"extra": {"licenses": "atlantis"}}),
            diary.task("good", allow_failure=True),
        ],
    )

    done = command_line.run("run", "start", "campaign", "--json")

    assert (done.exit_code, done.json["status"]) == (1, "FAILED")
    tasks = command_line.tasks(done.json["run_id"])
    assert tasks["lost"]["status"] == "FAILED"
    assert "sbatch refused the job: " in tasks["lost"]["reason"]
    assert "Invalid license specification" in tasks["lost"]["reason"]
    assert tasks["good"]["status"] == "SUCCEEDED"


@pytest.mark.usefixtures("slurm_env")
def test_a_partition_that_does_not_exist_fails_the_run_before_anything_is_submitted(
    command_line: CommandLine, diary: Diary
) -> None:
    _write(command_line, [diary.task("lost", resources={"partition": "atlantis"}), diary.task("good")])

    refused = command_line.run("run", "start", "campaign", "--json")
    run_id = command_line.new_run("campaign")  # as it may have been made before the partition was taken away
    done = command_line.run("run", "loop", "--until-done", run_id)
    reason = command_line.status(run_id)["status_reason"]

    assert (refused.exit_code, refused.error["code"], refused.error["message"]) == (2, "campaign", reason)
    assert (done.exit_code, command_line.status(run_id)["status"]) == (1, "FAILED")
    assert "task 'lost'" in reason
    assert "atlantis" in reason
    assert "main" in reason, "the partitions that there are"
    assert command_line.tasks(run_id) == {}
    assert len(command_line.json("run", "list")) == 1, "none was made that could never run"


@pytest.mark.usefixtures("slurm_env")
def test_a_failed_job_is_tried_again_after_a_fix(
    command_line: CommandLine, diary: Diary, tmp_path: Path
) -> None:
    fix = tmp_path / "fixed"
    _write(
        command_line,
        [diary.task("shaky", f"[ -e {fix} ] || exit 5"), diary.task("after", depends_on=["shaky"])],
    )

    done = command_line.run("run", "start", "campaign", "--json")
    run_id = done.json["run_id"]
    before = command_line.tasks(run_id)
    fix.touch()
    command_line.ok("run", "retry", run_id)
    command_line.ok("run", "loop", "--until-done", run_id)

    assert (done.json["status"], before["shaky"]["attempts"][0]["exit_code"]) == ("FAILED", 5)
    assert command_line.status(run_id)["status"] == "COMPLETED"
    after = command_line.tasks(run_id)
    assert [attempt["exit_code"] for attempt in after["shaky"]["attempts"]] == [5, 0]
    assert after["after"]["status"] == "SUCCEEDED"


def test_a_cluster_without_accounting_is_enough(
    command_line: CommandLine,
    start_slurm_cluster: StartCluster,
    monkeypatch: pytest.MonkeyPatch,
    diary: Diary,
) -> None:
    point_to(start_slurm_cluster(nodes=1, accounting=False), monkeypatch)
    tasks = [*_diamond(diary, 4), diary.task("fails", "exit 4", allow_failure=True)]
    _write(command_line, tasks)

    done = command_line.run("run", "start", "campaign", "--json")

    assert (done.exit_code, done.json["status"]) == (0, "COMPLETED"), done.stderr
    assert done.json["tasks"]["SUCCEEDED"] == 6
    assert command_line.tasks(done.json["run_id"])["fails"]["attempts"][0]["exit_code"] == 4
