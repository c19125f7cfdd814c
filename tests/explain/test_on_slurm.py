"""Stalls of jobs on the real Slurm, and outages of it: named by ``run explain`` with what to do."""

from __future__ import annotations

import json
import os
import shlex
import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.slurm_fixtures import StartCluster, point_to
from tests.support.campaigns import Diary, write_tasks
from tests.support.command import PATIENCE_S, CommandLine, Running
from tests.support.explanations import await_cause
from tests.support.polling import wait_until
from tests.support.slurm_cluster import SlurmCluster
from tests.support.sshd import Sshd

CLUSTER = {"type": "slurm", "poll_interval_s": 0.3, "grace_period_s": 0.5, "command_timeout_s": 20}
WHOLE_NODE = {"cpus": 4, "memory_mib": 20, "walltime_s": 3600}


def _serve(command_line: CommandLine, *tasks: dict[str, Any], **settings: Any) -> tuple[str, Running]:
    """Start a run of these tasks on the cluster (with more settings), and an engine for it."""
    folder = write_tasks(
        command_line.root, "w", [{"resources": {"memory_mib": 20}, **task} for task in tasks]
    )
    backends = {"cluster": {**CLUSTER, **settings}}
    config = {"default_backend": "cluster", "max_hpc_jobs_per_run": 100, "backends": backends}
    (folder / "config.json").write_text(json.dumps(config))
    run_id = command_line.new_run("w")
    return run_id, command_line.start("run", "loop", run_id)


def _await(command_line: CommandLine, run_id: str, *what: Any) -> dict[str, Any]:
    """The first cause, as soon as it is of this kind."""
    return await_cause(command_line, run_id, *what)[0]


def _job_of(command_line: CommandLine, run_id: str, task: str) -> str:
    """Id of a task's job, as soon as it has one."""

    def has_job() -> bool:
        listed = command_line.tasks(run_id)
        return bool(task in listed and listed[task]["attempts"] and listed[task]["attempts"][-1]["job_id"])

    wait_until(has_job, PATIENCE_S, f"the job of {task}")
    return str(command_line.tasks(run_id)[task]["attempts"][-1]["job_id"])


def _full_cluster(diary: Diary) -> list[dict[str, Any]]:
    """Tasks that take all nodes until the gate is opened."""
    return [diary.task(f"wide{n}", diary.gate(), resources=WHOLE_NODE, priority=1) for n in range(3)]


def _expected_start(cluster: SlurmCluster, job: str) -> datetime | None:
    """When Slurm plans to start a job, in the time zone of this machine."""
    told = cluster.output("squeue", "--start", "--noheader", f"--jobs={job}", "--format=%S")
    return None if told in {"", "N/A"} else datetime.fromisoformat(told)


def test_a_job_that_waits_for_others_is_pending_and_those_that_run_are_named_with_their_node(
    command_line: CommandLine, slurm_env: SlurmCluster, diary: Diary
) -> None:
    waiting = diary.task("waits", resources=WHOLE_NODE)
    behind = diary.task("behind", depends_on=["waits"])
    run_id, _ = _serve(command_line, *_full_cluster(diary), waiting, behind)

    job = _job_of(command_line, run_id, "waits")
    wait_until(lambda: _expected_start(slurm_env, job) is not None, PATIENCE_S, "the plan of the backfill")

    def is_known(cause: dict[str, Any]) -> bool:
        """Whether the engine has seen what Slurm said after its round: who runs, and why this one waits."""
        told = cause["message"]
        return "expected to start" in told and "(Resources)" in told and cause["blocks"] == 2

    cause = _await(command_line, run_id, "job_pending", is_known)
    assert "what is asked for is in use by other jobs (Resources)" in cause["message"]
    assert f"job {job} (task waits)" in cause["message"]
    expected = _expected_start(slurm_env, job)
    assert expected is not None
    assert f"{expected.astimezone(UTC):%H:%M} UTC" in cause["message"].partition("expected to start at ")[2]
    (running,) = [
        c for c in command_line.json("run", "explain", run_id)["causes"] if c["kind"] == "job_running"
    ]
    assert "3 jobs run on cluster" in running["message"]
    assert any(f" on {node}" in running["message"] for node in slurm_env.config.nodes)
    assert " of its walltime left" in running["message"]


