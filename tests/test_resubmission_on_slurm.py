"""``run amend --resubmit`` on a real Slurm: what waits is submitted anew, what runs is left alone."""

from __future__ import annotations

import json
import shlex
import signal
from pathlib import Path
from typing import Any, Final

import pytest

from matterstack.storage.crash_points import CRASH_VARIABLE, CRASHED
from tests.support.campaigns import Diary, write_tasks
from tests.support.command import PATIENCE_S, CommandLine, Running
from tests.support.explanations import await_cause
from tests.support.polling import wait_until
from tests.support.slurm_cluster import SlurmCluster

CLUSTER: Final = {"type": "slurm", "poll_interval_s": 0.3, "grace_period_s": 0.5, "command_timeout_s": 20}
SMALL: Final = {"memory_mib": 20, "walltime_s": 60}
NEVER: Final = {**SMALL, "extra": {"hold": ""}}
"""Such a job waits until somebody lets it go."""


def _start(
    command_line: CommandLine, *tasks: dict[str, Any], env: dict[str, str] | None = None, **settings: Any
) -> tuple[str, Running]:
    folder = write_tasks(command_line.root, "w", [{"resources": SMALL, **task} for task in tasks])
    backends = {"cluster": {**CLUSTER, **settings}}
    config = {"default_backend": "cluster", "max_hpc_jobs_per_run": 100, "backends": backends}
    (folder / "config.json").write_text(json.dumps(config))
    run_id = command_line.new_run("w")
    command_line.wrapper = ("env", *(f"{name}={value}" for name, value in (env or {}).items()))
    engine = command_line.start("run", "loop", run_id)
    command_line.wrapper = ()
    return run_id, engine


def _states(command_line: CommandLine, run_id: str) -> dict[str, list[str]]:
    tasks = command_line.tasks(run_id)
    return {name: [attempt["state"] for attempt in task["attempts"]] for name, task in tasks.items()}


def _wait_for(command_line: CommandLine, run_id: str, **states: list[str]) -> None:
    wanted = {name.replace("_", "-"): value for name, value in states.items()}

    def are_there() -> bool:
        found = _states(command_line, run_id)
        return {name: found.get(name) for name in wanted} == wanted

    wait_until(are_there, PATIENCE_S, f"{wanted}")


def _job(command_line: CommandLine, run_id: str, task: str) -> str:
    return str(command_line.tasks(run_id)[task]["attempts"][-1]["job_id"])


def _kinds(command_line: CommandLine, run_id: str) -> list[str]:
    return [kind for kind in command_line.event_types(run_id) if "Resubmit" in kind]


def test_only_the_named_jobs_that_wait_are_submitted_anew_and_explain_names_it_for_the_others(
    command_line: CommandLine, slurm_env: SlurmCluster, diary: Diary
) -> None:
    held = [diary.task(f"held-{n}", resources=NEVER) for n in range(4)]
    run_id, _ = _start(command_line, diary.task("runs", diary.gate()), *held)
    _wait_for(command_line, run_id, runs=["RUNNING"], **{f"held_{n}": ["QUEUED"] for n in range(4)})
    before = {name: _job(command_line, run_id, name) for name in ("runs", "held-1", "held-3")}
    assert before["held-1"].partition("_")[0] == before["held-3"].partition("_")[0], "one array"

    let_go = ["--set", "resources.extra.hold=null"]
    words = ["run", "amend", run_id, "held-0", "held-2", "runs", *let_go, "--set", "env.X=1", "--resubmit"]
    asked = command_line.run(*words)
    assert asked.exit_code == 2
    assert (
        "tasks held-0 and held-2: their 2 jobs wait: these are cancelled and submitted anew" in asked.stdout
    )
    assert "task runs at work now: not touched" in asked.stdout
    said = command_line.ok(*words, "--yes")

    assert "2 jobs were cancelled, to be submitted anew: tasks held-0 and held-2" in said
    anew = ["CANCELLED", "COMPLETED_OK"]
    _wait_for(command_line, run_id, held_0=anew, held_2=anew, held_1=["QUEUED"], held_3=["QUEUED"])
    assert {name: _job(command_line, run_id, name) for name in before} == before
    state = slurm_env.output("squeue", "--array", "--noheader", f"--jobs={before['held-3']}", "--format=%T")
    assert state == "PENDING"

    command_line.ok("run", "amend", run_id, "held-[13]", *let_go, "--yes")
    action = await_cause(command_line, run_id, "job_held")[0]["action"].splitlines()[-1]
    assert action == f"matterstack run amend {run_id} held-1 held-3 --resubmit"
    document = command_line.json(*shlex.split(action)[1:], "--yes")
    assert document["amended"]["resubmitted"] == ["held-1", "held-3"]
    assert document["amended"]["jobs"] == {"given_up": ["held-1", "held-3"], "begun": [], "asked": []}
    diary.open()
    wait_until(lambda: command_line.status(run_id)["status"] == "COMPLETED", PATIENCE_S, "the end")
    assert _states(command_line, run_id) == {"runs": ["COMPLETED_OK"], **{t["id"]: anew for t in held}}
    assert sorted(diary.started()) == ["held-0", "held-1", "held-2", "held-3", "runs"]
    command_line.ok("check")


