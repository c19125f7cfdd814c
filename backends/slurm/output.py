"""What Slurm's commands print, as values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import attrs

SQUEUE_FORMAT: Final = "%i|%T|%r|%N|%j"
"""Job id, state, reason, nodes, and last the name: it alone may hold a bar."""
SACCT_FIELDS: Final = "JobID,State,ExitCode,NodeList,Start,End,JobName"


@attrs.frozen
class QueuedJob:
    """A line of squeue."""

    job_id: str
    state: str
    reason: str
    nodes: str
    name: str


@attrs.frozen
class AccountedJob:
    """A line of sacct.  ``exit_code`` is None when the job has none."""

    job_id: str
    state: str
    exit_code: int | None
    signal: int | None
    nodes: str
    name: str


def parse_squeue(text: str) -> Iterator[QueuedJob]:
    """Read the lines that have our form; a banner or a cut line is no job and tells nothing."""
    for line in text.splitlines():
        parts = line.split("|", 4)
        if len(parts) == 5 and parts[0][:1].isdigit():
            job_id, state, reason, nodes, name = parts
            yield QueuedJob(job_id, state.strip(), reason, nodes, name)


def parse_sacct(text: str) -> Iterator[AccountedJob]:
    """Read the lines that have our form, the newest record of a job last."""
    for line in text.splitlines():
        parts = line.split("|", 6)
        if len(parts) == 7 and parts[0][:1].isdigit():
            job_id, state, exit_code, nodes, _start, _end, name = parts
            code, signal = _exit_code(exit_code)
            yield AccountedJob(job_id, state, code, signal, nodes, name)


def _exit_code(text: str) -> tuple[int | None, int | None]:
    code, _, signal = text.partition(":")
    return (int(code) if code.isdigit() else None), (int(signal) if signal.isdigit() else None)


def parse_sbatch(text: str) -> str | None:
    """Job id from ``sbatch --parsable``: ``id`` or ``id;cluster``, on the last such line."""
    for line in reversed(text.splitlines()):
        job_id = line.strip().partition(";")[0]
        if job_id.isdigit():
            return job_id
    return None
