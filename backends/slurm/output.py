"""What Slurm's commands print, as values.

Nothing here raises: a site's banner, a cut line or a job's odd name must not stop anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, Generic, TypeVar

import attrs

SQUEUE_FORMAT: Final = "%i|%T|%r|%N|%j"
"""Job id, state, reason, nodes, and last the name: it alone may hold a bar."""
SACCT_FIELDS: Final = "JobID,State,ExitCode,NodeList,Start,End,JobName"

_SQUEUE_HEADING: Final = "JOBID|STATE|"
_SACCT_HEADING: Final = "JobID|State|"
_JOB_ID: Final = re.compile(r"[0-9]{1,18}(?:[_+.].*)?")  # 7; also 7_3, 7_[1-9] and 7+1 of people's own jobs
_OWN_JOB_ID: Final = re.compile(r"[0-9]{1,18}(?:_[0-9]{1,9})?")
_NUMBER: Final = re.compile(r"[0-9]{1,9}")


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


_Row = TypeVar("_Row", QueuedJob, AccountedJob)


@attrs.frozen
class Table(Generic[_Row]):
    """The lines that could be read.

    Attributes:
        is_whole: the heading was there and the last line was complete.  Only then does it mean anything
            that a job is *not* among the rows: site wrappers have been seen to print nothing and exit 0.
    """

    rows: tuple[_Row, ...]
    is_whole: bool


def parse_squeue(text: str) -> Table[QueuedJob]:
    """Read a table of `SQUEUE_FORMAT` with its heading."""
    rows = (
        QueuedJob(job_id, state.strip(), reason, nodes, name)
        for job_id, state, reason, nodes, name in _cells(text, 5)
    )
    return Table(tuple(rows), _is_whole(text, _SQUEUE_HEADING))


def parse_sacct(text: str) -> Table[AccountedJob]:
    """Read a table of `SACCT_FIELDS` with its heading; the newest record of a job is the last."""
    rows = (
        AccountedJob(job_id, state.strip(), *_exit_code(exit_code), nodes, name)
        for job_id, state, exit_code, nodes, _start, _end, name in _cells(text, 7)
    )
    return Table(tuple(rows), _is_whole(text, _SACCT_HEADING))


def parse_sbatch(text: str) -> str | None:
    """Job id from ``sbatch --parsable``: ``id`` or ``id;cluster``, on the last such line.

    >>> parse_sbatch("Welcome to the cluster!\\n1234;main\\n"), parse_sbatch("no")
    ('1234', None)
    """
    for line in reversed(text.split("\n")):
        job_id = line.strip().partition(";")[0]
        if is_job_id(job_id):
            return job_id
    return None


def is_job_id(text: str) -> bool:
    """Whether this can be the id of a job that MatterStack submitted, alone or as one of an array.

    >>> is_job_id("12"), is_job_id("12_3"), is_job_id("12_[0-3]"), is_job_id("4711.99.0a1b2c3d")
    (True, True, False, False)
    """
    return _OWN_JOB_ID.fullmatch(text) is not None


def _cells(text: str, count: int) -> Iterator[list[str]]:
    for line in text.split("\n"):  # splitlines() would also split at what a job's name may hold
        cells = line.split("|", count - 1)
        if len(cells) == count and _JOB_ID.fullmatch(cells[0]):
            yield cells


def _is_whole(text: str, heading: str) -> bool:
    return text.endswith("\n") and any(line.startswith(heading) for line in text.split("\n"))


def _exit_code(text: str) -> tuple[int | None, int | None]:
    code, _, signal = text.strip().partition(":")
    return _number(code), _number(signal)


def _number(text: str) -> int | None:
    return int(text) if _NUMBER.fullmatch(text) else None
