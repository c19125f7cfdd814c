"""Run Slurm's commands, and tell three kinds of failure apart: no, not now, and nobody knows."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Mapping, Sequence
from functools import partial
from typing import IO, Final, Protocol

import attrs
import trio

from matterstack.core.errors import BackendError
from matterstack.storage.backend_reports import CommandStatistics
from matterstack.storage.child_environment import child_environment
from matterstack.storage.modes import JOB_UMASK

UNREACHABLE: Final = (
    "Unable to contact slurm controller",
    "Could not establish a configuration source",
    "Slurm backup controller in standby mode",
    "Communication connection failure",
    "Message send failure",
    "Message receive failure",
    "I/O error writing script/environment to file",
    "Authentication credential expired",
    "Invalid authentication credential",
    "Socket timed out",
    "Connection refused",
    "Connection timed out",
    "Zero Bytes were transmitted or received",
    "Transport endpoint is not connected",
    "Protocol authentication error",
    "Munge",
    "munge",
    "Slurm temporarily unable to accept job",
    "Resource temporarily unavailable",
    "slurm_persist_conn_open",
    "Problem talking to the database",
    "Slurm database",
)
"""What stderr says when the answer is not a no.  Seen on Slurm 22.05, or listed in its slurm_errno.c."""

TURNED_AWAY: Final = ("sleeping and retrying", "temporarily disabled, retrying")
"""What sbatch says when the controller takes no more jobs from anybody (MaxJobCount of slurm.conf(5)).

It then tries again by itself for two minutes: see ``sbatch.c`` of Slurm 22.05.
"""

LIMITS: Final = (
    "QOSMaxSubmitJob",
    "QOSGrpSubmitJobs",
    "AssocMaxSubmitJob",
    "AssocGrpSubmitJobs",
    "Reached the maximum number of jobs",
    "MaxJobCount",
    "job queue full",
)
"""What stderr says when there are as many jobs as there may be: later there is room again."""
RETRY_SEEN_S: Final = 0.1
"""How often what sbatch complains about is looked at; it sleeps for a second before its first retry."""
_BESIDE_THE_POINT: Final = ("If munged is up, restart with",)
"""What stands in front of the complaint itself, and misleads."""
_POLICY: Final = "Job violates accounting/QOS policy"
_NAMED_LIMIT: Final = re.compile(r"\b(?:QOS|Assoc)(?:Max|Min|Grp)\w+")
"""Which limit it was, where Slurm says so.  One that is not in `LIMITS` is about the size of the job alone:
it would be refused tomorrow, too."""

_FILTERS: Final = ("SQUEUE_", "SACCT_", "SCANCEL_", "SINFO_")
"""Variables that hide jobs from a question, or spare them from a scancel."""
_JOB_FORMING: Final = frozenset({"SBATCH_ARRAY_INX", "SBATCH_ERROR", "SBATCH_INPUT", "SBATCH_WAIT"})
_OF_THE_CLUSTER: Final = frozenset({"SLURM_CONF", "SLURM_CLUSTERS", "SLURM_JWT"})
_PLAIN: Final = {"LC_ALL": "C", "SLURM_TIME_FORMAT": "standard"}
_KILLED_BELOW_A_SHELL: Final = range(126, 193)
"""What a shell, a site's wrapper or ssh exits with when the command was not found or was killed: bash(1)."""


