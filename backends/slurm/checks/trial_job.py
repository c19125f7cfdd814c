"""A real test job: do compute nodes see the folder of the root, and do they agree on the time."""

from __future__ import annotations

import shlex
import shutil
import tempfile
import time
from pathlib import Path
from typing import Final

import attrs
import trio

from matterstack.backends.examination import Finding, in_thread
from matterstack.backends.slurm.checks.cluster_checks import Cluster, answers, skew_finding
from matterstack.backends.slurm.config import SlurmBackendConfig
from matterstack.backends.slurm.output import parse_sbatch
from matterstack.backends.slurm.sbatch_options import sbatch_options
from matterstack.backends.slurm.states import job_state
from matterstack.core.errors import BackendError
from matterstack.core.model.resources import Resources
from matterstack.core.states import ENDED_JOBS
from matterstack.storage.modes import make_folders

LOOK_INTERVAL_S: Final = 0.5
SETTLES_S: Final = 10.0
"""How long what a job wrote may take to be seen here: network file systems keep old answers for a while."""
_SCRIPT: Final = """#!/bin/bash
cd {folder} || exit 1
printf '%s %s\\n' "$(hostname)" "$(date +%s.%N)" > seen.part && mv seen.part seen
"""


@attrs.frozen
class _Seen:
    host: str
    at: float


async def submit_test_job(
    cluster: Cluster, label: str, config: SlurmBackendConfig, private: Path, wait_s: float
) -> list[Finding]:
    """Have a job of the backend write into a folder of the root, and look for what it wrote.

    The job and its folder are gone afterwards, however it ends.

    Args:
        private: a folder of the root.
        wait_s: how long the job may take to run.
    """
    name = f"shared folder ({label})"
    later = "try again when the controller answers"
    if not await answers(cluster):
        return [Finding(name, False, "no job was submitted: the controller does not answer", later)]
    folder = await in_thread(lambda: _make_folder(private))
    # By its name it is found where sbatch was not told its id, though the controller took the job.
    job = f"--name={folder.name}"
    try:
        began = time.time()
        options = sbatch_options(Resources(walltime_s=60), config)
        done = await cluster.run(
            "sbatch", *options, "--parsable", f"--job-name={folder.name}", f"--chdir={folder}",
            f"--output={folder}/log", str(folder / "job.sh"),
        )  # fmt: skip
        job_id = parse_sbatch(done.stdout) if done.exit_code == 0 else None
        if job_id is None:
            action = f"change what backend {label} asks for in config.json (partition, account, qos)"
            return [Finding(name, False, f"sbatch: {done.complaint}", action)]
        seen, state = await _wait(cluster, job_id, folder, wait_s)
        return _told(name, seen, state, job_id, folder, began)
    except BackendError as error:
        return [Finding(name, False, str(error), later)]
    finally:
        with trio.move_on_after(2 * SETTLES_S, shield=True):
            await _clean_up(cluster, job, folder)


def _make_folder(private: Path) -> Path:
    make_folders(private)
    folder = Path(tempfile.mkdtemp(prefix="ms-doctor-", dir=private))
    (folder / "job.sh").write_text(_SCRIPT.format(folder=shlex.quote(str(folder))))
    return folder


async def _wait(cluster: Cluster, job_id: str, folder: Path, wait_s: float) -> tuple[_Seen | None, str]:
    """What the job wrote, and the last state of the job; empty when it has left the queue."""
    state = "PENDING"
    deadline = trio.current_time() + wait_s
    ended_at: float | None = None
    while trio.current_time() < deadline:
        seen = await in_thread(lambda: _read(folder))
        if seen is not None:
            return seen, state
        if ended_at is None:
            done = await cluster.run(
                "squeue", "--noheader", "--states=all", f"--jobs={job_id}", "--format=%T %r"
            )
            state = done.stdout.strip() if done.exit_code == 0 else state
            if done.exit_code == 0 and job_state(state.partition(" ")[0]) in ENDED_JOBS:
                ended_at = trio.current_time()
        elif trio.current_time() - ended_at > SETTLES_S:
            break
        await trio.sleep(LOOK_INTERVAL_S)
    return None, state


def _read(folder: Path) -> _Seen | None:
    list(folder.iterdir())  # a network file system looks again when a folder is listed
    try:
        host, _, at = (folder / "seen").read_text().strip().partition(" ")
    except FileNotFoundError:
        return None
    return _Seen(host, float(at))


def _told(
    name: str, seen: _Seen | None, state: str, job_id: str, folder: Path, began: float
) -> list[Finding]:
    if seen is not None:
        found = Finding(name, True, f"a job on {seen.host} wrote into it, and it was seen here")
        return [found, skew_finding(f"clock of {seen.host}", _outside(seen.at, began, time.time()))]
    word, _, reason = state.partition(" ")
    if job_state(word) in ENDED_JOBS:
        detail = f"job {job_id} ended ({word}), but wrote nothing that is seen here"
        action = (
            f"put the root on a file system that the compute nodes share: they do not see {folder.parent}"
        )
        return [Finding(name, False, detail, action)]
    why = f" ({reason})" if reason and reason != "None" else ""
    action = "try again with a longer --wait, or see what the partition is busy with: squeue"
    return [Finding(name, False, f"job {job_id} did not run in time: it was {word}{why}; cancelled", action)]


def _outside(at: float, began: float, ended: float) -> float:
    """How far a time lies before (negative) or after an interval; it was written at some moment of it."""
    return min(at - began, 0.0) or max(at - ended, 0.0)


async def _clean_up(cluster: Cluster, job: str, folder: Path) -> None:
    try:
        await cluster.run("scancel", job)
        await _await_end(cluster, job)
    except BackendError:
        return  # it ends by itself: without its folder it does nothing
    finally:
        await in_thread(lambda: shutil.rmtree(folder, ignore_errors=True))


async def _await_end(cluster: Cluster, job: str) -> None:
    """A job that still writes its log would bring the folder back."""
    with trio.move_on_after(SETTLES_S):
        while True:
            left = await cluster.ask(("squeue", "--noheader", job, "--format=%T"))
            if not left.strip():
                return
            await trio.sleep(LOOK_INTERVAL_S)
