"""Processes of this machine, named so that a number that is used again is not mistaken.

See proc(5): field 22 of ``/proc/PID/stat`` is the start time, field 6 the session, field 3 the state.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from typing import Final

import attrs

from matterstack.core.ids import JobId

_JOB_ID: Final = re.compile(r"([1-9][0-9]{0,8})\.([0-9]{1,20})\.([^.]+)")


@attrs.frozen
class ProcessName:
    """A process id with its start time (in clock ticks since boot) and the boot's short id."""

    pid: int
    started: int
    boot: str

    def job_id(self) -> JobId:
        """The name of the process as one word, which is its job id."""
        return JobId(f"{self.pid}.{self.started}.{self.boot}")

    @classmethod
    def parse(cls, job_id: str) -> ProcessName | None:
        """Read what `job_id` made; None when it is something else."""
        found = _JOB_ID.fullmatch(job_id)
        return None if found is None else cls(int(found[1]), int(found[2]), found[3])


@attrs.frozen
class _Stat:
    state: str
    session: int
    started: int


def _stat(pid: int) -> _Stat | None:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123  hot path
            fields = file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return _Stat(fields[0], int(fields[3]), int(fields[19]))


def start_time(pid: int) -> int:
    """Start time of a process that exists (also as a zombie).

    Raises:
        ProcessLookupError: it does not.
    """
    stat = _stat(pid)
    if stat is None:
        raise ProcessLookupError(pid)
    return stat.started


def is_running(name: ProcessName, boot: str) -> bool:
    """Whether this very process is still running."""
    if name.boot != boot:
        return False
    stat = _stat(name.pid)
    return stat is not None and stat.started == name.started and stat.state not in "ZX"


def session_members(leader: ProcessName, boot: str) -> Iterator[int]:
    """Ids of the processes of a job's session that have not ended, also when its leader has.

    None when the leader's number belongs to a stranger by now: while any process of the session is left,
    its number is not given to another one (setsid(2)), so then there is none.
    """
    now = _stat(leader.pid)
    if leader.boot != boot or (now is not None and now.started != leader.started):
        return
    with os.scandir("/proc") as entries:
        for entry in entries:
            if entry.name.isdigit():
                stat = _stat(int(entry.name))
                if stat is not None and stat.session == leader.pid and stat.state not in "ZX":
                    yield int(entry.name)


def signal_session(leader: ProcessName, boot: str, number: signal.Signals) -> int:
    """Send a signal to every process of a job's session; return how many there were."""
    count = 0
    for pid in session_members(leader, boot):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
        count += 1
    return count
