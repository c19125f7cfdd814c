"""Jobs as processes on this machine.

Each job is the leader of a session of its own, so it outlives the engine and the terminal.  Its id is its
process id with its start time, so that a new engine follows the same process and never one that happens
to have the same number.  How it ended stands in its exit record.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import trio

from matterstack.backends.base import Health, LiveJob, PlannedSubmission, PreparedAttempt, SubmitReport
from matterstack.backends.environment_probe import surroundings
from matterstack.backends.exit_record import read_claim, read_exit_record
from matterstack.backends.local_config import LocalBackendConfig
from matterstack.backends.processes import (
    ProcessName,
    is_running,
    session_members,
    signal_session,
    start_time,
)
from matterstack.backends.prologue import Prologue
from matterstack.backends.script import LOCK_DESCRIPTOR, JobScript, LocalClock, render
from matterstack.backends.secrets_file import give_secrets, secrets_text, take_secrets_away
from matterstack.backends.submit_lock import SubmitLock
from matterstack.core.ids import BackendName, JobId, Token
from matterstack.core.model.resources import Limits
from matterstack.core.run.messages import Observed
from matterstack.core.states import ENDED_JOBS, JobState
from matterstack.storage.child_environment import child_environment
from matterstack.storage.confine import confined
from matterstack.storage.crash_points import crash_point
from matterstack.storage.leases import boot_id
from matterstack.storage.modes import JOB_UMASK
from matterstack.storage.secret_values import MissingSecretError

KILL_AFTER_S: Final = 5.0
"""How long a cancelled job may take to end after SIGTERM."""
LOOK_AGAIN_S: Final = 0.2
BOOT_LENGTH: Final = 8

_FIND_JOB_ID: Final = (
    "read -r stat < /proc/$$/stat; set -- ${stat##*) }",
    "read -r boot < /proc/sys/kernel/random/boot_id",
    'MATTERSTACK_JOB_ID="$$.${20}.${boot%%-*}"',
)


class LocalBackend:
    """Jobs as processes on this machine; see the module."""

    grace_period_s = 0.0
    batch_limit = 1

    def __init__(
        self, name: BackendName, config: LocalBackendConfig, lock_file: Path, *, job_umask: int = JOB_UMASK
    ) -> None:
        self.name = name
        self._job_umask = job_umask
        self.poll_interval_s = config.poll_interval_s
        self._prologue = Prologue(entries=config.prologue, may_fail=config.prologue_may_fail)
        self._lock = SubmitLock(lock_file)
        self._boot = boot_id()[:BOOT_LENGTH]
        self._threads = trio.CapacityLimiter(2)
        self._changed = trio.Event()
        self._cancelled: set[Token] = set()
        self._watched: set[JobId] = set()
        self._started: set[JobId] = set()
        self._told_to_end: set[JobId] = set()
        self._lingering: set[int] = set()
        self._nursery: trio.Nursery | None = None

    async def serve(self) -> None:
        """Watch the processes of its jobs until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                await trio.sleep_forever()
            finally:
                self._nursery = None
                self._watched.clear()

    def script(self, attempt: PreparedAttempt) -> str:
        """The job script of an attempt.  ``python`` is the one that runs MatterStack."""
        return render(self._script(attempt))

    def _script(self, attempt: PreparedAttempt) -> JobScript:
        return JobScript(
            folder=str(attempt.folder),
            command=attempt.command,
            find_job_id=_FIND_JOB_ID,
            env=attempt.env,
            walltime_s=attempt.resources.walltime_s,
            prologue=self._prologue,
            path=str(Path(sys.executable).parent),
            local_clock=local_clock(),
            nonce=attempt.nonce,
            given=attempt.given,
            umask=self._job_umask,
            has_secrets=attempt.secrets is not None,
        )

    def describe(self, batch: Sequence[PreparedAttempt]) -> list[PlannedSubmission]:
        """One shell for each attempt, as it would be started."""
        return [
            PlannedSubmission(command=(self._script(a).shell, str(a.folder / "job.sh")), attempts=(a.token,))
            for a in batch
        ]

    async def hand_out(self, attempt: PreparedAttempt) -> None:
        """Its script finds the folder that it claims."""
        await trio.to_thread.run_sync(_make_claim_folder, attempt.folder, limiter=self._threads)

    async def submit(self, batch: Sequence[PreparedAttempt]) -> SubmitReport:
        """Start one process for each attempt."""
        report = await trio.to_thread.run_sync(self._start_all, batch, limiter=self._threads)
        for job_id in report.accepted.values():
            self._watch(job_id)
        return report

    def _start_all(self, batch: Sequence[PreparedAttempt]) -> SubmitReport:
        report = SubmitReport(state=JobState.RUNNING)
        with self._lock.shared() as lock:
            for attempt in batch:
                try:
                    if attempt.secrets is not None:
                        give_secrets(attempt.folder, secrets_text(attempt.secrets.values()))
                    crash_point("before_submit")
                    report.accepted[attempt.token] = self._start(attempt, lock)
                    crash_point("after_submit")
                except MissingSecretError as error:
                    report.deferred[attempt.token] = str(error)
                except OSError as error:
                    report.refused[attempt.token] = f"the job could not be started: {error}"
                    if attempt.secrets is not None:
                        take_secrets_away(attempt.folder)
        return report

    def _start(self, attempt: PreparedAttempt, lock: int) -> JobId:
        shell = self._script(attempt).shell
        with confined(attempt.folder) as folder:
            log = folder.append_to("scheduler.log")
            try:
                with folder.folder("claim", make=True):
                    pid = self._spawn(attempt, shell, log, lock)
            finally:
                os.close(log)
        job_id = ProcessName(pid, start_time(pid), self._boot).job_id()
        self._started.add(job_id)
        return job_id

    @staticmethod
    def _spawn(attempt: PreparedAttempt, shell: str, log: int, lock: int) -> int:
        return os.posix_spawn(
            shell,
            [shell, str(attempt.folder / "job.sh")],
            child_environment(),
            setsid=True,
            setsigdef=[signal.SIGPIPE, signal.SIGINT, signal.SIGQUIT],
            file_actions=[
                (os.POSIX_SPAWN_DUP2, log, 1),
                (os.POSIX_SPAWN_DUP2, log, 2),
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, lock, LOCK_DESCRIPTOR),
            ],
        )

    def _watch(self, job_id: JobId) -> None:
        name = ProcessName.parse(job_id)
        if name is None or self._nursery is None or job_id in self._watched:
            return
        try:
            descriptor = os.pidfd_open(name.pid)
        except (ProcessLookupError, OSError):
            self._announce_change()
            return
        self._watched.add(job_id)
        self._nursery.start_soon(self._wait_for_end, job_id, name.pid, descriptor)

    async def _wait_for_end(self, job_id: JobId, pid: int, descriptor: int) -> None:
        try:
            # Readable once the process has ended, whoever its parent is: pidfd_open(2).
            await trio.lowlevel.wait_readable(descriptor)
        finally:
            os.close(descriptor)
            self._watched.discard(job_id)
        _reap(pid, end_group=job_id not in self._told_to_end)
        self._told_to_end.discard(job_id)
        self._announce_change()

    async def _look_again(self) -> None:
        await trio.sleep(LOOK_AGAIN_S)
        self._announce_change()

    def _announce_change(self) -> None:
        self._changed.set()

    async def wait_change(self) -> None:
        """Return when a process has ended since the last call."""
        await self._changed.wait()
        self._changed = trio.Event()

    async def poll(self, jobs: Sequence[LiveJob]) -> list[Observed]:
        """Look at the process of each job, but for those that the kernel says are running."""
        jobs = [job for job in jobs if job.job_id not in self._watched]
        if not jobs:
            return []
        seen = await trio.to_thread.run_sync(self._look_at_all, jobs, limiter=self._threads)
        if self._lingering and self._nursery is not None:
            self._lingering.clear()
            self._nursery.start_soon(self._look_again)
        for job, observed in zip(jobs, seen, strict=True):
            if observed.state is JobState.RUNNING:
                self._watch(job.job_id)
            else:
                self._cancelled.discard(job.token)
        return seen

    def _look_at_all(self, jobs: Sequence[LiveJob]) -> list[Observed]:
        seen = [self._look_at(job) for job in jobs]
        for job, observed in zip(jobs, seen, strict=True):
            if job.secrets is not None and observed.state in ENDED_JOBS:
                take_secrets_away(job.folder)
        return seen

    def _look_at(self, job: LiveJob) -> Observed:
        name = ProcessName.parse(job.job_id)
        if name is None:
            reason = f"{job.job_id!r} is no id of a local job"
            return Observed(token=job.token, state=JobState.LOST, reason=reason)
        if is_running(name, self._boot):
            return Observed(token=job.token, state=JobState.RUNNING)
        record = read_exit_record(job.folder, job.job_id, job.nonce_sha256)
        if record is not None and not (record.exit_code and job.token in self._cancelled):
            if job.job_id not in self._started:
                signal_session(name, self._boot, signal.SIGKILL)  # what it left: see `_reap`
            self._started.discard(job.job_id)
            return record.observed(job.token)
        # A script may note how its command ended by the signal that is on its way to the script as well.
        return self._without_record(job, name)

    def _without_record(self, job: LiveJob, name: ProcessName) -> Observed:
        if any(session_members(name, self._boot)):
            # The shell is gone but what it started is not: that ends before the seat is given away.  A
            # cancelled job has a while for it, see `cancel`.
            if job.token not in self._cancelled:
                signal_session(name, self._boot, signal.SIGKILL)
            self._lingering.add(name.pid)
            return Observed(token=job.token, state=JobState.RUNNING)
        if job.token in self._cancelled:
            return Observed(token=job.token, state=JobState.CANCELLED, raw_state="CANCELLED")
        if name.boot != self._boot:
            reason = "this machine was restarted while its job ran"
            return Observed(
                token=job.token, state=JobState.COMPLETED_ERROR, raw_state="NODE_FAIL", reason=reason
            )
        if read_claim(job.folder, job.nonce_sha256) is None:
            reason = f"its job never started working (see {job.folder / 'scheduler.log'})"
            return Observed(token=job.token, state=JobState.LOST, reason=reason)
        reason = "its job was killed from outside, before it could record how it ended"
        return Observed(token=job.token, state=JobState.COMPLETED_ERROR, raw_state="KILLED", reason=reason)

    async def cancel(self, jobs: Sequence[LiveJob]) -> None:
        """Send SIGTERM to all processes of the jobs, and SIGKILL to those that are left after a while."""
        for job in jobs:
            name = ProcessName.parse(job.job_id)
            if name is None or job.token in self._cancelled:
                continue
            self._cancelled.add(job.token)
            self._told_to_end.add(job.job_id)
            await self._signal(name, signal.SIGTERM)
            if self._nursery is not None:
                self._nursery.start_soon(self._kill_later, name)

    async def cancel_waiting(self, jobs: Sequence[LiveJob]) -> None:  # noqa: ARG002
        """Leave them alone: a process that there is has begun."""
        await trio.lowlevel.checkpoint()

    async def _kill_later(self, name: ProcessName) -> None:
        await trio.sleep(KILL_AFTER_S)
        await self._signal(name, signal.SIGKILL)

    async def _signal(self, name: ProcessName, number: signal.Signals) -> None:
        # A shell that has ended may have left processes behind in its session, which keeps the number
        # of the session from being used again: setsid(2).
        send = partial(signal_session, name, self._boot, number)
        await trio.to_thread.run_sync(send, limiter=self._threads)

    async def find(self, attempts: Sequence[PreparedAttempt]) -> Mapping[Token, JobId]:
        """Which attempts were claimed by a process."""
        async with self._lock.alone():
            claims = {a.token: read_claim(a.folder, a.nonce_sha256) for a in attempts}
            for attempt in attempts:
                if attempt.secrets is not None and claims[attempt.token] is None:
                    take_secrets_away(attempt.folder)
        return {token: JobId(job_id) for token, job_id in claims.items() if job_id is not None}

    async def probe(self) -> Limits:
        """The most that one job gets of this machine."""
        memory_mib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
        return Limits(cpus=os.cpu_count(), memory_mib=memory_mib, nodes=1, gpus=None)

    def health(self) -> Health:
        """There is nothing that could be out."""
        return Health()


def _make_claim_folder(folder: Path) -> None:
    """Make what the script of a local job finds in its folder: the place of its claim."""
    with confined(folder) as inside, inside.folder("claim", make=True):
        pass


def _reap(pid: int, *, end_group: bool) -> None:
    """Take note of the end of a process, and end what it left running in the background.

    ``end_group``: False where that was told to end by itself, and has a while for it.
    """
    try:
        # Until it is waited for, nobody else can get its number: its process group is still its own.
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return  # an adopted process: its parent is init
    if end_group:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, os.WNOHANG)


def local_clock() -> LocalClock:
    """When this machine was started, by its clock as it goes now."""
    booted_s = time.clock_gettime(time.CLOCK_REALTIME) - time.clock_gettime(time.CLOCK_BOOTTIME)
    return LocalClock(host=socket.gethostname(), booted_cs=round(booted_s * 100), surroundings=surroundings())
