"""What the evidence in an archive names: all that there is to unpack, with sizes and hashes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from matterstack.core.documents.strict_json import without_twins
from matterstack.core.errors import RefusedError
from matterstack.core.shown_text import brief, shown
from matterstack.evidence.contents import EVENTS, copied_files, payload_file, seal_bytes
from matterstack.evidence.crate.document import CRATE
from matterstack.evidence.crate.graph import file_id
from matterstack.evidence.history import fold_events, parse_lines
from matterstack.evidence.manifest import MANIFEST, SEAL, UNLISTED, parse_manifest
from matterstack.evidence.survey import SURVEY, Survey, parse_survey
from matterstack.evidence.unpacking import Archived


@attrs.frozen
class Contents:
    """Names and hashes of an archive's files, the bundle's before all others, and their size in all."""

    hashes: Mapping[str, str]
    bytes: int


def read_contents(archive: Archived) -> Contents:
    """Read the evidence of an archive, and compare with it what the archive holds.

    Raises:
        UsageError: the evidence is packed as no evidence is.
        RefusedError: it does not fit together, or the archive holds other files than it names.
    """
    listed = _listed(archive)
    survey = _survey(archive, listed)
    hashes = {f"evidence/{path}": digest for path, digest in listed.items()}
    for path in UNLISTED:
        if (name := f"evidence/{path}") in archive.entries:
            hashes[name] = payload_file(archive.document(name)).sha256
    sizes = {f"evidence/{path}": size for path, size in _sizes(archive, survey)}
    for place, output in survey.large():
        hashes[place] = output.sha256
        sizes[place] = output.bytes or 0
    _compare(archive, hashes, sizes)
    return Contents(hashes, sum(archive.entries[name].file_size for name in hashes))


def not_whole(file: Path, problem: str) -> RefusedError:
    """Say what in an archive does not fit."""
    return RefusedError(f"{file} is not whole: {problem}", hint="get another copy of it")


def _listed(archive: Archived) -> dict[str, str]:
    text = archive.document(f"evidence/{MANIFEST}")
    try:
        listed = parse_manifest(text)
    except ValueError as error:
        raise not_whole(archive.file, f"{MANIFEST} cannot be read: {brief(error)}") from None
    if archive.document(f"evidence/{SEAL}") != seal_bytes(text):
        raise not_whole(archive.file, f"{SEAL} does not hold the hash of {MANIFEST}")
    return listed


def _survey(archive: Archived, listed: Mapping[str, str]) -> Survey:
    """Read what the bundle says of its files, after its events: both are what the manifest lists."""
    events = _checked(archive, listed, EVENTS)
    try:
        history = fold_events(parse_lines(events))
    except Exception as error:  # noqa: BLE001  whatever becomes of facts that nobody decided
        raise not_whole(archive.file, f"{EVENTS} cannot be read: {brief(error)}") from None
    found = _checked(archive, listed, SURVEY)
    try:
        survey = parse_survey(found)
    except ValueError as error:
        raise not_whole(archive.file, f"{SURVEY}: {brief(error)}") from None
    for path, run_id in ((EVENTS, history.run_id), (SURVEY, survey.run_id)):
        if run_id != archive.run_id:
            raise not_whole(
                archive.file, f"it has the name of run {archive.run_id}, and {path} is of {run_id}"
            )
    return survey


def _checked(archive: Archived, listed: Mapping[str, str], path: str) -> bytes:
    text = archive.document(f"evidence/{path}")
    if payload_file(text).sha256 != listed.get(path):
        raise not_whole(archive.file, f"{path} is not what {MANIFEST} lists")
    return text


def _sizes(archive: Archived, survey: Survey) -> Iterator[tuple[str, int]]:
    """How large the files of the bundle are, by its crate and, where it speaks of them, by its survey."""
    try:
        crate = archive.document(f"evidence/{CRATE}")
        entities: Any = json.loads(crate, object_pairs_hook=without_twins)["@graph"]
        stated = {entity["@id"]: int(entity["contentSize"]) for entity in entities if "contentSize" in entity}
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise not_whole(archive.file, f"{CRATE} cannot be read: {brief(error)}") from None
    for name in archive.entries:
        top, _, path = name.partition("/")
        if top == "evidence" and (size := stated.get(file_id(path))) is not None:
            yield path, size
    for path, copy in copied_files(survey):
        yield path, copy.bytes


def _compare(archive: Archived, hashes: Mapping[str, str], sizes: Mapping[str, int]) -> None:
    for name in archive.entries.keys() - hashes.keys():
        raise not_whole(archive.file, f"it holds {shown(name)}, which its evidence does not name")
    for name in hashes.keys() - archive.entries.keys():
        raise not_whole(archive.file, f"{shown(name)} is missing")
    for name, size in sizes.items():
        found = archive.entries[name].file_size if name in archive.entries else None
        if name in hashes and found != size:
            raise not_whole(archive.file, f"{shown(name)} has {found} bytes, and its evidence names {size}")
