"""Ends that are forged on a cluster behind ssh, in the folders there, which nobody here can make anew."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from matterstack.backends.slurm.ssh.root_id import root_id
from matterstack.storage.crash_points import CRASH_VARIABLE, CRASHED
from matterstack.storage.layout import Root
from tests.support.campaigns import ONE_ROUND, Diary, write_workspace
from tests.support.command import PATIENCE_S, CommandLine
from tests.support.polling import wait_until
from tests.support.slurm_cluster import SlurmCluster
from tests.support.sshd import Sshd
from tests.test_forged_ends import FORGED, HONEST, forge

TIMES: Final = {"poll_interval_s": 0.3, "grace_period_s": 0.5, "command_timeout_s": 20}


def _write(command_line: CommandLine, sshd: Sshd, *tasks: Mapping[str, Any]) -> None:
    config = {
        "max_hpc_jobs_per_run": 10,
        "default_backend": "cluster",
        "backends": {"cluster": {"type": "slurm", "max_jobs": 10, "ssh": sshd.config, **TIMES}},
    }
    files = {"tasks.json": json.dumps(tasks)}
    write_workspace(command_line.root, "campaign", ONE_ROUND, config=config, files=files)


def _victim(diary: Diary, **resources: Any) -> dict[str, Any]:
    return diary.task("victim", HONEST, outputs=["*.dat"], resources={"memory_mib": 20, **resources})


def _there(command_line: CommandLine, sshd: Sshd, here: Path) -> Path:
    own = root_id(Root(command_line.root).private)
    return sshd.workdir / "matterstack" / own / here.relative_to(command_line.root)


def _assert_honest(command_line: CommandLine, run: str, diary: Diary, there: Path) -> None:
    assert diary.started() == ["victim"]
    (ended,) = [e["data"] for e in command_line.events(run) if e["type"] == "TaskSucceeded"]
    assert (ended["data"], [output["path"] for output in ended["outputs"]]) == ({"energy": 1}, ["out.dat"])
    here = command_line.run_folder("campaign", run) / "tasks" / "victim" / "1"
    assert (here / "out.dat").read_text() == "mine\n"
    assert not (here / "more.dat").exists()
    attempt = command_line.tasks(run)["victim"]["attempts"][0]
    assert "set aside" in attempt["reason"]
    log = (here / "scheduler.log").read_text()
    for name in ("claim", "exit.json", "result.json", "out.dat", "more.dat"):
        assert f": {name} lay in {there} before it began" in log
    kept = [path for path in (there / "claim" / "before").iterdir() if path.name.endswith("-result.json")]
    assert [json.loads(path.read_text()) for path in kept] == [FORGED], "nothing is lost"


@pytest.mark.parametrize("point", ["after_prepared", "after_staging", "before_submit"])
def test_an_end_that_is_planted_there_before_the_submission_is_not_believed(
    command_line: CommandLine, sshd: Sshd, diary: Diary, point: str
) -> None:
    _write(command_line, sshd, _victim(diary))
    run = command_line.new_run("campaign")
    died = command_line.run("run", "loop", "--until-done", run, env={CRASH_VARIABLE: f"{point}:1"})
    assert died.exit_code == CRASHED, died
    here = command_line.run_folder("campaign", run) / "tasks" / "victim" / "1"
    there = _there(command_line, sshd, here)
    forge(there, "cluster")

    done = command_line.run("run", "loop", "--until-done", run)

    assert done.exit_code == 0, done.stderr
    _assert_honest(command_line, run, diary, there)


def test_an_end_that_is_planted_there_in_the_name_of_a_job_that_waits_is_not_believed(
    command_line: CommandLine, sshd: Sshd, diary: Diary, slurm_env: SlurmCluster
) -> None:
    _write(command_line, sshd, _victim(diary, extra={"hold": ""}))
    run = command_line.new_run("campaign")
    engine = command_line.start("run", "loop", "--until-done", run)

    def job_id() -> str:
        attempts = command_line.tasks(run).get("victim", {"attempts": []})["attempts"]
        return attempts[0]["job_id"] or "" if attempts else ""

    wait_until(lambda: job_id() != "", PATIENCE_S, "its job")
    here = command_line.run_folder("campaign", run) / "tasks" / "victim" / "1"
    there = _there(command_line, sshd, here)
    forge(there, "cluster")
    (there / "claim" / "job_id").write_text(f"{job_id()}\n")
    record = json.loads((there / "exit.json").read_text())
    (there / "exit.json").write_text(json.dumps({**record, "job_id": job_id()}))
    slurm_env.run("scontrol", "release", job_id())

    assert engine.wait().exit_code == 0, engine.stderr
    _assert_honest(command_line, run, diary, there)


def test_what_is_planted_here_while_its_job_works_there_is_not_its_own(
    command_line: CommandLine, sshd: Sshd, diary: Diary
) -> None:
    """The job leaves neither a result nor the output that is planted."""
    _write(
        command_line,
        sshd,
        diary.task(
            "victim", f"{diary.gate()}; echo mine > out.dat", outputs=["*.dat"], resources={"memory_mib": 20}
        ),
    )
    run = command_line.new_run("campaign")
    engine = command_line.start("run", "loop", "--until-done", run)
    wait_until(lambda: diary.started() == ["victim"], PATIENCE_S, "its job")
    here = command_line.run_folder("campaign", run) / "tasks" / "victim" / "1"
    forge(here, "cluster")
    diary.open()

    assert engine.wait().exit_code == 0, engine.stderr

    (ended,) = [e["data"] for e in command_line.events(run) if e["type"] == "TaskSucceeded"]
    assert (ended.get("data"), [output["path"] for output in ended["outputs"]]) == (None, ["out.dat"])
    assert (here / "out.dat").read_text() == "mine\n"
    kept = {path.name.partition("-")[2] for path in (here / "claim" / "before").iterdir()}
    assert kept == {"result.json", "more.dat"}
    assert "somebody else has put result.json there" in engine.stderr
