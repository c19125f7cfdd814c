"""What people and broken disks do to the folders of attempts costs a try at most, and never the run."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from matterstack.storage.crash_points import CRASH_VARIABLE, CRASHED
from tests.support.campaigns import Diary, write_tasks
from tests.support.command import PATIENCE_S, CommandLine, Running
from tests.support.polling import wait_until


def new_run(command_line: CommandLine, task: dict[str, Any]) -> str:
    write_tasks(command_line.root, "w", [task])
    return command_line.new_run("w")


def start_and_wait_for_the_job(command_line: CommandLine, diary: Diary, run_id: str) -> Running:
    engine = command_line.start("run", "loop", "--until-done", run_id)
    wait_until(lambda: diary.started() == ["a"], PATIENCE_S)
    wait_until(lambda: "JobAccepted" in command_line.event_types(run_id), PATIENCE_S)
    return engine


def endings(command_line: CommandLine, run_id: str) -> list[str]:
    return [attempt["state"] for attempt in command_line.tasks(run_id)["a"]["attempts"]]


def test_a_folder_that_is_deleted_while_its_job_runs_costs_one_try(
    command_line: CommandLine, diary: Diary
) -> None:
    run_id = new_run(command_line, diary.task("a", diary.gate(), retries=1))
    engine = start_and_wait_for_the_job(command_line, diary, run_id)
    shutil.rmtree(command_line.run_folder("w", run_id) / "tasks" / "a" / "1")
    diary.open()

    assert engine.wait().exit_code == 0

    assert endings(command_line, run_id) == ["LOST", "COMPLETED_OK"]
    (retried,) = [e["data"] for e in command_line.events(run_id) if e["type"] == "TaskRetried"]
    assert retried["kind"] == "lost"
    assert command_line.status(run_id)["status"] == "COMPLETED"


@pytest.mark.parametrize("point", ["inside_staging", "before_submit"])
def test_a_folder_that_is_deleted_before_its_job_started_is_written_again(
    command_line: CommandLine, diary: Diary, point: str
) -> None:
    run_id = new_run(command_line, diary.task("a"))
    died = command_line.run("run", "loop", "--until-done", run_id, env={CRASH_VARIABLE: point})
    assert died.exit_code == CRASHED
    shutil.rmtree(command_line.run_folder("w", run_id) / "tasks")

    command_line.ok("run", "loop", "--until-done", run_id)

    assert endings(command_line, run_id) == ["COMPLETED_OK"]
    assert diary.started() == ["a"]


JOBS_THAT_ARE_NONE = ["²1.5.abc", "999999999.1.00000000", "9" * 4000]


@pytest.mark.parametrize("claimant", JOBS_THAT_ARE_NONE)
def test_a_claim_without_the_nonce_of_its_attempt_costs_nothing(
    command_line: CommandLine, diary: Diary, claimant: str
) -> None:
    run_id, claim = claimed_before_the_job_was_submitted(command_line, diary)
    claim.write_text(claimant)

    command_line.ok("run", "loop", "--until-done", run_id)

    assert endings(command_line, run_id) == ["COMPLETED_OK"]
    assert diary.started() == ["a"]
    assert [path.read_text() for path in claim.parent.glob("before/*/job_id")] == [claimant]


@pytest.mark.parametrize("claimant", JOBS_THAT_ARE_NONE)
def test_a_claim_by_a_job_that_is_none_costs_one_try(
    command_line: CommandLine, diary: Diary, claimant: str
) -> None:
    run_id, claim = claimed_before_the_job_was_submitted(command_line, diary)
    (nonce,) = re.findall("^nonce=([0-9a-f]+)$", (claim.parent.parent / "job.sh").read_text(), re.MULTILINE)
    claim.write_text(f"{claimant} {nonce}\n")

    command_line.ok("run", "loop", "--until-done", run_id)

    first, last = endings(command_line, run_id)
    assert first in {"LOST", "COMPLETED_ERROR"}
    assert last == "COMPLETED_OK"
    assert diary.started() == ["a"], "a folder that was claimed is left to its claimant"


def claimed_before_the_job_was_submitted(command_line: CommandLine, diary: Diary) -> tuple[str, Path]:
    """A run whose engine died before it submitted the first try of ``a``, and the claim to write there."""
    run_id = new_run(command_line, diary.task("a", retries=1))
    died = command_line.run("run", "loop", "--until-done", run_id, env={CRASH_VARIABLE: "after_staging"})
    assert died.exit_code == CRASHED
    claim = command_line.run_folder("w", run_id) / "tasks" / "a" / "1" / "claim"
    claim.mkdir()
    return run_id, claim / "job_id"


def ended_without_an_engine(command_line: CommandLine, diary: Diary) -> tuple[str, Path]:
    """A run, and the record of its job's end, which no engine has read."""
    run_id = new_run(command_line, diary.task("a", diary.gate(), retries=1))
    engine = start_and_wait_for_the_job(command_line, diary, run_id)
    engine.kill()
    record = command_line.run_folder("w", run_id) / "tasks" / "a" / "1" / "exit.json"
    diary.open()
    wait_until(lambda: not command_line.processes(), PATIENCE_S)
    return run_id, record


@pytest.mark.parametrize("left", [20, -2])
def test_half_a_record_of_an_end_is_none(command_line: CommandLine, diary: Diary, left: int) -> None:
    run_id, record = ended_without_an_engine(command_line, diary)
    whole = record.read_bytes()
    record.write_bytes(whole[:left] if left >= 0 else whole.rstrip()[:left])

    command_line.ok("run", "loop", "--until-done", run_id)

    assert endings(command_line, run_id) == ["COMPLETED_ERROR", "COMPLETED_OK"]


def test_an_end_that_no_shell_could_have_had_does_not_reach_the_store(
    command_line: CommandLine, diary: Diary
) -> None:
    run_id, record = ended_without_an_engine(command_line, diary)
    record.write_text(record.read_text().replace('"exit_code": 0', f'"exit_code": {10**30}'))

    command_line.ok("run", "loop", "--until-done", run_id)

    assert [a["exit_code"] for a in command_line.tasks(run_id)["a"]["attempts"]] == [None, 0]
