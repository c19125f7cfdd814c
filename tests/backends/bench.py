"""What the contract tests need to know of a backend: how to make one, how to give it work, what it can do.

A further backend joins the contract by one more entry in `KINDS`.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, Final

import attrs
import pytest
import trio

from matterstack.backends.base import Backend, LiveJob, PreparedAttempt
from matterstack.backends.exit_record import ExitRecord
from matterstack.backends.local import LocalBackend
from matterstack.backends.local_config import LocalBackendConfig
from matterstack.backends.registry import make_backend
from matterstack.backends.slurm.backend import SlurmBackend
from matterstack.backends.slurm.config import SlurmBackendConfig
from matterstack.backends.slurm.ssh.root_id import root_id
from matterstack.core.ids import BackendName, JobId, RunId, TaskId, Token, attempt_token
from matterstack.core.model.resources import Resources
from matterstack.core.run.messages import Observed
from matterstack.core.states import ENDED_JOBS, JobState
from matterstack.storage.layout import Root
from matterstack.storage.leases import boot_id
from matterstack.storage.threads import run_inline
from tests.simulated_cluster.cluster import SimulatedCluster, Word
from tests.simulated_cluster.programs import SimulatedCommands
from tests.support.polling import wait_until
from tests.support.process import Process
from tests.support.sshd import Sshd

RUN: Final = RunId("20260102T030405-abcdef")
POLL_S: Final = 0.1
PATIENCE_S: Final = 30.0
GATE_OPENS_S: Final = 20.0
"""How long a gated job of the simulated cluster works, in virtual time: nobody has patience for less."""


@attrs.frozen(kw_only=True)
class Deed:
    """What the command of a job does, wherever it runs.

    Attributes:
        writes: files that it leaves, by name.
        is_gated: it works until `Bench.open_gate`, in a process of its own.
        exit_code: how it ends.
    """

    writes: Mapping[str, str] = attrs.field(factory=dict)
    is_gated: bool = False
    exit_code: int = 0

    @property
    def shell(self) -> str:
        """In the words of a shell: each worker leaves its process id in ``../works``."""
        work = "while [ ! -e go ]; do sleep 0.05; done" if self.is_gated else ":"
        return "\n".join(
            [
                f"( {work} ) & echo $! >> ../works",
                *(f"printf %s {shlex.quote(text)} > {name}" for name, text in self.writes.items()),
                "wait $! || exit",  # the worker of a job that is cancelled may be gone before the rest of it
                f"exit {self.exit_code}",
            ]
        )


@attrs.frozen(kw_only=True)
class Bench:
    """A backend under test, whose jobs have a shell.

    Attributes:
        make: another backend object of the same cluster, as a restarted engine makes one.
        absent: id of a job that the backend does not know.
        most_cpus: of one job, as the backend says; None when it says nothing.
        most_in_batch: the same for attempts that are submitted as one.
        queued: resources with which a job waits in the queue for ever; None where there is no queue.
    """

    folder: Path
    make: Callable[[], Backend]
    backend: Backend
    absent: JobId
    most_cpus: int | None = None
    most_in_batch: int = 1
    queued: Resources | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Let that be there which runs the jobs."""
        yield

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
        does: Deed | str = Deed(),
        *,
        command: tuple[str, ...] | None = None,
        env: Mapping[str, str] | None = None,
        resources: Resources | None = None,
    ) -> PreparedAttempt:
        """An attempt that does this (or runs a line of shell), with its folder written."""
        attempt = PreparedAttempt(
            run_id=RUN,
            task_id=TaskId(name),
            n=1,
            token=attempt_token(RunId(f"{RUN}{self.folder}"), TaskId(name), 1),
            folder=self.folder / name / "1",
            command=command or ("bash", "-c", does if isinstance(does, str) else does.shell),
            env=env or {},
            resources=resources or Resources(memory_mib=20),
        )
        attempt.folder.mkdir(parents=True)
        self._write(attempt, does)
        return attempt

    def _write(self, attempt: PreparedAttempt, _does: Deed | str) -> None:
        (attempt.folder / "job.sh").write_text(self.backend.script(attempt), newline="")

    def workplace(self, attempt: PreparedAttempt) -> Path:
        """The folder in which the job of an attempt works, as it sees it."""
        return attempt.folder

    async def at_work(self, attempt: PreparedAttempt) -> Callable[[], bool]:
        """Wait until the gated job of an attempt works; returns what tells whether it still does."""
        await trio.to_thread.run_sync(wait_until, lambda: self.times_worked(attempt) > 0, PATIENCE_S)
        workers = [Process.of(int(pid)) for pid in _lines(self.workplace(attempt).parent / "works")]
        return lambda: any(worker is not None and worker.is_alive for worker in workers)

    def times_worked(self, attempt: PreparedAttempt) -> int:
        """How often the work of an attempt was begun, by whatever job."""
        return len(_lines(self.workplace(attempt).parent / "works"))

    async def open_gate(self, attempt: PreparedAttempt) -> None:
        """Let the gated job of an attempt come to its end."""
        (self.workplace(attempt) / "go").touch()

    def cut_off(self, patch: pytest.MonkeyPatch) -> None:
        """From here on nobody answers any question."""
        patch.setenv("PATH", "/nowhere")

    async def submitted(self, *attempts: PreparedAttempt) -> list[LiveJob]:
        """Submit attempts that are accepted."""
        report = await self.backend.submit(attempts)
        assert report.refused == report.unresolved == {}
        return [live(attempt, report.accepted[attempt.token]) for attempt in attempts]


