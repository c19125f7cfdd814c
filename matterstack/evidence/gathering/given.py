"""What jobs were given: the record of it, and one copy of each file."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Final

import attrs

from matterstack.core.documents.strict_json import without_twins
from matterstack.core.run.state import AttemptState
from matterstack.evidence.confined_reading import opened
from matterstack.evidence.gathering.copying import Gathering, copy, failure, take_back, write_copy
from matterstack.evidence.gathering.withholding import HoldsSecretError
from matterstack.evidence.history import End, History
from matterstack.evidence.survey import (
    AttemptRecord,
    FileState,
    ManifestFile,
    ManifestState,
    UsedRecord,
    portable,
)
from matterstack.storage.bound_files import MANIFEST_NAME, MOST_MANIFEST_BYTES
from matterstack.storage.confine import Confined, confined

UsedKey = tuple[str, str, str, bool]
"""Name, origin, hash, and whether it is an output of another task."""
UNREADABLE: Final = (ValueError, LookupError, TypeError, AttributeError, RecursionError)
"""What reading a manifest may end with that a job has written over."""
_DIGEST: Final = re.compile("[0-9a-f]{64}")
Makers = Mapping[UsedKey, Sequence[AttemptRecord]]
"""The attempts whose folders may still hold a copy."""


@attrs.frozen(kw_only=True)
class FoundManifest:
    """How the record of what a job was given was found, and what it says."""

    state: ManifestState
    detail: str = ""
    used: tuple[UsedKey, ...] = ()
    file: ManifestFile | None = None

    @classmethod
    def of_failure(
        cls, attempt: AttemptState, end: End | None, state: FileState, detail: str
    ) -> FoundManifest:
        """The record could not be read."""
        if recorded_manifest(attempt.manifest_sha256, end) is None:
            return cls(state=ManifestState.NEVER_SUBMITTED)
        return cls(state=ManifestState(state.value), detail=detail)


def recorded_manifest(accepted: str | None, end: End | None) -> str | None:
    """Hash of an attempt's manifest by the events: when its job was accepted, or else when that was over.

    Args:
        accepted: by the event that says that the job was accepted.
    """
    if accepted is not None:
        return accepted
    given = () if end is None or end.given is None else end.given
    return next((file.sha256 for file in given if file.path == MANIFEST_NAME and file.sha256), None)


def take_manifest(
    gathering: Gathering, source: Confined, attempt: AttemptState, end: End | None
) -> FoundManifest:
    """Copy the record of what a job was given, and read it.

    Raises:
        BundleWriteError: the copy cannot be written.
    """
    recorded = recorded_manifest(attempt.manifest_sha256, end)
    if recorded is None:
        return FoundManifest(state=ManifestState.NEVER_SUBMITTED)
    try:
        text = source.read(MANIFEST_NAME, MOST_MANIFEST_BYTES)
    except OSError as error:
        return FoundManifest.of_failure(attempt, end, *failure(error))
    digest = hashlib.sha256(text).hexdigest()
    if digest != recorded:
        detail = f"its SHA-256 is {digest}, not {recorded}"
        return FoundManifest(state=ManifestState.CHANGED, detail=detail)
    try:
        used = used_files(text, gathering.workspace)
    except UNREADABLE:
        # Of a job that was taken over the hash is that of what it has left.
        detail = "it is no record of what a job was given"
        return FoundManifest(state=ManifestState.UNREADABLE, detail=detail)
    place = f"used/{attempt.task_id}.{attempt.n}/{MANIFEST_NAME}"
    write_copy(gathering, text, place)
    return FoundManifest(
        state=ManifestState.IN_ORDER,
        used=used,
        file=ManifestFile(bytes=len(text), sha256=recorded, place=place),
    )


def used_files(manifest: bytes, workspace: str) -> tuple[UsedKey, ...]:
    """What a manifest says that its job was given.

    Raises:
        any of `UNREADABLE`: it is no manifest.
    """
    return tuple(_used(json.loads(manifest, object_pairs_hook=without_twins), workspace))


def _used(manifest: Mapping[str, Any], workspace: str) -> Iterator[UsedKey]:
    for given in manifest.get("files", ()):
        yield _text(given["name"]), _in_workspace(_text(given["from"]), workspace), _digest(given), False
    for given in manifest.get("inputs", ()):
        yield _text(given["name"]), _text(given["from"]), _digest(given), True


def _text(value: str) -> str:
    os.fsencode(value)  # no file has another name
    return value


def _digest(given: Mapping[str, Any]) -> str:
    if not _DIGEST.fullmatch(given["sha256"]):
        raise ValueError("its sha256 is none")
    return str(given["sha256"])


def _in_workspace(origin: str, workspace: str) -> str:
    """A path as the campaign could have written it: from the workspace's folder on, wherever that lay."""
    _, marker, inner = origin.rpartition(f"/workspaces/{workspace}/")
    return inner if marker else origin


def index_used(
    found: Iterable[tuple[AttemptRecord, Sequence[UsedKey]]],
) -> tuple[list[UsedKey], Makers]:
    """All different files that jobs were given, sorted."""
    makers: dict[UsedKey, list[AttemptRecord]] = {}
    for record, used in found:
        for key in used:
            makers.setdefault(key, []).append(record)
    return sorted(makers), makers


def copy_used(
    gathering: Gathering, history: History, used: Sequence[UsedKey], makers: Makers
) -> Iterator[UsedRecord]:
    """Copy each file that jobs were given once, out of the first attempt's folder that still holds it."""
    copies: dict[str, str] = {}
    reasons = _reasons(gathering, history, makers)
    for key in used:
        name, origin, digest, is_input = key
        record = UsedRecord(name=name, origin=origin, sha256=digest, is_input=is_input)
        if not is_input and digest in reasons:
            yield attrs.evolve(record, withheld=reasons[digest])
            continue
        if not is_input:
            try:
                place = copies.get(digest) or _copy_one(gathering, key, makers[key])
            except HoldsSecretError as error:
                yield attrs.evolve(record, withheld=str(error))
                continue
            if place is not None:
                copies[digest] = place
                size = (gathering.target / place).stat().st_size
                record = attrs.evolve(record, bytes=size, place=place)
        yield record


def _reasons(gathering: Gathering, history: History, makers: Makers) -> Mapping[str, str]:
    """Why files are not copied, whoever was given them and by what name; by their hashes."""
    reasons: dict[str, str] = {}
    for (name, _, digest, is_input), records in makers.items():
        for record in () if is_input else records:
            attempt = history.state.tasks[record.task_id].attempts[record.n - 1]
            if why := gathering.withholding.reason(attempt, name):
                reasons.setdefault(digest, why)
    return reasons


def _copy_one(gathering: Gathering, key: UsedKey, makers: Sequence[AttemptRecord]) -> str | None:
    name, _, digest, _ = key
    place = f"used/{digest[:16]}/{portable(PurePosixPath(name).name)}"
    for maker in makers:
        path = gathering.folder.attempt(maker.task_id, maker.n).path
        try:
            with confined(path) as source, opened(source, name) as reading:
                if copy(gathering, reading, place) == digest:
                    return place
        except OSError:
            continue
        except HoldsSecretError as error:
            if error.digest == digest:
                raise
            continue
        take_back(gathering, place)
    return None
