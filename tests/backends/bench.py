"""What the contract tests need to know of a backend: how to make one, how to give it work, what it can do.

A further backend joins the contract by one more entry in `KINDS`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import attrs
import pytest
import trio

from matterstack.backends.base import Backend, LiveJob, PreparedAttempt
from matterstack.backends.exit_record import ExitRecord
from matterstack.backends.local import LocalBackend
from matterstack.backends.slurm.backend import SlurmBackend
from matterstack.core.config import LocalBackendConfig, SlurmBackendConfig
from matterstack.core.ids import BackendName, JobId, RunId, TaskId, Token, attempt_token
from matterstack.core.messages import Observed
from matterstack.core.resources import Resources
from matterstack.core.states import ENDED_JOBS, JobState
from matterstack.storage.leases import boot_id

RUN: Final = RunId("20260102T030405-abcdef")
POLL_S: Final = 0.1
PATIENCE_S: Final = 30.0


@attrs.frozen(kw_only=True)
class Bench:
    """A backend under test.

    Attributes:
        make: another backend object of the same cluster, as a restarted engine makes one.
        absent: id of a job that the backend does not know.
        queued: resources with which a job waits in the queue for ever; None where there is no queue.
    """

    folder: Path
    make: Callable[[], Backend]
    backend: Backend
    absent: JobId
    queued: Resources | None = None

    @asynccontextmanager
    async def serving(self, backend: Backend | None = None) -> AsyncIterator[None]:
        """Let the backend do its background work."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon((backend or self.backend).serve)
            yield
            nursery.cancel_scope.cancel()

    def prepare(
        self,
        name: str,
        shell: str = "true",
        *,
        command: tuple[str, ...] | None = None,
        env: Mapping[str, str] | None = None,
        resources: Resources | None = None,
    ) -> PreparedAttempt:
        """An attempt that runs a line of shell, with its folder written."""
        attempt = PreparedAttempt(
            run_id=RUN,
            task_id=TaskId(name),
            n=1,
            token=attempt_token(RunId(f"{RUN}{self.folder}"), TaskId(name), 1),
            folder=self.folder / name / "1",
            command=command or ("bash", "-c", shell),
            env=env or {},
            resources=resources or Resources(memory_mib=20),
        )
        attempt.folder.mkdir(parents=True)
        (attempt.folder / "job.sh").write_text(self.backend.script(attempt), newline="")
        return attempt

    async def submitted(self, *attempts: PreparedAttempt) -> list[LiveJob]:
        """Submit attempts that are accepted."""
        report = await self.backend.submit(attempts)
        assert report.refused == report.unresolved == {}
        return [live(attempt, report.accepted[attempt.token]) for attempt in attempts]


def live(attempt: PreparedAttempt, job_id: str) -> LiveJob:
    """What is followed after an attempt has got a job."""
    return LiveJob(token=attempt.token, job_id=JobId(job_id), folder=attempt.folder)


async def seen(backend: Backend, job: LiveJob, *states: JobState) -> Observed:
    """Poll until a job is in one of these states (by default: has ended)."""
    return (await all_seen(backend, [job], *states))[job.token]


async def all_seen(backend: Backend, jobs: list[LiveJob], *states: JobState) -> dict[Token, Observed]:
    """Poll until each of the jobs has been in one of these states, and follow none of them further."""
    awaited = {job.token: job for job in jobs}
    last: dict[Token, Observed] = {}
    with trio.move_on_after(PATIENCE_S):
        while awaited:
            for observed in await backend.poll(list(awaited.values())):
                last[observed.token] = observed
                if observed.state in (states or ENDED_JOBS):
                    del awaited[observed.token]
            if awaited:
                with trio.move_on_after(POLL_S):
                    await backend.wait_change()
    assert not awaited, f"not seen as {states or 'ended'}: {[last.get(token) for token in awaited]}"
    return last


def write_record(job: LiveJob, exit_code: int) -> None:
    """What the script of a job leaves behind."""
    record = ExitRecord(
        exit_code=exit_code,
        started_at="2026-01-02T03:04:05.000000Z",
        ended_at="2026-01-02T03:04:06.000000Z",
        host="n1",
        job_id=job.job_id,
    )
    (job.folder / "exit.json").write_text(record.model_dump_json())


def write_claim(job: LiveJob, by: str | None = None) -> None:
    """What the script of a job does first."""
    (job.folder / "claim").mkdir()
    (job.folder / "claim" / "job_id").write_text(f"{by or job.job_id}\n")


def local_bench(_request: pytest.FixtureRequest, folder: Path) -> Bench:
    """Processes on this machine."""

    def make() -> Backend:
        config = LocalBackendConfig(type="local", poll_interval_s=POLL_S)
        return LocalBackend(BackendName("local"), config, folder / "locks" / "submit")

    # No process was started at tick 0 of this boot with the number of init.
    return Bench(folder=folder, make=make, backend=make(), absent=JobId(f"1.0.{boot_id()[:8]}"))


def slurm_bench(request: pytest.FixtureRequest, folder: Path) -> Bench:
    """The real Slurm of the session."""
    request.getfixturevalue("slurm_env")

    def make() -> Backend:
        return slurm_backend(folder)

    held = Resources(memory_mib=20, extra={"hold": ""})
    return Bench(folder=folder, make=make, backend=make(), absent=JobId("999999"), queued=held)


def slurm_backend(folder: Path, **options: object) -> SlurmBackend:
    """A backend for the Slurm that the environment points to."""
    config = {"type": "slurm", "poll_interval_s": POLL_S, "grace_period_s": 0.3, "command_timeout_s": 20}
    parsed = SlurmBackendConfig.model_validate(config | options)
    return SlurmBackend(BackendName("cluster"), parsed, folder / "locks" / "submit")


KINDS: Final[Mapping[str, Callable[[pytest.FixtureRequest, Path], Bench]]] = {
    "local": local_bench,
    "slurm": slurm_bench,
}
