"""Run Slurm's commands, and tell three kinds of failure apart: no, not now, and nobody knows."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from functools import partial
from typing import Final

import attrs
import trio

from matterstack.core.errors import BackendError

UNREACHABLE: Final = (
    "Unable to contact slurm controller",
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

LIMITS: Final = (
    "Job violates accounting/QOS policy",
    "QOSMaxSubmitJob",
    "AssocMaxSubmitJob",
    "AssocGrpSubmitJobs",
    "Reached the maximum number of jobs",
    "MaxJobCount",
)
"""What stderr says when a limit is used up for now."""


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
        return "; ".join(dict.fromkeys(cleaned)) or f"exit code {self.exit_code}"

    @property
    def is_unreachable(self) -> bool:
        """Whether the answer is that nobody answered."""
        return any(sign in self.stderr for sign in UNREACHABLE)

    @property
    def is_limit(self) -> bool:
        """Whether a limit of the site is used up for now."""
        return any(sign in self.stderr for sign in LIMITS)


async def run(argv: Sequence[str], *, timeout_s: float, inherit: int | None = None) -> Finished:
    """Run a command to its end, in the C locale.

    Args:
        inherit: a descriptor that the child keeps open for as long as it lives.

    Raises:
        BackendError: it is not installed, or took longer than ``timeout_s`` (and was killed: what it
            asked for may have happened all the same).
    """
    environment = {**os.environ, "LC_ALL": "C", "SLURM_TIME_FORMAT": "standard"}
    for name in ("SQUEUE_FORMAT", "SQUEUE_FORMAT2", "SQUEUE_STATES", "SQUEUE_USERS", "SACCT_FORMAT"):
        environment.pop(name, None)
    execute = partial(
        trio.run_process,
        list(argv),
        capture_stdout=True,
        capture_stderr=True,
        check=False,
        env=environment,
        start_new_session=True,  # Ctrl-C in the terminal is for the engine, not for sbatch
        pass_fds=() if inherit is None else (inherit,),
    )
    try:
        with trio.fail_after(timeout_s):
            done: subprocess.CompletedProcess[bytes] = await execute()
    except FileNotFoundError:
        raise BackendError(
            f"{argv[0]}: no such command on this machine",
            hint="run MatterStack where Slurm's commands are (a login node), or load its module first",
        ) from None
    except trio.TooSlowError:
        raise BackendError(f"{argv[0]} gave no answer within {timeout_s:g} s") from None
    return Finished(
        done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    )
