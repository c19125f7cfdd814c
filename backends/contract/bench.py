"""What the contract needs to know of a backend: how to make one, how to give it work, what it can do."""

from __future__ import annotations

import shlex
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import attrs
import pytest
import trio

from matterstack.backends.base import Backend, LiveJob, PreparedAttempt
from matterstack.backends.exit_record import ExitRecord
from matterstack.backends.processes import ProcessName, is_running, start_time
from matterstack.core.ids import JobId, RunId, TaskId, Token, attempt_token
from matterstack.core.model.resources import Resources
from matterstack.core.nonces import Nonces
from matterstack.core.run.messages import Observed
from matterstack.core.states import ENDED_JOBS, JobState
from matterstack.storage.layout import Root
from matterstack.storage.leases import boot_id
from matterstack.storage.secret_values import RunSecrets, SecretVault

RUN: Final = RunId("20260102T030405-abcdef")
POLL_S: Final = 0.1
PATIENCE_S: Final = 30.0


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
    """A backend under test, and the hands that its jobs need.

    Attributes:
        folder: of the test; attempts lie in it.
        make: another backend object of the same cluster, as a restarted engine makes one.
        absent: id of a job that the backend does not know.
        most_cpus: of one job, as the backend says; None when it says nothing.
        most_in_batch: the same for attempts that are submitted as one.
        queued: resources with which a job waits in the queue for ever; None where there is no queue.
        has_shell: its jobs run the script of their attempt, or the like; else only a `Deed` can be done.
        asks_others: it has to ask somebody, who may not answer.
        gives_secrets: it hands jobs the secrets of their attempts, as its kind says.
    """

    folder: Path
    make: Callable[[], Backend]
    backend: Backend
    absent: JobId
    most_cpus: int | None = None
    most_in_batch: int = 1
    queued: Resources | None = None
    has_shell: bool = True
    asks_others: bool = False
    gives_secrets: bool = False

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
        secrets: RunSecrets | None = None,
    ) -> PreparedAttempt:
        """An attempt that does this (or runs a line of shell), with its folder written."""
        token = attempt_token(RunId(f"{RUN}{self.folder}"), TaskId(name), 1)
        attempt = PreparedAttempt(
            run_id=RUN,
            task_id=TaskId(name),
            n=1,
            token=token,
            folder=self.folder / name / "1",
            command=command or ("bash", "-c", does if isinstance(does, str) else does.shell),
            env=env or {},
            resources=resources or Resources(memory_mib=20),
            nonce=nonce_of(token),
            secrets=secrets,
        )
        attempt.folder.mkdir(parents=True)
        self._write(attempt, does)
        return attempt

    def secrets(self, **values: str) -> RunSecrets:
        """Secrets with these values, as a run has them."""
        vault = SecretVault(Root(self.folder))
        vault.root.secrets.mkdir(parents=True, exist_ok=True)
        for name, value in values.items():
            path = vault.file(name)
            path.write_text(value, newline="")
            path.chmod(0o600)
        return RunSecrets(tuple(values), vault)

    def _write(self, attempt: PreparedAttempt, _does: Deed | str) -> None:
        (attempt.folder / "job.sh").write_text(self.backend.script(attempt), newline="")

    def workplace(self, attempt: PreparedAttempt) -> Path:
        """The folder in which the job of an attempt works, as it sees it."""
        return attempt.folder

    async def at_work(self, attempt: PreparedAttempt) -> Callable[[], bool]:
        """Wait until the gated job of an attempt works; returns what tells whether it still does."""
        with trio.fail_after(PATIENCE_S):
            while not self.times_worked(attempt):  # noqa: ASYNC110  by jobs, which tell nobody
                await trio.sleep(POLL_S)
        boot = boot_id()
        pids = [int(pid) for pid in lines_of(self.workplace(attempt).parent / "works")]
        workers = [ProcessName(pid, started, boot) for pid in pids if (started := _started(pid)) is not None]
        return lambda: any(is_running(worker, boot) for worker in workers)

    def times_worked(self, attempt: PreparedAttempt) -> int:
        """How often the work of an attempt was begun, by whatever job."""
        return len(lines_of(self.workplace(attempt).parent / "works"))

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


def nonce_of(token: Token) -> str:
    """What the claim and the record of an attempt bear."""
    return Nonces("of the bench").of(token)


def live(attempt: PreparedAttempt, job_id: str) -> LiveJob:
    """What is followed after an attempt has got a job."""
    return LiveJob(
        token=attempt.token,
        job_id=JobId(job_id),
        folder=attempt.folder,
        batch=attempt.batch,
        nonce_sha256=attempt.nonce_sha256,
        secrets=attempt.secrets,
    )


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


def lines_of(path: Path) -> list[str]:
    """The words of a file; none where there is no file."""
    return path.read_text().split() if path.exists() else []


def _started(pid: int) -> int | None:
    try:
        return start_time(pid)
    except ProcessLookupError:
        return None


def write_record(job: LiveJob, exit_code: int, *, nonce: str | None = None) -> None:
    """What the script of a job leaves behind; ``nonce``: None for that of its attempt."""
    record = ExitRecord(
        exit_code=exit_code,
        started_at="2026-01-02T03:04:05.000000Z",
        ended_at="2026-01-02T03:04:06.000000Z",
        host="n1",
        job_id=job.job_id,
        nonce=nonce_of(job.token) if nonce is None else nonce,
    )
    (job.folder / "exit.json").write_text(record.model_dump_json())


def write_claim(job: LiveJob, by: str | None = None, *, nonce: str | None = None) -> None:
    """What the script of a job does first; ``nonce`` as for `write_record`."""
    nonce = nonce_of(job.token) if nonce is None else nonce
    (job.folder / "claim").mkdir()
    (job.folder / "claim" / "job_id").write_text(f"{by or job.job_id} {nonce}".rstrip() + "\n")


def plant(folder: Path, job_id: JobId) -> None:
    """What somebody else puts in the place of an attempt's folder, to have it ended well."""
    folder.mkdir(parents=True, exist_ok=True)
    forged = LiveJob(token=Token("forged"), job_id=job_id, folder=folder)
    write_claim(forged, nonce="")
    write_record(forged, 0, nonce="")
    (folder / "result.json").write_text('{"forged": true}')
    (folder / "forged.dat").write_text("forged\n")