@pytest.mark.usefixtures("slurm_env")
def test_jobs_in_a_closed_partition_are_submitted_to_the_one_that_the_config_names_then(
    command_line: CommandLine, diary: Diary
) -> None:
    run_id, _ = _start(command_line, diary.task("a"), diary.task("b"), partition="closed")
    _wait_for(command_line, run_id, a=["QUEUED"], b=["QUEUED"])

    kept = command_line.run("run", "amend", run_id, "--config", "backends.cluster.partition=main")
    assert "with --resubmit: cancelled and submitted anew" in kept.stdout
    words = ["--config", "backends.cluster.partition=main", "--resubmit", "--yes"]
    said = command_line.ok("run", "amend", run_id, *words)

    assert "tasks a and b: their 2 jobs wait: these are cancelled and submitted anew" in said
    wait_until(lambda: command_line.status(run_id)["status"] == "COMPLETED", PATIENCE_S, "the end")
    assert sorted(diary.started()) == ["a", "b"]
    command_line.ok("check")
    bundle = command_line.json("run", "export-evidence", run_id)
    assert command_line.json("evidence", "verify", bundle["path"])["ok"]
    report = (Path(bundle["path"]) / "report.md").read_text()
    assert "had jobs submitted anew that had not begun: 2 tasks (a, b)" in report


def test_a_job_that_begins_before_it_can_be_cancelled_goes_on_and_who_asked_is_told(
    command_line: CommandLine, slurm_env: SlurmCluster, diary: Diary
) -> None:
    run_id, engine = _start(command_line, diary.task("a", diary.gate(), resources=NEVER))
    _wait_for(command_line, run_id, a=["QUEUED"])
    engine.signal(signal.SIGSTOP)
    slurm_env.run("scontrol", "release", _job(command_line, run_id, "a"))
    wait_until(lambda: diary.started() == ["a"], PATIENCE_S, "the job")

    asked = command_line.start("run", "amend", run_id, "a", "--set", "env.X=1", "--resubmit", "--yes")
    wait_until(lambda: "waiting for" in asked.stderr, PATIENCE_S, "the command")
    engine.signal(signal.SIGCONT)

    told = asked.wait()
    assert told.exit_code == 0
    assert "task a had begun meanwhile: not touched; a next attempt is as it says" in told.stdout
    assert _kinds(command_line, run_id) in ([], ["TaskResubmitRequested", "TaskResubmitMissed"])
    diary.open()
    wait_until(lambda: command_line.status(run_id)["status"] == "COMPLETED", PATIENCE_S, "the end")
    assert _states(command_line, run_id) == {"a": ["COMPLETED_OK"]}
    assert diary.started() == ["a"]
    command_line.ok("check")


@pytest.mark.usefixtures("slurm_env")
@pytest.mark.parametrize("point", ["before_cancel", "after_cancel"])
def test_an_engine_that_dies_over_it_leaves_it_to_the_next_one(
    command_line: CommandLine, diary: Diary, point: str
) -> None:
    armed = {CRASH_VARIABLE: f"{point}:1"}
    tasks = [diary.task(f"t{n}", resources=NEVER) for n in range(2)]
    run_id, engine = _start(command_line, *tasks, env=armed)
    _wait_for(command_line, run_id, t0=["QUEUED"], t1=["QUEUED"])

    let_go = ["--set", "resources.extra.hold=null", "--resubmit", "--yes"]
    asked = command_line.start("run", "amend", run_id, "t0", *let_go)
    assert engine.wait().exit_code == CRASHED
    command_line.start("run", "loop", run_id)

    assert asked.wait().exit_code == 0
    _wait_for(command_line, run_id, t0=["CANCELLED", "COMPLETED_OK"], t1=["QUEUED"])
    assert _kinds(command_line, run_id) == ["TaskResubmitRequested", "TaskResubmitted"]
    assert diary.started() == ["t0"]
    command_line.ok("check")


def test_while_the_controller_is_away_it_stays_asked(
    command_line: CommandLine, slurm_env: SlurmCluster, diary: Diary
) -> None:
    run_id, _ = _start(command_line, diary.task("a", resources=NEVER), command_timeout_s=2)
    _wait_for(command_line, run_id, a=["QUEUED"])
    slurm_env.save_jobs()
    slurm_env.kill_controller()

    let_go = ["--set", "resources.extra.hold=null", "--resubmit", "--yes"]
    asked = command_line.start("run", "amend", run_id, "a", *let_go)
    wait_until(lambda: _kinds(command_line, run_id) == ["TaskResubmitRequested"], PATIENCE_S, "the request")
    slurm_env.start_controller()

    assert "1 job was cancelled, to be submitted anew: task a" in asked.wait().stdout
    wait_until(lambda: command_line.status(run_id)["status"] == "COMPLETED", PATIENCE_S, "the end")
    assert diary.started() == ["a"]
    command_line.ok("check")