def live(attempt: PreparedAttempt, job_id: str) -> LiveJob:
    """What is followed after an attempt has got a job."""
    return LiveJob(token=attempt.token, job_id=JobId(job_id), folder=attempt.folder, batch=attempt.batch)


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


def _lines(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


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


@attrs.frozen(kw_only=True)
class SshBench(Bench):
    """A Slurm that is reached through ssh: its jobs work in folders of their own there."""

    sshd: Sshd

    def _write(self, attempt: PreparedAttempt, does: Deed | str) -> None:
        super()._write(attempt, does)
        # Only what is declared comes home.
        outputs = [] if isinstance(does, str) else list(does.writes)
        manifest = {"files": [], "inputs": [], "outputs": outputs}
        (attempt.folder / "manifest.json").write_text(json.dumps(manifest))

    def workplace(self, attempt: PreparedAttempt) -> Path:
        """See `Bench.workplace`."""
        own = root_id(Root(self.folder).private)
        return self.sshd.workdir / "matterstack" / own / attempt.folder.relative_to(self.folder)

    def cut_off(self, _patch: pytest.MonkeyPatch) -> None:
        """See `Bench.cut_off`."""
        self.sshd.stop()


@attrs.frozen(kw_only=True)
class SimulatedBench(Bench):
    """A backend in front of the simulated cluster, in virtual time."""

    cluster: SimulatedCluster
    commands: SimulatedCommands

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Let the cluster be there."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.cluster.serve)
            await trio.testing.wait_all_tasks_blocked()
            yield
            nursery.cancel_scope.cancel()

    def _write(self, attempt: PreparedAttempt, does: Deed | str) -> None:
        if isinstance(does, str):
            raise TypeError("a simulated job has no shell")
        simulate = {
            "duration_s": GATE_OPENS_S if does.is_gated else 0,
            "exit_code": does.exit_code,
            "files": dict(does.writes),
        }
        (attempt.folder / "manifest.json").write_text(json.dumps({"params": {"simulate": simulate}}))

    async def at_work(self, attempt: PreparedAttempt) -> Callable[[], bool]:
        """See `Bench.at_work`."""
        with trio.fail_after(PATIENCE_S):
            while not self.times_worked(attempt):  # noqa: ASYNC110  in virtual time
                await trio.sleep(POLL_S)
        jobs = [job for job in self.cluster.jobs.values() if job.folder == attempt.folder]
        return lambda: any(job.word is Word.RUNNING for job in jobs)

    def times_worked(self, attempt: PreparedAttempt) -> int:
        """See `Bench.times_worked`."""
        return len(self.cluster.worked.get(attempt.folder, ()))

    async def open_gate(self, _attempt: PreparedAttempt) -> None:
        """It opens by itself."""
        await trio.sleep(GATE_OPENS_S)

    def cut_off(self, _patch: pytest.MonkeyPatch) -> None:
        """See `Bench.cut_off`."""
        self.cluster.controller_is_up = self.cluster.accounting_is_up = False


def local_bench(_request: pytest.FixtureRequest, folder: Path) -> Bench:
    """Processes on this machine."""

    def make() -> Backend:
        config = LocalBackendConfig(type="local", poll_interval_s=POLL_S)
        return LocalBackend(BackendName("local"), config, folder / "locks" / "submit")

    # No process was started at tick 0 of this boot with the number of init.
    absent = JobId(f"1.0.{boot_id()[:8]}")
    return Bench(folder=folder, make=make, backend=make(), absent=absent, most_cpus=os.cpu_count())


REAL_CLUSTER: Final[Mapping[str, Any]] = {
    "absent": JobId("999999"),
    "most_in_batch": 1000,
    "queued": Resources(memory_mib=20, extra={"hold": ""}),
}
"""What is so of the real Slurm, wherever it is asked from."""


def slurm_bench(request: pytest.FixtureRequest, folder: Path) -> Bench:
    """The real Slurm of the session."""
    request.getfixturevalue("slurm_env")

    def make() -> Backend:
        return slurm_backend(folder)

    return Bench(
        folder=folder,
        make=make,
        backend=make(),
        **REAL_CLUSTER,
    )


def ssh_bench(request: pytest.FixtureRequest, folder: Path) -> Bench:
    """The real Slurm of the session, behind a real sshd."""
    sshd: Sshd = request.getfixturevalue("sshd")
    prologue = [f"export PATH={Path(sys.executable).parent}:$PATH"]  # for the tests that run python

    def make() -> Backend:
        config = _slurm_config(ssh=sshd.config, prologue=prologue).model_dump(mode="json")
        return make_backend(BackendName("cluster"), config, Root(folder))

    return SshBench(
        folder=folder,
        make=make,
        backend=make(),
        **REAL_CLUSTER,
        sshd=sshd,
    )


def slurm_backend(folder: Path, **options: object) -> SlurmBackend:
    """A backend for the Slurm that the environment points to."""
    return SlurmBackend(BackendName("cluster"), _slurm_config(**options), folder / "locks" / "submit")


def _slurm_config(**options: object) -> SlurmBackendConfig:
    config = {"type": "slurm", "poll_interval_s": POLL_S, "grace_period_s": 0.3, "command_timeout_s": 20}
    return SlurmBackendConfig.model_validate(config | options)


def simulated_bench(_request: pytest.FixtureRequest, folder: Path) -> Bench:
    """A cluster in virtual time: for tests that run on `tests.support.engine.on_virtual_clock`."""
    cluster = SimulatedCluster(
        Random(1),  # noqa: S311
        lambda: datetime(2026, 1, 2, tzinfo=UTC) + timedelta(seconds=trio.current_time()),
    )
    commands = SimulatedCommands(cluster)

    def make() -> Backend:
        lock = folder / "locks" / "submit"
        name = BackendName("cluster")
        return SlurmBackend(name, _slurm_config(), lock, run=commands.run, blocking=run_inline)

    return SimulatedBench(
        folder=folder,
        make=make,
        backend=make(),
        absent=JobId("999999"),
        most_in_batch=1000,
        queued=Resources(cpus=cluster.cpus_per_node + 1),
        cluster=cluster,
        commands=commands,
    )


REAL_KINDS: Final[Mapping[str, Callable[[pytest.FixtureRequest, Path], Bench]]] = {
    "local": local_bench,
    "slurm": slurm_bench,
    "slurm over ssh": ssh_bench,
}
KINDS: Final = {**REAL_KINDS, "simulated": simulated_bench}
