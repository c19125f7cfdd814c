"""What jobs ran in: one copy of each of the files that their scripts have written about it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

from matterstack.evidence.confined_reading import opened
from matterstack.evidence.environments import ENVIRONMENTS, MOST_BYTES
from matterstack.evidence.gathering.copying import Gathering, copy, take_back
from matterstack.evidence.history import AttemptKey, History
from matterstack.evidence.survey import EnvironmentRecord, FileState
from matterstack.storage.confine import confined

ENVIRONMENT_FILE: Final = "claim/environment.json"
"""In the folder of an attempt whose script has looked; others found its hash in the run's folder."""


def take_environments(gathering: Gathering, history: History) -> Iterator[EnvironmentRecord]:
    """Copy each environment's file out of the first attempt's folder that has it.

    Raises:
        BundleWriteError: a copy cannot be written.
    """
    by_hash: dict[str, list[AttemptKey]] = {}
    for key, sha256 in history.environments.items():
        by_hash.setdefault(sha256, []).append(key)
    for sha256, attempts in sorted(by_hash.items()):
        place = f"{ENVIRONMENTS}/{sha256}.json"
        others = ((attempt.task_id, attempt.n) for attempt in history.attempts())
        for key in dict.fromkeys([*attempts, *others]):
            size = _take(gathering, key, sha256, place)
            if size is not None:
                yield EnvironmentRecord(sha256=sha256, state=FileState.COPIED, bytes=size, place=place)
                break
        else:
            detail = "no attempt's folder holds what was found"
            yield EnvironmentRecord(sha256=sha256, state=FileState.MISSING, detail=detail)


def _take(gathering: Gathering, key: AttemptKey, sha256: str, place: str) -> int | None:
    """Copy the file of one attempt, and return its size; None where that is not there, or another."""
    path = gathering.folder.attempt(*key).path
    try:
        with confined(path) as source, opened(source, ENVIRONMENT_FILE) as reading:
            size = os.fstat(reading).st_size
            if size <= MOST_BYTES and copy(gathering, reading, place) == sha256:
                return size
    except OSError:
        return None
    take_back(gathering, place)
    return None
