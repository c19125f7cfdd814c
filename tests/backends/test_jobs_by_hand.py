"""Jobs that a person submits to the real Slurm by hand, with the folder and the script that stand ready."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.campaigns import write_tasks
from tests.support.command import PATIENCE_S, CommandLine
from tests.support.polling import wait_until
from tests.support.slurm_cluster import SlurmCluster

CLUSTER: dict[str, Any] = {
    "type": "slurm", "poll_interval_s": 0.3, "grace_period_s": 0.5, "command_timeout_s": 20
}  # fmt: skip


def ready(command_line: CommandLine, command: list[str]) -> tuple[str, Path]:
    """Let an engine hand a job out; returns the run and the job's folder."""
    task = {
        "id": "hand", "operator": "manual_hpc", "command": command, "outputs": ["out.txt"],
        "resources": {"memory_mib": 20},
    }  # fmt: skip
    folder = write_tasks(command_line.root, "w", [task])
    config = {"default_backend": "cluster", "backends": {"cluster": CLUSTER}}
    (folder / "config.json").write_text(json.dumps(config))
    run_id = command_line.new_run("w")
    command_line.start("run", "loop", run_id)
    wait_until(lambda: "JobAccepted" in command_line.event_types(run_id), PATIENCE_S, "the question")
    return run_id, command_line.run_folder("w", run_id) / "tasks" / "hand" / "1"


def changes(command_line: CommandLine, run_id: str) -> list[dict[str, Any]]:
    return [e["data"] for e in command_line.events(run_id) if e["type"] == "JobStateChanged"]


@pytest.mark.parametrize(("code", "end"), [(0, "COMPLETED"), (3, "FAILED")])
def test_a_job_that_is_handed_back_is_followed_to_its_end_over_a_restart_of_the_engine(
    command_line: CommandLine, slurm_env: SlurmCluster, tmp_path: Path, code: int, end: str
) -> None:
    gate = tmp_path / "gate"
    program = f"while [ ! -e {gate} ]; do sleep 0.1; done; echo 1 > out.txt; exit {code}"
    run_id, folder = ready(command_line, ["sh", "-c", program])
    job_id = slurm_env.output("sbatch", "--parsable", str(folder / "job.sh")).strip()
    said = command_line.ok("respond", run_id, "hand", "--set", f"job_id={job_id}")
    assert said == f"the answer was taken; job {job_id} is followed from here on\n"
    wait_until(
        lambda: any(c["state"] == "RUNNING" for c in changes(command_line, run_id)), PATIENCE_S, "it runs"
    )
    assert changes(command_line, run_id)[-1]["reason"].startswith(f"job {job_id}")
    command_line.shut_down()
    gate.touch()
    command_line.start("run", "loop", run_id)
    wait_until(lambda: command_line.status(run_id)["status"] == end, PATIENCE_S, "the end")
    known = slurm_env.output("squeue", "--states=all", "--noheader", "--format=%A").split()
    assert max(map(int, known)) == int(job_id), "nobody has submitted another one"
    hand = command_line.tasks(run_id)["hand"]
    assert hand["attempts"][-1]["exit_code"] == code


def test_cancelling_the_run_ends_a_job_that_was_handed_back(
    command_line: CommandLine, slurm_env: SlurmCluster
) -> None:
    run_id, folder = ready(command_line, ["sleep", "600"])
    job_id = slurm_env.output("sbatch", "--parsable", str(folder / "job.sh")).strip()
    command_line.run("respond", run_id, "hand", "--set", f"job_id={job_id}")
    wait_until(
        lambda: any(c["state"] == "RUNNING" for c in changes(command_line, run_id)), PATIENCE_S, "it runs"
    )
    command_line.ok("run", "cancel", run_id)
    assert command_line.status(run_id)["status"] == "CANCELLED"
    assert slurm_env.output("squeue", "--noheader", "--format=%i").split() == []