@pytest.mark.parametrize(("hold", "kind"), [("uhold", "JobHeldUser"), ("hold", "JobHeldAdmin")])
def test_a_job_that_somebody_holds(
    command_line: CommandLine, slurm_env: SlurmCluster, diary: Diary, hold: str, kind: str
) -> None:
    held = diary.task("held", resources=WHOLE_NODE)
    run_id, _ = _serve(command_line, *_full_cluster(diary), held, diary.task("behind", depends_on=["held"]))
    job = _job_of(command_line, run_id, "held")
    wait_until(lambda: len(diary.started()) == 3, PATIENCE_S, "a full cluster")

    slurm_env.run("scontrol", hold, job)
    cause = _await(command_line, run_id, "job_held")

    assert (cause["blocks"], cause["needs_person"]) == (2, True)
    assert f"job {job} (task held)" in cause["message"]
    assert f"({kind})" in cause["message"]
    if kind == "JobHeldUser":
        assert cause["action"] == f"scontrol release {job}"
        slurm_env.run(*shlex.split(cause["action"]))
        _await(command_line, run_id, "job_pending")
    else:
        assert cause["action"].startswith("# ask the administrators")


def test_a_job_that_its_partition_can_never_start(
    command_line: CommandLine, slurm_env: SlurmCluster, diary: Diary
) -> None:
    stuck = diary.task("stuck", resources=WHOLE_NODE)
    run_id, _ = _serve(command_line, *_full_cluster(diary), stuck)
    job = _job_of(command_line, run_id, "stuck")
    wait_until(lambda: len(diary.started()) == 3, PATIENCE_S, "a full cluster")

    slurm_env.run("scontrol", "update", f"JobId={job}", "Partition=closed")
    cause = _await(command_line, run_id, "job_never_starts")

    assert (cause["blocks"], cause["needs_person"]) == (1, True)
    assert "the partition is down (PartitionDown)" in cause["message"]
    move, _, give_up = cause["action"].splitlines()
    assert give_up == f"scancel {job}", "an element of an array cannot be told apart by its state"
    assert move == f"scontrol update JobId={job} Partition=NAME"
    slurm_env.run(*shlex.split(move.replace("NAME", "main")))
    _await(command_line, run_id, "job_pending")


def test_a_suspended_job(command_line: CommandLine, slurm_env: SlurmCluster, diary: Diary) -> None:
    run_id, _ = _serve(command_line, diary.task("a", diary.gate()))
    wait_until(lambda: diary.started() == ["a"], PATIENCE_S, "the job")
    job = _job_of(command_line, run_id, "a")

    slurm_env.run("scontrol", "suspend", job)
    cause = _await(command_line, run_id, "job_suspended")

    assert cause["action"].splitlines()[0] == f"scontrol resume {job}"
    slurm_env.run("scontrol", "resume", job)
    _await(command_line, run_id, "job_running")


def test_a_controller_that_is_out_is_told_with_since_when_and_forgotten_when_it_is_back(
    command_line: CommandLine,
    start_slurm_cluster: StartCluster,
    monkeypatch: pytest.MonkeyPatch,
    diary: Diary,
) -> None:
    cluster = start_slurm_cluster(nodes=1)
    point_to(cluster, monkeypatch)
    run_id, _ = _serve(command_line, diary.task("a", diary.gate()), diary.task("b", depends_on=["a"]))
    wait_until(lambda: diary.started() == ["a"], PATIENCE_S, "the job")
    _await(command_line, run_id, "job_running")

    cluster.kill_controller()
    out = _await(command_line, run_id, "backend_out")

    assert (out["blocks"], out["needs_person"]) == (2, False)
    assert "backend cluster does not answer: squeue: " in out["message"]
    assert out["since"] is not None
    later = _await(command_line, run_id, "backend_out")
    assert later["since"] == out["since"]
    cluster.start_controller()
    _await(command_line, run_id, "job_running")

    cluster.stop_controller_answering()
    hung = _await(command_line, run_id, "backend_out")
    assert (hung["blocks"], hung["since"] > out["since"]) == (2, True)
    assert "backend cluster does not answer: squeue: " in hung["message"]
    cluster.continue_controller()
    _await(command_line, run_id, "job_running")


