"""What the run was made from: the campaign's files, and the object of a host program that planned it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from matterstack.core.run.facts import RunCreated
from matterstack.evidence.confined_reading import opened
from matterstack.evidence.gathering.copying import Gathering, copy, failure, take_back
from matterstack.evidence.gathering.withholding import HoldsSecretError
from matterstack.evidence.history import History
from matterstack.evidence.survey import FileState, SourceRecord, free_place, portable
from matterstack.storage.confine import confined

SOURCES: Final = "sources"
VERSIONS: Final = "versions"
CAMPAIGN_OBJECT: Final = "campaign.pickle"


def take_sources(gathering: Gathering, created: RunCreated) -> Iterator[SourceRecord]:
    """Copy the campaign's files, as they were kept when the run was made.

    Raises:
        BundleWriteError: a copy cannot be written.
    """
    taken: set[str] = set()
    for path, digest in created.sources.items():
        yield _take(gathering, gathering.folder.sources, path, digest, free_place(SOURCES, path, taken))


def take_versions(gathering: Gathering, history: History) -> Iterator[SourceRecord]:
    """Copy what changed of the campaign's files later, or came later, as it was kept when it was used first.

    Raises:
        BundleWriteError: a copy cannot be written.
    """
    for path, digest in history.later_code():
        place = place_of_version(path, digest)
        yield _take(gathering, gathering.folder.versions, path, digest, place, kept_as=digest)


def place_of_version(path: str, digest: str) -> str:
    """Where a file of the campaign, as it was later, lies in a bundle."""
    return f"{VERSIONS}/{digest[:16]}/{portable(path)}"


def take_campaign_object(gathering: Gathering, created: RunCreated) -> SourceRecord | None:
    """Copy the object that planned the run; None where that was ``campaign.py``.

    Raises:
        BundleWriteError: the copy cannot be written.
    """
    recorded = campaign_object_sha256(created)
    if recorded is None:
        return None
    folder = gathering.folder.campaign_object.parent
    return _take(gathering, folder, gathering.folder.campaign_object.name, recorded, CAMPAIGN_OBJECT)


def campaign_object_sha256(created: RunCreated) -> str | None:
    """Hash of the object that planned the run, as recorded; None where that was ``campaign.py``."""
    kept = created.config.get("campaign_object")
    return None if kept is None else kept["sha256"]


def _take(
    gathering: Gathering, folder: Path, path: str, recorded: str, place: str, kept_as: str | None = None
) -> SourceRecord:
    try:
        with confined(folder) as source, opened(source, kept_as or path) as reading:
            size = os.fstat(reading).st_size
            digest = copy(gathering, reading, place)
    except OSError as error:
        state, detail = failure(error)
        return SourceRecord(path=path, sha256=recorded, state=state, detail=detail)
    except HoldsSecretError as error:
        state = FileState.WITHHELD if error.digest == recorded else FileState.CHANGED
        return SourceRecord(path=path, sha256=recorded, state=state, detail=str(error))
    if digest == recorded:
        return SourceRecord(path=path, sha256=recorded, state=FileState.COPIED, bytes=size, place=place)
    take_back(gathering, place)
    detail = f"the copy's SHA-256 is {digest} now, and was {recorded}"
    return SourceRecord(path=path, sha256=recorded, state=FileState.CHANGED, detail=detail)
