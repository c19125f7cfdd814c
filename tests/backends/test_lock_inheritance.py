"""What a submission starts inherits the submit lock: an engine that dies lets nobody look too early."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import pytest
import trio

from matterstack.backends.base import SubmitReport
from matterstack.backends.contract.bench import PATIENCE_S, Bench, seen
from matterstack.backends.exit_record import read_claim
from matterstack.backends.submit_lock import SubmitLock
from matterstack.core.errors import BackendError
from matterstack.core.ids import JobId
from matterstack.core.states import JobState
from tests.backends.bench import local_bench, slurm_backend
from tests.support.polling import wait_until


@attrs.frozen
class Gate:
    """A place where somebody waits for a word."""

    path: Path
    _descriptor: int

    def open(self) -> None:
        """Let that one go on, also if it comes later."""
        os.write(self._descriptor, b"on\n")


@contextmanager
def gate(path: Path) -> Iterator[Gate]:
    """Make a gate, at which nobody waits any more after the end of the block."""
    os.mkfifo(path)
    descriptor = os.open(path, os.O_RDWR)
    try:
        yield Gate(path, descriptor)
    finally:
        path.unlink()
        os.close(descriptor)


@pytest.fixture
def local(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    """Processes on this machine."""
    return local_bench(request, tmp_path)


async def test_a_local_job_holds_the_submit_lock_until_it_has_claimed_its_folder(local: Bench) -> None:
    with gate(local.folder / "begin") as begin, gate(local.folder / "end") as end:
        attempt = local.prepare("job", f"read -r word < {end.path}")
        script = attempt.folder / "job.sh"
        shebang, _, rest = script.read_text().partition("\n")
        script.write_text(f"{shebang}\nread -r word < {begin.path}\n{rest}")

        async with local.serving():
            (job,) = await local.submitted(attempt)

            assert not await _can_be_had(_lock_of(local)), "the engine has let go of it, its job has not"
            assert read_claim(attempt.folder, None) is None
            begin.open()
            assert await local.make().find([attempt]) == {job.token: job.job_id}
            assert await _can_be_had(_lock_of(local)), "the job works, and has let go of it"
            assert (await seen(local.make(), job, JobState.RUNNING)).state is JobState.RUNNING

            end.open()
            assert (await seen(local.backend, job)).state is JobState.COMPLETED_OK


async def test_an_sbatch_holds_the_submit_lock_when_its_engine_has_lost_it(
    tmp_path: Path, local: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, land = tmp_path / "begun", tmp_path / "land"
    sbatch = tmp_path / "bin" / "sbatch"
    sbatch.parent.mkdir()
    sbatch.write_text(f"#!/bin/sh\ntouch {begun}\nread -r word < {land}\necho 4711\n")
    sbatch.chmod(0o755)
    monkeypatch.setenv("PATH", f"{sbatch.parent}:{os.environ['PATH']}")
    attempt = local.prepare("job")
    reports: list[SubmitReport] = []

    async def submit() -> None:
        reports.append(await slurm_backend(tmp_path).submit([attempt]))

    with gate(land) as landing:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(submit)
            await trio.to_thread.run_sync(wait_until, begun.exists, PATIENCE_S)
            _lose(_lock_of(local))

            assert not await _can_be_had(_lock_of(local))
            landing.open()

    assert reports == [SubmitReport(accepted={attempt.token: JobId("4711")})]
    assert await _can_be_had(_lock_of(local))


def _lock_of(bench: Bench) -> Path:
    return bench.folder / "locks" / "submit"


async def _can_be_had(lock: Path) -> bool:
    """Whether no submission is under way, at this moment."""
    try:
        async with SubmitLock(lock, wait_s=0).alone():
            return True
    except BackendError:
        return False


def _lose(lock: Path) -> None:
    """Let go of a lock file as a process does that dies: whoever still has it open has it of their own."""
    nothing = os.open(os.devnull, os.O_RDWR)
    own = [int(link.name) for link in Path("/proc/self/fd").iterdir() if _target(link) == str(lock)]
    for descriptor in own:
        os.dup2(nothing, descriptor, inheritable=False)
    os.close(nothing)
    assert own, f"nobody here has {lock} open"


def _target(link: Path) -> str:
    try:
        return os.readlink(link)  # noqa: PTH115
    except FileNotFoundError:
        return ""  # the descriptor with which the folder was read
