"""Writes to files, each one small and whole.  Nothing else opens a run's files for writing."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from matterstack.storage.modes import create

CHUNK_BYTES: Final = 1 << 20


def write_durable(path: Path, data: bytes) -> None:
    """Replace ``path`` so that a reader sees all of the old or all of the new.

    After it returns the bytes survive power loss, not only ``kill -9``.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    descriptor = create(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    sync_folder(path.parent)


def write_derived(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Write a file that can be made again from the store, so that a power cut may take it.

    Args:
        mode: the most that it may have; see `matterstack.storage.modes`.
    """
    descriptor = create(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    try:
        write_all(descriptor, data)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of it: a disk that becomes full takes a part without complaint, and refuses only the rest."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def replace_derived(path: Path, data: bytes) -> None:
    """Replace a derived file that others may be reading: they see the old or the new."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    write_derived(part, data)
    part.replace(path)


def sync_folder(path: Path) -> None:
    """Make renames and new names in a folder survive power loss."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def chunks(descriptor: int, most_bytes: int | None = None) -> Iterator[bytes]:
    """Content of an open file up to its size as it is now, and at most so much of it.

    A file that somebody makes longer all the time comes to an end all the same.
    """
    left = os.fstat(descriptor).st_size
    if most_bytes is not None:
        left = min(left, most_bytes)
    while left > 0 and (chunk := os.read(descriptor, min(left, CHUNK_BYTES))):
        left -= len(chunk)
        yield chunk


def hash_and_sync(descriptor: int) -> tuple[int, str]:
    """Return size in bytes and SHA-256 of an open file, after making sure that it is on the disk."""
    digest = hashlib.sha256()
    size = 0
    os.fsync(descriptor)
    for chunk in chunks(descriptor):
        digest.update(chunk)
        size += len(chunk)
    return size, digest.hexdigest()


def json_bytes(value: Any) -> bytes:  # noqa: ANN401  any JSON
    """Format JSON for files that people read."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False).encode() + b"\n"
