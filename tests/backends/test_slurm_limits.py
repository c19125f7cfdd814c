"""Limits of the accounting on the real Slurm: respected where they can be read, else waited for."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.backends.conftest import Shims
from tests.slurm_fixtures import StartCluster, point_to
from tests.support.campaigns import Diary, write_tasks
from tests.support.command import PATIENCE_S, CommandLine
from tests.support.polling import wait_until
from tests.support.slurm_cluster import SlurmCluster

CLUSTER = {"type": "slurm", "poll_interval_s": 0.3, "grace_period_s": 0.5, "command_timeout_s": 20}


@contextmanager
def most_jobs(cluster: SlurmCluster, most: int) -> Iterator[None]:
    """The accounting lets this user have so many jobs."""
    modify = ("sacctmgr", "--immediate", "modify", "user", "root", "set")
    cluster.run(*modify, f"MaxSubmitJobs={most}")
    try:
        yield
    finally:
        cluster.run(*modify, "MaxSubmitJobs=-1")


def new_run(command_line: CommandLine, diary: Diary, count: int, shell: str = "true") -> str:
    """A run of tasks that go out as one array."""
    resources = {"memory_mib": 20}
    tasks = [diary.task(f"t{i}", shell, resources=resources) for i in range(count)]
    folder = write_tasks(command_line.root, "campaign", tasks)
    config = {"max_hpc_jobs_per_run": 500, "default_backend": "cluster", "backends": {"cluster": CLUSTER}}
    (folder / "config.json").write_text(json.dumps(config))
    return command_line.new_run("campaign")


def queued(cluster: SlurmCluster) -> int:
    """How many jobs are in the queue."""
    return len(cluster.output("squeue", "--array", "--noheader", "--format=%i").split())


def limits_told(command_line: CommandLine, run_id: str) -> list[str]:
    """Which limits ``run status`` tells of."""
    told = command_line.run("run", "status", run_id, "--json").json["backends"]
    return [backend["limit"] for backend in told.values() if backend["limited_since"]]


def test_an_array_beyond_the_limit_runs_in_parts_and_sbatch_is_never_refused(
    command_line: CommandLine, slurm_env: SlurmCluster, diary: Diary, shims: Shims
) -> None:
    with most_jobs(slurm_env, 7):
        run_id = new_run(command_line, diary, 30)
        shims.add("sbatch", '"$REAL" "$@" || { code=$?; echo refused >> "$0.refused"; exit $code; }')
        engine = command_line.start("run", "loop", "--until-done", run_id)
        most = 0
        while engine.process.poll() is None:
            most = max(most, queued(slurm_env))
        assert engine.wait().exit_code == 0, engine.stderr
    assert most <= 7
    assert Counter(diary.started()) == Counter(f"t{i}" for i in range(30))
    assert not (shims.folder / "sbatch.refused").exists()


def test_where_the_limit_cannot_be_read_the_array_is_made_smaller_until_it_fits(
    command_line: CommandLine, slurm_env: SlurmCluster, diary: Diary, shims: Shims
) -> None:
    with most_jobs(slurm_env, 7):
        run_id = new_run(command_line, diary, 30)
        shims.add("sacctmgr", "echo 'sacctmgr: error: not permitted' >&2; exit 1")
        shims.add("sbatch")
        done = command_line.run("run", "loop", "--until-done", run_id)
        assert done.exit_code == 0, done.stderr
    assert shims.calls("sacctmgr") > 0
    assert Counter(diary.started()) == Counter(f"t{i}" for i in range(30))
    tasks = command_line.tasks(run_id)
    assert all(len(task["attempts"]) == 1 for task in tasks.values())
    assert shims.calls("sbatch") < 100


def test_jobs_submitted_by_hand_use_the_limit_up_and_the_run_goes_on_when_they_have_ended(
    command_line: CommandLine, slurm_env: SlurmCluster, diary: Diary
) -> None:
    with most_jobs(slurm_env, 3):
        options = ("--parsable", "--output=/dev/null", "--array=0-2", "--mem=20")
        by_hand = slurm_env.output("sbatch", *options, "--wrap=sleep 600")
        run_id = new_run(command_line, diary, 5)
        engine = command_line.start("run", "loop", "--until-done", run_id)
        wait_until(lambda: limits_told(command_line, run_id) != [], PATIENCE_S, "the limit to be told")
        assert "lets user root have 3 jobs" in limits_told(command_line, run_id)[0]
        assert "has taken no more jobs since" in command_line.ok("run", "status", run_id)
        assert diary.started() == []
        slurm_env.run("scancel", by_hand)
        assert engine.wait().exit_code == 0, engine.stderr
    assert Counter(diary.started()) == Counter(f"t{i}" for i in range(5))


def test_a_cluster_that_is_full_for_everybody_is_waited_for_and_leaves_nothing_unclear(
    command_line: CommandLine,
    start_slurm_cluster: StartCluster,
    monkeypatch: pytest.MonkeyPatch,
    diary: Diary,
) -> None:
    full = start_slurm_cluster(nodes=1, settings={"MaxJobCount": "4"})
    point_to(full, monkeypatch)
    run_id = new_run(command_line, diary, 9, diary.gate())
    engine = command_line.start("run", "loop", "--until-done", run_id)
    wait_until(lambda: limits_told(command_line, run_id) != [], PATIENCE_S, "the limit to be told")
    wait_until(lambda: diary.started() != [], PATIENCE_S, "what there was room for")

    command_line.ok("run", "pause", run_id)

    assert "unable to accept job" in limits_told(command_line, run_id)[0]
    assert 0 < len(diary.started()) <= 4
    assert "is unclear" not in engine.stderr
    command_line.ok("run", "cancel", run_id)
    assert engine.wait().exit_code == 1
    assert queued(full) == 0
    attempts = [a for task in command_line.tasks(run_id).values() for a in task["attempts"]]
    assert [a["state"] for a in attempts] == ["CANCELLED"] * 9
