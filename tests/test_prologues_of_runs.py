"""Prologues from the command line: one that fails ends its jobs, in words, on every backend."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tests.support.campaigns import ONE_ROUND, Diary, write_workspace
from tests.support.command import CommandLine
from tests.support.places import OnSlurm
from tests.support.slurm_cluster import SlurmCluster
from tests.support.sshd import Sshd
from tests.support.trials import Trial

BROKEN = ["export A=1", "no-such-module load nothing/1.0", "touch went-on"]
SAID = "prologue line 2 failed with 127: no-such-module load nothing/1.0: no-such-module: command not found"


def write(trial: Trial, *tasks: Mapping[str, Any], **backend: Any) -> None:
    config = {
        "default_backend": trial.place.name,
        "backends": {trial.place.name: {**trial.place.config(10), **backend}},
    }
    write_workspace(
        trial.command_line.root, "campaign", ONE_ROUND, config=config, files={"tasks.json": json.dumps(tasks)}
    )


def retried(command_line: CommandLine, run_id: str) -> list[str]:
    return [e["data"]["kind"] for e in command_line.events(run_id) if e["type"] == "TaskRetried"]


def test_a_broken_prologue_ends_its_jobs_before_their_commands_begin(trial: Trial) -> None:
    command_line = trial.command_line
    tasks = [
        trial.task("once", retries=2),
        trial.task("thrice", retries=2, retry_on=["environment"]),
        *(trial.task(f"more{i}") for i in range(3)),
    ]
    write(trial, *tasks, prologue=BROKEN)
    run_id = trial.new_run()
    trial.finish(expected=1)

    found = command_line.tasks(run_id)
    assert {task["status"] for task in found.values()} == {"FAILED"}
    assert {task["reason"] for task in found.values()} == {SAID}
    assert {task_id: len(task["attempts"]) for task_id, task in found.items()} == {
        "once": 1, "thrice": 3, "more0": 1, "more1": 1, "more2": 1,
    }  # fmt: skip
    assert {attempt["raw_state"] for attempt in trial.attempts([run_id])} == {"PROLOGUE_FAILED"}
    assert retried(command_line, run_id) == ["environment"] * 2
    assert trial.diary.started() == []
    assert list(command_line.run_folder("campaign", run_id).rglob("went-on")) == []


def test_a_prologue_that_may_fail_and_one_that_works_let_their_commands_begin(trial: Trial) -> None:
    command_line = trial.command_line
    write(trial, trial.task("a"), prologue=BROKEN, prologue_may_fail=True)
    run_id = trial.new_run()
    trial.finish()
    assert command_line.status(run_id)["status"] == "COMPLETED"

    write(
        trial,
        trial.task("a", 'test "$(twice 7)" = 77'),
        prologue=["twice() { echo $1$1; }", "export -f twice"],
    )
    run_id = trial.new_run()
    trial.finish()
    assert command_line.status(run_id)["status"] == "COMPLETED"


def test_over_ssh_the_reason_comes_home(
    command_line: CommandLine, diary: Diary, sshd: Sshd, slurm_env: SlurmCluster
) -> None:
    trial = Trial(command_line=command_line, diary=diary, place=OnSlurm.now(slurm_env))
    times = {"poll_interval_s": 0.3, "grace_period_s": 0.5, "command_timeout_s": 20}
    write(trial, trial.task("a"), ssh=sshd.config, prologue=BROKEN, **times)
    run_id = trial.new_run()
    trial.finish(expected=1)
    (task,) = command_line.tasks(run_id).values()
    assert (task["status"], task["reason"]) == ("FAILED", SAID)
    assert diary.started() == []


def test_a_prologue_that_is_spread_over_entries_is_refused_with_how_to_write_it(local_trial: Trial) -> None:
    write(local_trial, local_trial.task("a"), prologue=["true", "if true; then", "  export A=1", "fi"])
    done = local_trial.command_line.run("run", "init", "campaign")
    assert done.exit_code != 0
    assert (
        "workspaces/campaign/config.json: backends.local.prologue.1: 'if true; then' cannot stand"
        in done.stderr
    )
    assert r'"if true; then\n  export A=1\nfi"' in done.stderr
    assert local_trial.command_line.json("run", "list") == []
