"""What jobs were given: the record of it, and one copy of each file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Final

import attrs

from matterstack.core.run.state import AttemptState
from matterstack.evidence.confined_reading import opened
from matterstack.evidence.gathering.copying import Gathering, copy, failure, take_back
from matterstack.evidence.gathering.withholding import HoldsSecretError
from matterstack.evidence.survey import AttemptRecord, ManifestState, UsedRecord, portable
from matterstack.storage.confine import Confined, confined

MOST_MANIFEST_BYTES: Final = 16 << 20

UsedKey = tuple[str, str, str, bool]
"""Name, origin, hash, and whether it is an output of another task."""
Makers = Mapping[UsedKey, Sequence[AttemptRecord]]
"""The attempts whose folders may still hold a copy."""


def read_manifest(
    workspace: str, source: Confined, attempt: AttemptState
) -> tuple[ManifestState, str, tuple[UsedKey, ...]]:
    """Read the record of what a job was given: how it was found, what is wrong with it, and what it says."""
    if attempt.manifest_sha256 is None:
        return ManifestState.NEVER_SUBMITTED, "", ()
    try:
        text = source.read("manifest.json", MOST_MANIFEST_BYTES)
    except OSError as error:
        state, detail = failure(error)
        return ManifestState(state.value), detail, ()
    digest = hashlib.sha256(text).hexdigest()
    if digest != attempt.manifest_sha256:
        return ManifestState.CHANGED, f"its SHA-256 is {digest}, not {attempt.manifest_sha256}", ()
    return ManifestState.IN_ORDER, "", tuple(_used(json.loads(text), workspace))


def _used(manifest: Mapping[str, Any], workspace: str) -> Iterator[UsedKey]:
    for given in manifest.get("files", ()):
        yield given["name"], _in_workspace(given["from"], workspace), given["sha256"], False
    for given in manifest.get("inputs", ()):
        yield given["name"], given["from"], given["sha256"], True


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


def copy_used(gathering: Gathering, used: Sequence[UsedKey], makers: Makers) -> Iterator[UsedRecord]:
    """Copy each file that jobs were given once, out of the first attempt's folder that still holds it."""
    copies: dict[str, str] = {}
    for key in used:
        name, origin, digest, is_input = key
        record = UsedRecord(name=name, origin=origin, sha256=digest, is_input=is_input)
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
