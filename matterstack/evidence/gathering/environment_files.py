"""What jobs ran in: one copy of each of the files that their scripts have written about it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial

from matterstack.evidence.confined_reading import opened
from matterstack.evidence.environments import ENVIRONMENTS, MOST_BYTES
from matterstack.evidence.gathering.copying import Gathering, copy, hash_once, take_back
from matterstack.evidence.gathering.withholding import HoldsSecretError
from matterstack.evidence.history import AttemptKey, History
from matterstack.evidence.survey import EnvironmentRecord, FileState
from matterstack.storage.confine import confined
from matterstack.storage.secret_traces import ENVIRONMENT


def take_environments(gathering: Gathering, history: History) -> Iterator[EnvironmentRecord]:
    """Copy each environment's file out of the first attempt's folder that has it.

    Raises:
        BundleWriteError: a copy cannot be written.
    """
    by_hash: dict[str, list[AttemptKey]] = {}
    for key, sha256 in history.environments.items():
        by_hash.setdefault(sha256, []).append(key)
    for sha256, attempts in sorted(by_hash.items()):
        others = ((attempt.task_id, attempt.n) for attempt in history.attempts())
        # What one of them was found to hold, the same file of another holds too.
        reasons = [_reason(gathering, history, key) for key in attempts]
        why = next(filter(None, reasons), "")
        for key in dict.fromkeys([*attempts, *others]):
            record = _take(gathering, key, sha256, why or _reason(gathering, history, key))
            if record is not None:
                yield record
                break
        else:
            detail = "no attempt's folder holds what was found"
            yield EnvironmentRecord(sha256=sha256, state=FileState.MISSING, detail=detail)


def _reason(gathering: Gathering, history: History, key: AttemptKey) -> str:
    task_id, n = key
    return gathering.withholding.reason(history.state.tasks[task_id].attempts[n - 1], ENVIRONMENT)


def _take(gathering: Gathering, key: AttemptKey, sha256: str, why: str) -> EnvironmentRecord | None:
    """Copy the file of one attempt, unless it is withheld; None where it is not there, or another."""
    task_id, n = key
    place = f"{ENVIRONMENTS}/{sha256}.json"
    found = partial(EnvironmentRecord, sha256=sha256)
    size = 0
    try:
        with (
            confined(gathering.folder.attempt(*key).path) as source,
            opened(source, ENVIRONMENT) as reading,
        ):
            size = os.fstat(reading).st_size
            if size > MOST_BYTES:
                return None
            if why:
                is_it = hash_once(gathering, reading, f"{task_id}/{n}/{ENVIRONMENT}") == sha256
                return found(state=FileState.WITHHELD, bytes=size, detail=why) if is_it else None
            if copy(gathering, reading, place) == sha256:
                return found(state=FileState.COPIED, bytes=size, place=place)
    except HoldsSecretError as error:
        is_it = error.digest == sha256
        return found(state=FileState.WITHHELD, bytes=size, detail=str(error)) if is_it else None
    except OSError:
        return None
    take_back(gathering, place)
    return None
