"""Whether what a run was is kept: in a bundle or an archive that is whole, and as of the run's last event."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import Final

from matterstack.core.errors import MatterStackError, RefusedError
from matterstack.core.ids import RunId
from matterstack.core.shown_text import shown
from matterstack.evidence.archived_evidence import read_contents
from matterstack.evidence.confined_reading import read_document
from matterstack.evidence.contents import EVENTS
from matterstack.evidence.history import fold_events, parse_lines
from matterstack.evidence.survey import SURVEY, parse_survey
from matterstack.evidence.unpacking import Archived, opened_archive
from matterstack.evidence.verify import verify_bundle
from matterstack.storage.files import CHUNK_BYTES
from matterstack.storage.layout import RunFolder

BUNDLE: Final = "evidence"
_OF_ANOTHER: Final = "is of run"


def kept_beside(folder: RunFolder, run_id: RunId) -> list[Path]:
    """Where evidence of a run lies that was made where it is made by itself: in the run's folder."""
    places = (folder.path / f"{run_id}.zip", folder.path / BUNDLE)
    return [path for path in places if path.exists()]


def problem_of_proof(path: Path, run_id: RunId, head: str) -> str | None:
    """Why a bundle or an archive does not keep what a run was; None where it does, to its last output.

    Args:
        head: of the run's last event.
    """
    try:
        if path.is_dir():
            return _problem_of_bundle(path, run_id, head)
        with opened_archive(path) as archive:
            return _problem_of_archive(archive, run_id, head)
    except (OSError, ValueError, MatterStackError, zipfile.BadZipFile) as error:
        return f"cannot be read: {error}"


def require_proof(places: list[Path], run_id: RunId, head: str) -> Path:
    """The first of these that keeps what a run was.

    Raises:
        RefusedError: none does, and why.
    """
    hint = f"make it first: matterstack run archive {run_id}; or give --without-evidence"
    if not places:
        raise RefusedError(f"run {run_id} has no evidence that would be left of it", hint=hint)
    problems = {path: problem_of_proof(path, run_id, head) for path in places}
    for path, problem in problems.items():
        if problem is None:
            return path
    # What is evidence of another run says less than what is wrong with its own.
    path, problem = min(problems.items(), key=lambda found: str(found[1]).startswith(_OF_ANOTHER))
    raise RefusedError(f"run {run_id}: {path} {problem}", hint=hint)


def _problem_of_bundle(path: Path, run_id: RunId, head: str) -> str | None:
    if findings := verify_bundle(path):
        return f"is not whole: {findings[0].path} {findings[0].problem}"
    if problem := _problem_of_events(read_document(path, EVENTS), run_id, head):
        return problem
    large = [output for _, output in parse_survey(read_document(path, SURVEY)).large()]
    if large:
        more = f" and {len(large) - 1} more" if len(large) > 1 else ""
        first = f"{shown(large[0].path)} of {large[0].task_id}"
        return f"has of output {first}{more} the hash alone: an archive has all"
    return None


def _problem_of_archive(archive: Archived, run_id: RunId, head: str) -> str | None:
    if problem := _problem_of_events(archive.document(f"{BUNDLE}/{EVENTS}"), run_id, head):
        return problem
    for name, digest in read_contents(archive).hashes.items():
        if _hash(archive, name) != digest:
            return f"is not whole: {shown(name)} is not what its evidence names"
    return None


def _problem_of_events(events: bytes, run_id: RunId, head: str) -> str | None:
    history = fold_events(parse_lines(events))
    if history.run_id != run_id:
        return f"{_OF_ANOTHER} {history.run_id}"
    return None if history.head == head else f"is as of event {history.seq}, and the run went on"


def _hash(archive: Archived, name: str) -> str:
    digest = hashlib.sha256()
    with archive.packed.open(archive.entries[name]) as reading:
        while chunk := reading.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
