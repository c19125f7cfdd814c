"""What a run is made from, recorded when it is made: the software that is there, and the campaign's files."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from importlib.metadata import distributions
from pathlib import Path
from typing import Final

import attrs

from matterstack.campaign.git_commit import workspace_commit
from matterstack.core.run.facts import Commit
from matterstack.storage.confine import Confined, ConfinementError, confined
from matterstack.storage.files import write_all
from matterstack.storage.layout import RunFolder, Workspace

MOST_SOURCE_BYTES: Final = 1 << 20
"""Larger files are data; those that jobs are given are recorded with their jobs."""
MOST_SOURCES: Final = 300
MOST_LOOKED_AT: Final = 10_000
"""After so many names no further folder of a workspace is searched for sources."""
OBJECT_SOURCE: Final = "campaign_object.py"
"""Where the code of a host program's object is kept, among the workspace's files."""
_NO_SOURCES: Final = frozenset({"runs", "__pycache__", "node_modules"})


@attrs.frozen
class Origins:
    """Software by name, with its version; the campaign's files by path, with their SHA-256; git's commit."""

    software: Mapping[str, str]
    sources: Mapping[str, str]
    commit: Commit | None


def record_origins(workspace: Workspace, folder: RunFolder, object_source: str = "") -> Origins:
    """Look at this environment, and keep copies of the workspace's files in a run's folder, durably.

    Args:
        object_source: code of the object of a host program that plans the run, where it is one.

    Raises:
        OSError: a copy cannot be written.
    """
    # Before anything is written below the workspace.
    commit = workspace_commit(workspace.path)
    sources = _keep_sources(workspace.path, folder.sources, object_source)
    return Origins(installed_software(), sources, commit)


# ---- software ----


def installed_software() -> dict[str, str]:
    """Versions of Python, of the system, of MatterStack, and of all that is installed beside it, by name."""
    return dict(_installed(tuple(_path_times())))


def _path_times() -> Iterator[tuple[str, int]]:
    """Where distributions are, and when one was last added or removed there."""
    for entry in sys.path:
        with suppress(OSError):
            yield entry, Path(entry).stat().st_mtime_ns


@lru_cache(maxsize=1)
def _installed(_path_times: tuple[tuple[str, int], ...]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for distribution in distributions():
        # Not its ``metadata``: parsing all of them takes ten times as long as reading them.
        text = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
        head = dict(line.partition(": ")[::2] for line in text.partition("\n\n")[0].splitlines())
        if "Name" in head and "Version" in head:
            found.setdefault(head["Name"], head["Version"])  # the first one on the path is imported
    first = {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": platform.platform(),
        "matterstack": found.pop("matterstack", "unknown"),
    }
    return first | dict(sorted(found.items(), key=lambda item: (item[0].lower(), item[0])))


# ---- sources ----


def _keep_sources(workspace: Path, kept: Path, object_source: str) -> dict[str, str]:
    sources: dict[str, str] = {}
    with confined(workspace) as source, confined(kept, make=True) as target:
        for path, data in _contents(source, object_source):
            _write(target, path, data)
            sources[path] = hashlib.sha256(data).hexdigest()
        _sync_folders(target, sources)
    return sources


def _contents(workspace: Confined, object_source: str) -> Iterator[tuple[str, bytes]]:
    paths = _source_paths(workspace)
    if object_source:
        name = OBJECT_SOURCE
        while name in paths:
            name = f"another_{name}"
        yield name, object_source.encode()
    for path in paths:
        data = _content(workspace, path)
        if data is not None:
            yield path, data


def _source_paths(workspace: Confined) -> list[str]:
    """The campaign itself, then what lies nearest to it; nothing hidden, no links and no runs."""
    found: list[str] = []
    folders = deque([""])
    looked_at = 0
    while folders and len(found) < MOST_SOURCES and looked_at < MOST_LOOKED_AT:
        prefix = folders.popleft()
        try:
            with workspace.folder(prefix) as folder, os.scandir(folder.descriptor) as scan:
                entries = sorted(scan, key=_campaign_first)
                looked_at += len(entries)
                entries = [entry for entry in entries if not is_passed_over(entry.name)]
                found += [prefix + entry.name for entry in entries if entry.is_file(follow_symlinks=False)]
                folders += [
                    f"{prefix}{entry.name}/" for entry in entries if entry.is_dir(follow_symlinks=False)
                ]
        except (ConfinementError, FileNotFoundError, PermissionError):
            continue  # what cannot be read cannot have been used
    return found[:MOST_SOURCES]


def _campaign_first(entry: os.DirEntry[str]) -> tuple[bool, bytes]:
    return entry.name != "campaign.py", os.fsencode(entry.name)


def is_passed_over(name: str) -> bool:
    """Whether a file or folder of a workspace is no source, by its name."""
    return name.startswith(".") or name.endswith((".pyc", "~")) or name in _NO_SOURCES


def _content(workspace: Confined, path: str) -> bytes | None:
    """All of a file; None when it is too large, or cannot be read any more."""
    try:
        data = workspace.read(path, MOST_SOURCE_BYTES + 1)
    except (ConfinementError, FileNotFoundError, PermissionError):
        return None
    return data if len(data) <= MOST_SOURCE_BYTES else None


def _write(target: Confined, path: str, data: bytes) -> None:
    descriptor = target.create_file(path)
    try:
        write_all(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folders(target: Confined, paths: Mapping[str, str]) -> None:
    folders = {path[: cut + 1] for path in paths for cut in range(len(path)) if path[cut] == "/"}
    for name in ("", *folders):
        with target.folder(name) as folder:
            os.fsync(folder.descriptor)
