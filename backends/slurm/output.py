"""What Slurm's commands print, as values.

Nothing here raises: a site's banner, a cut line or a job's odd name must not stop anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final, Generic, TypeVar

import attrs

from matterstack.backends.slurm.states import job_state
from matterstack.core.states import ENDED_JOBS

SQUEUE_FORMAT: Final = "%i|%T|%r|%N|%j"
"""Job id, state, reason, nodes, and last the name: it alone may hold a bar."""
RECORDS_FORMAT: Final = "%i|%T|%r|%A|%j"
"""The same, with the number of the record instead of the nodes: elements that wait may have one together."""
SACCT_FIELDS: Final = "JobID,State,ExitCode,NodeList,Start,End,JobName"

_SQUEUE_HEADING: Final = "JOBID|STATE|"
_SQUEUE_COLUMNS: Final = 5
_SACCT_HEADING: Final = "JobID|State|"
_SACCT_COLUMNS: Final = 7
_JOB_ID: Final = re.compile(r"[0-9]{1,18}(?:[_+.].*)?")  # 7; also 7_3, 7_[1-9] and 7+1 of people's own jobs
_OWN_JOB_ID: Final = re.compile(r"[0-9]{1,18}(?:_[0-9]{1,9})?")
_NUMBER: Final = re.compile(r"[0-9]{1,9}")


@attrs.frozen
class QueuedJob:
    """One job as a line of squeue shows it."""

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
        is_whole: the heading was there, the last line was complete, and no line of a job was cut.  Only
            then does it mean anything that a job is *not* among the rows: site wrappers have been seen to
            print nothing and exit 0.
    """

    rows: tuple[_Row, ...]
    is_whole: bool


def parse_squeue(text: str) -> Table[QueuedJob]:
    """Read a table of `SQUEUE_FORMAT` with its heading."""
    rows = [
        QueuedJob(job_id, state.strip(), reason, nodes, name)
        for job_id, state, reason, nodes, name in _cells(text, _SQUEUE_COLUMNS)
    ]
    return Table(_undoubted(rows), _is_whole(text, _SQUEUE_HEADING, _SQUEUE_COLUMNS))


def parse_sacct(text: str) -> Table[AccountedJob]:
    """Read a table of `SACCT_FIELDS` with its heading; the newest record of a job is the last."""
    rows = (
        AccountedJob(job_id, state.strip(), *_exit_code(exit_code), nodes, name)
        for job_id, state, exit_code, nodes, _start, _end, name in _cells(text, _SACCT_COLUMNS)
    )
    return Table(tuple(rows), _is_whole(text, _SACCT_HEADING, _SACCT_COLUMNS))


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


def _undoubted(rows: Sequence[QueuedJob]) -> tuple[QueuedJob, ...]:
    """Where several lines speak of one job, an end counts only if all tell of one."""
    alive = {row.job_id for row in rows if job_state(row.state) not in ENDED_JOBS}
    return tuple(row for row in rows if row.job_id not in alive or job_state(row.state) not in ENDED_JOBS)


def _lines(text: str) -> list[str]:
    # splitlines() would also split at what a job's name may hold.  A terminal in between adds the returns.
    return [line.removesuffix("\r") for line in text.split("\n")]


def _cells(text: str, count: int) -> Iterator[list[str]]:
    for line in _lines(text):
        cells = line.split("|", count - 1)
        if len(cells) == count and _JOB_ID.fullmatch(cells[0]):
            yield cells


def _is_whole(text: str, heading: str, count: int) -> bool:
    lines = _lines(text)
    return (
        text.endswith("\n")
        and any(line.startswith(heading) for line in lines)
        and not any(_is_cut(line, count) for line in lines)
    )


def _is_cut(line: str, count: int) -> bool:
    cells = line.split("|", count - 1)
    return 1 < len(cells) < count and _JOB_ID.fullmatch(cells[0]) is not None


def _exit_code(text: str) -> tuple[int | None, int | None]:
    code, _, signal = text.strip().partition(":")
    return _number(code), _number(signal)


def _number(text: str) -> int | None:
    return int(text) if _NUMBER.fullmatch(text) else None