@attrs.frozen
class Finished:
    """A command that came to its end."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def complaint(self) -> str:
        """What it complained about, in one line."""
        lines = [line.strip() for line in self.stderr.splitlines() if line.strip()]
        cleaned = [line.partition("error: ")[2] or line for line in lines]
        told = [line for line in cleaned if not line.startswith(_BESIDE_THE_POINT)] or cleaned
        if told:
            return "; ".join(dict.fromkeys(told))
        return (
            f"it was killed by signal {-self.exit_code}"
            if self.exit_code < 0
            else (f"it ended with exit code {self.exit_code} and without a word")
        )

    @property
    def is_refusal(self) -> bool:
        """Whether Slurm said no, for good: it answered, and no limit is merely used up for now.

        A command that was killed has said nothing: what it asked for may have happened.
        """
        return self.is_surely_not_done and not self.is_limit

    @property
    def is_unreachable(self) -> bool:
        """Whether the answer is that nobody answered."""
        return any(sign in self.stderr for sign in UNREACHABLE)

    @property
    def is_limit(self) -> bool:
        """Whether a limit of the site is used up for now."""
        if any(sign in self.stderr for sign in LIMITS):
            return True
        return _POLICY in self.stderr and _NAMED_LIMIT.search(self.stderr) is None

    @property
    def was_turned_away(self) -> bool:
        """Whether sbatch was told to come again; whether it did so, and with what success, is not known."""
        return self.exit_code != 0 and any(sign in self.stderr for sign in TURNED_AWAY)

    @property
    def is_surely_not_done(self) -> bool:
        """Whether Slurm answered, and said that it did not take the job: for good, or for now."""
        was_killed = self.exit_code < 0 or self.exit_code in _KILLED_BELOW_A_SHELL
        return self.exit_code != 0 and not (was_killed or self.is_unreachable)


class RunCommand(Protocol):
    """Runs a command to its end; see `run`."""

    async def __call__(
        self, argv: Sequence[str], *, timeout_s: float, inherit: int | None = None, stdin: str = ""
    ) -> Finished:
        """Run a command of Slurm, with a deadline (s)."""


@attrs.define
class Counted:
    """Runs commands, and keeps count of how often each was run and how long it took."""

    _run: RunCommand
    statistics: dict[str, CommandStatistics] = attrs.field(factory=dict)

    async def __call__(
        self, argv: Sequence[str], *, timeout_s: float, inherit: int | None = None, stdin: str = ""
    ) -> Finished:
        """Run a command, and count how long it took; see `run`."""
        began = trio.current_time()
        failed = True
        try:
            done = await self._run(argv, timeout_s=timeout_s, inherit=inherit, stdin=stdin)
            failed = done.exit_code != 0
        finally:
            before = self.statistics.get(argv[0], CommandStatistics())
            self.statistics[argv[0]] = before.after(trio.current_time() - began, failed=failed)
        return done


async def run(
    argv: Sequence[str], *, timeout_s: float, inherit: int | None = None, stdin: str = ""
) -> Finished:
    """Run a command to its end; sbatch until it begins to try again, for two minutes (see `TURNED_AWAY`).

    Args:
        stdin: what it reads from its standard input.
        inherit: a descriptor that the child keeps open for as long as it lives.

    Raises:
        BackendError: it cannot be started, or took longer than ``timeout_s`` (and was killed: what it
            asked for may have happened all the same).
    """
    # Not a pipe: what a command complained about before it was killed is to be read all the same.
    with _readable(stdin) as file, _readable("") as complaints:
        return await _run(argv, file, complaints, timeout_s, inherit)


async def _run(
    argv: Sequence[str], stdin: IO[bytes], stderr: IO[bytes], timeout_s: float, inherit: int | None
) -> Finished:
    started = _Started()
    execute = partial(
        trio.run_process,
        list(argv),
        stdin=stdin,
        capture_stdout=True,
        stderr=stderr,
        check=False,
        env=_environment(argv[0], child_environment()),
        start_new_session=True,  # Ctrl-C in the terminal is for the engine, not for sbatch
        umask=JOB_UMASK,  # sbatch hands it on: the log of a job is made before its script says anything
        pass_fds=() if inherit is None else (inherit,),
        task_status=started,
    )
    done: subprocess.CompletedProcess[bytes] | OSError
    try:
        with trio.fail_after(timeout_s):
            async with trio.open_nursery() as nursery:
                if argv[0] == "sbatch":
                    nursery.start_soon(_end_retries, started, stderr)
                try:
                    done = await execute()
                except OSError as error:
                    done = error
                nursery.cancel_scope.cancel()
    except trio.TooSlowError:
        said = Finished(1, "", _text(stderr)).complaint if _text(stderr).strip() else ""
        raise BackendError(
            f"{argv[0]} gave no answer within {timeout_s:g} s" + (f" (it said: {said})" if said else "")
        ) from None
    if isinstance(done, FileNotFoundError):
        raise BackendError(
            f"{argv[0]}: no such command on this machine",
            hint="run MatterStack where Slurm's commands are (a login node), or load its module first",
        )
    if isinstance(done, OSError):
        raise BackendError(f"{argv[0]} cannot be started: {done.strerror or done}")
    return Finished(done.returncode, done.stdout.decode(errors="replace"), _text(stderr))


@attrs.define
class _Started(trio.TaskStatus[trio.Process]):
    """Where a process is to be found as soon as it is there."""

    process: trio.Process | None = None

    def started(self, value: trio.Process | None = None) -> None:
        self.process = value


async def _end_retries(started: _Started, complaints: IO[bytes]) -> None:
    """End sbatch, and what a site may have wrapped around it, while it sleeps before it tries again."""
    while not any(sign in _text(complaints) for sign in TURNED_AWAY):  # noqa: ASYNC110
        await trio.sleep(RETRY_SEEN_S)  # it is written to by another process: nothing tells of that
    if started.process is not None and started.process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(started.process.pid, signal.SIGKILL)


def _text(file: IO[bytes]) -> str:
    # By its descriptor: a command that still writes shares the position.
    size = os.fstat(file.fileno()).st_size
    return os.pread(file.fileno(), size, 0).decode(errors="replace")


def _readable(text: str) -> IO[bytes]:
    """A file of the text, without a name.

    Not a pipe: of what does not fit into one, a command whose caller is killed would read the first part
    only, and sbatch takes half a script for a whole one.
    """
    file = os.fdopen(os.memfd_create("stdin"), "w+b")
    file.write(text.encode())
    file.seek(0)
    return file


def _environment(command: str, ours: Mapping[str, str]) -> dict[str, str]:
    """The environment of a command: without what would change its question or its answer.

    sbatch hands it on to the job, which must find the user's own language in it.
    """
    dropped = _JOB_FORMING if command == "sbatch" else ()
    in_a_job = "SLURM_JOB_ID" in ours  # the engine is a job itself: its own jobs are not steps of that
    environment = {
        name: value
        for name, value in ours.items()
        if not name.startswith(_FILTERS)
        and name not in dropped
        and not (in_a_job and name.startswith("SLURM_") and name not in _OF_THE_CLUSTER)
    }
    return environment if command == "sbatch" else environment | _PLAIN
