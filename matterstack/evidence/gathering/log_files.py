"""Take logs, and compare them with what the event says that ended their job."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence

from matterstack.core.run.facts import BoundFile
from matterstack.core.run.state import AttemptState
from matterstack.evidence.confined_reading import opened
from matterstack.evidence.gathering.copying import Gathering, take_unrecorded
from matterstack.evidence.history import End
from matterstack.evidence.survey import LogRecord, LogState, portable
from matterstack.storage.confine import Confined
from matterstack.storage.files import chunks
from matterstack.storage.question_files import is_set_aside


def take_logs(
    gathering: Gathering,
    source: Confined,
    folder: str,
    names: Sequence[tuple[str, str]],
    bound: Mapping[str, BoundFile] | None,
    attempt: AttemptState,
) -> Iterator[LogRecord]:
    """Take logs and the like; ``names`` are those in the bundle, and in the folder.

    Args:
        bound: as in `bound_logs`.
    """
    for name, found in names:
        # A log that is missing is one of a job that never began, or none at all.
        why = gathering.withholding.reason(attempt, found)
        record = _take(gathering, source, f"{folder}/{portable(name)}", name, found, bound, why)
        if record is not None:
            yield record


def bound_logs(end: End | None, *, is_last: bool) -> Mapping[str, BoundFile] | None:
    """Logs by name, as the event has them that ended their job; None where it says nothing of logs.

    Args:
        is_last: no later attempt was made.
    """
    if end is None or end.logs is None:
        return None
    return {log.path: log for log in end.logs if is_last or not is_set_aside(log.path)}


def missing_log(bound: BoundFile) -> LogRecord:
    """A log that is bound, and that is not there any more."""
    return LogRecord(name=bound.path, bytes=bound.size_bytes, sha256=bound.sha256, state=LogState.MISSING)


def _take(
    gathering: Gathering,
    source: Confined,
    place: str,
    name: str,
    found: str,
    bound: Mapping[str, BoundFile] | None,
    withheld: str,
) -> LogRecord | None:
    try:
        with opened(source, found) as reading:
            if not os.fstat(reading).st_size:
                return None
            log = take_unrecorded(gathering, reading, place, place, withheld)
            state = _state(reading, log.bytes, log.sha256, name, bound)
    except OSError:
        return None
    return LogRecord(
        name=name, bytes=log.bytes, sha256=log.sha256, place=log.place, state=state, withheld=log.why
    )


def _state(
    reading: int, size: int, digest: str, name: str, bound: Mapping[str, BoundFile] | None
) -> LogState:
    if bound is None:
        return LogState.UNBOUND
    was = bound.get(name)
    if was is None:
        return LogState.LONGER  # it was empty, or not there, when its job was seen to be over
    if not was.sha256:
        return LogState.UNBOUND
    if size <= was.size_bytes:
        return LogState.AS_IT_WAS if digest == was.sha256 else LogState.CHANGED
    os.lseek(reading, 0, os.SEEK_SET)
    beginning = hashlib.sha256()
    for chunk in chunks(reading, was.size_bytes):
        beginning.update(chunk)
    return LogState.LONGER if beginning.hexdigest() == was.sha256 else LogState.CHANGED