def test_a_login_node_that_takes_no_connections(command_line: CommandLine, sshd: Sshd, diary: Diary) -> None:
    gated = diary.task("a", diary.gate())
    run_id, _ = _serve(command_line, gated, diary.task("b", depends_on=["a"]), ssh=sshd.config)
    wait_until(lambda: diary.started() == ["a"], PATIENCE_S, "the job")
    _await(command_line, run_id, "job_running")

    sshd.stop()
    out = _await(command_line, run_id, "ssh_out")

    assert (out["blocks"], out["needs_person"], out["since"] is not None) == (2, False, True)
    assert "the login node of backend cluster cannot be used: " in out["message"]
    assert out["action"] == f"ssh {sshd.config['host']}"
    sshd.go_on()
    _await(command_line, run_id, "job_running")


def test_an_accounting_that_is_out_while_a_job_has_failed(
    command_line: CommandLine,
    start_slurm_cluster: StartCluster,
    monkeypatch: pytest.MonkeyPatch,
    diary: Diary,
) -> None:
    cluster = start_slurm_cluster(nodes=1, accounting=True, settings={"MinJobAge": "2"})
    point_to(cluster, monkeypatch)
    run_id, engine = _serve(command_line, diary.task("a", f"{diary.gate()}; exit 3"))
    wait_until(lambda: diary.started() == ["a"], PATIENCE_S, "the job")
    _await(command_line, run_id, "job_running")

    cluster.kill_accounting()
    engine.signal(signal.SIGSTOP)  # it must not see the end while squeue still shows it
    diary.open()
    job = _job_of(command_line, run_id, "a")
    wait_until(
        lambda: job not in cluster.output("squeue", "--states=all", "--noheader"), PATIENCE_S, "its end"
    )
    engine.signal(signal.SIGCONT)
    out = _await(command_line, run_id, "accounting_out")

    assert out["blocks"] == 1
    assert "the accounting of cluster does not answer: sacct: " in out["message"]
    cluster.start_accounting()
    _await(command_line, run_id, "task_failed")


def test_a_limit_of_the_site(command_line: CommandLine, slurm_env: SlurmCluster, diary: Diary) -> None:
    modify = ("sacctmgr", "--immediate", "modify", "user", "root", "set")
    slurm_env.run("sbatch", "--hold", "--output=/dev/null", "--wrap=true")
    slurm_env.run(*modify, "MaxSubmitJobs=1")
    try:
        run_id, _ = _serve(command_line, diary.task("a"), diary.task("b", depends_on=["a"]))
        limit = _await(command_line, run_id, "site_limit")
    finally:
        slurm_env.run(*modify, "MaxSubmitJobs=-1")

    assert (limit["blocks"], limit["needs_person"]) == (2, False)
    assert "a limit of the site is used up: " in limit["message"]
    assert "lets user root have 1 job" in limit["message"]
    assert diary.started() == []


def test_a_submission_of_which_nobody_knows_what_became(
    command_line: CommandLine, slurm_env: SlurmCluster, diary: Diary, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    shims = tmp_path / "shims"
    shims.mkdir()
    sbatch = shims / "sbatch"
    sbatch.write_text(f"#!/bin/sh\ntouch {shims}/called\nexec sleep 600\n")
    sbatch.chmod(0o755)
    monkeypatch.setenv("PATH", f"{shims}:{os.environ['PATH']}")

    run_id, engine = _serve(command_line, diary.task("a"))
    wait_until((shims / "called").exists, PATIENCE_S, "the submission")
    engine.kill()

    causes = command_line.json("run", "explain", run_id)["causes"]

    assert [c["kind"] for c in causes] == ["no_engine", "submission_unclear"]
    assert "whether task a was submitted to cluster: the next engine looks" in causes[1]["message"]
    assert slurm_env.output("squeue", "--noheader") == ""
