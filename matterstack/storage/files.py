"""Writes to files, each one small and whole.  Nothing else opens a run's files for writing."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import attrs

from matterstack.storage.modes import create

CHUNK_BYTES: Final = 1 << 20
_BLOCK_BYTES: Final = 512
"""Unit of ``st_blocks``, whatever the file system's own blocks are: stat(2)."""


class Hole(bytes):
    """A chunk of a file that lies in a hole: nothing but zeros, and nothing that was read."""


_HOLE: Final = Hole(CHUNK_BYTES)


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
    """Content of an open file from where it stands to its size as it is now, and at most so much of it.

    A file that somebody makes longer all the time comes to an end all the same.  Holes are not read: what
    comes for them is a `Hole`.
    """
    status = os.fstat(descriptor)
    position = os.lseek(descriptor, 0, os.SEEK_CUR) if stat.S_ISREG(status.st_mode) else 0
    end = status.st_size if most_bytes is None else min(status.st_size, position + most_bytes)
    if status.st_blocks * _BLOCK_BYTES >= status.st_size:
        yield from _read_to(descriptor, position, end)
        return
    while position < end:
        begin, stop = _next_data(descriptor, position, end)
        yield from _holes(begin - position)
        if begin < stop:
            os.lseek(descriptor, begin, os.SEEK_SET)
            arrived = begin
            for chunk in _read_to(descriptor, begin, stop):
                arrived += len(chunk)
                yield chunk
            if arrived < stop:
                return  # somebody made it shorter
        position = stop
    os.lseek(descriptor, max(position, end), os.SEEK_SET)


def _read_to(descriptor: int, position: int, end: int) -> Iterator[bytes]:
    left = end - position
    while left > 0 and (chunk := os.read(descriptor, min(left, CHUNK_BYTES))):
        left -= len(chunk)
        yield chunk


def _next_data(descriptor: int, position: int, end: int) -> tuple[int, int]:
    """Where the next data begins and stops, within an end; both are that where only a hole is left."""
    try:
        begin = os.lseek(descriptor, position, os.SEEK_DATA)
        stop = os.lseek(descriptor, begin, os.SEEK_HOLE)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return end, end
        return position, end  # a file system that does not tell holes
    return min(begin, end), min(stop, end)


def _holes(length: int) -> Iterator[bytes]:
    for _ in range(length // CHUNK_BYTES):
        yield _HOLE
    if rest := length % CHUNK_BYTES:
        yield Hole(rest)


def write_sparse(descriptor: int, data: bytes) -> None:
    """Write like `write_all`, but make a hole of a chunk that is one; `end_sparse` comes after the last."""
    if isinstance(data, Hole):
        os.lseek(descriptor, len(data), os.SEEK_CUR)
    else:
        write_all(descriptor, data)


def end_sparse(descriptor: int) -> None:
    """Give a new file, which may end with a hole, its size."""
    os.ftruncate(descriptor, os.lseek(descriptor, 0, os.SEEK_CUR))


@attrs.define
class FileHash:
    """Size and SHA-256 of a file, some of it at a time; nothing is open in between.

    It goes as far as the file was long when it was begun.

    Raises (its methods):
        ReplacedError: another file has its name by now.
        OSError: it cannot be read.
    """

    size_bytes: int = 0
    done_bytes: int = 0
    is_whole: bool = False
    _length: int | None = None
    _identity: tuple[int, int] | None = None
    _digest: Any = attrs.field(factory=hashlib.sha256)

    @property
    def sha256(self) -> str:
        """Of what was read so far."""
        return str(self._digest.hexdigest())

    def advance(self, descriptor: int, most_bytes: int) -> int:
        """Read some more of it, then make sure that the whole is on the disk; returns how much was read."""
        status = os.fstat(descriptor)
        identity = (status.st_dev, status.st_ino)
        if self._identity is None or self._length is None:
            self._identity, self._length = identity, status.st_size
        if identity != self._identity:
            raise ReplacedError(errno.ESTALE, "was replaced while it was looked at")
        os.lseek(descriptor, self.done_bytes, os.SEEK_SET)
        begun_at = self.done_bytes
        for chunk in chunks(descriptor, min(most_bytes, self._length - self.done_bytes)):
            self._digest.update(chunk)
            self.done_bytes += len(chunk)
        read = self.done_bytes - begun_at
        if self.done_bytes == self._length or (not read and most_bytes):  # somebody made it shorter
            os.fsync(descriptor)
            self.size_bytes, self.is_whole = self.done_bytes, True
        return read


class ReplacedError(OSError):
    """A file is not the one that was opened before."""


def hash_and_sync(descriptor: int, between: Callable[[int], None] = lambda _: None) -> tuple[int, str]:
    """Return size in bytes and SHA-256 of an open file, after making sure that it is on the disk.

    Args:
        between: told after each few MiB how much more was read; what it raises ends the reading.
    """
    hashed = FileHash()
    while not hashed.is_whole:
        between(hashed.advance(descriptor, 4 * CHUNK_BYTES))
    return hashed.size_bytes, hashed.sha256


def json_bytes(value: Any) -> bytes:  # noqa: ANN401  any JSON
    """Format JSON for files that people read."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False).encode() + b"\n"
