"""Keep what a campaign used, and what the run does not have of it yet, before any fact speaks of it."""

from __future__ import annotations

import hashlib
from base64 import b64decode
from collections.abc import Mapping
from typing import Any

import attrs

from matterstack.core.run.campaign_code import KnownCode, UsedCode
from matterstack.core.secret_words import Search, listed
from matterstack.storage.confine import confined
from matterstack.storage.layout import RunFolder


@attrs.frozen
class KeptVersions:
    """The files that were used; ``problem``: why nothing that was planned with them may be taken in."""

    code: UsedCode
    problem: str | None = None


@attrs.frozen
class FoundVersions:
    """The same before anything is kept; ``new``: contents that the run's folder lacks, by their hash."""

    kept: KeptVersions
    new: Mapping[str, bytes]


def keep_versions(
    folder: RunFolder, found: Mapping[str, Any], known: KnownCode, search: Search
) -> KeptVersions:
    """Write contents that are not in a run's folder yet, each named by its hash, durably.  Blocking.

    Args:
        found: what the child process answered: see `matterstack.campaign.used_files`.
        search: looks for values of secrets, which are kept nowhere.

    Raises:
        OSError: one cannot be written.
    """
    versions = found_versions(folder, found, known, search)
    write_versions(folder, versions.new)
    return versions.kept


def found_versions(
    folder: RunFolder, found: Mapping[str, Any], known: KnownCode, search: Search
) -> FoundVersions:
    """Look through what was used, as `keep_versions` does, and write nothing."""
    files: dict[str, str] = {}
    unkept: set[str] = set()
    added: set[str] = set()
    secrets: dict[str, str] = {}
    new: dict[str, bytes] = {}
    for path, file in found.items():
        content = None if file["content"] is None else b64decode(file["content"])
        digest = file["sha256"] if content is None else hashlib.sha256(content).hexdigest()
        if search and (names := search.names_in_text(path)):
            secrets["the name of a file"] = listed(names)
            continue
        files[path] = digest
        if file["is_added"]:
            added.add(path)
        if content is None:
            is_kept = known.files.get(path) == digest and path not in known.unkept
        else:
            is_kept = not (search and (names := search.names_in(content)))
            if not is_kept:
                secrets[path] = listed(names)
        if not is_kept:
            unkept.add(path)
        elif content is not None:
            new[digest] = content
    code = UsedCode(files=files, unkept=tuple(sorted(unkept)), added=tuple(sorted(added)))
    return FoundVersions(KeptVersions(code, _problem(folder, secrets)), new)


def write_versions(folder: RunFolder, contents: Mapping[str, bytes]) -> None:
    """Write contents, each named by its hash, into a run's folder, durably.  Blocking.

    Raises:
        OSError: one cannot be written.
    """
    if not contents:
        return
    with confined(folder.versions, make=True) as target:
        for digest, content in contents.items():
            # Also where one of this name is there: nobody knows whether that is whole.
            target.replace(digest, content)


def _problem(folder: RunFolder, secrets: Mapping[str, str]) -> str | None:
    for path, names in secrets.items():
        return (
            f"{folder.path.parents[1] / path} holds the value of {names}, and is kept with the run: take it "
            "out, and read the variable of that name in the job"
        )
    return None
