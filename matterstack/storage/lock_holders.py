"""Which processes have locked a file, as the kernel tells: proc_locks(5).  Only people are told by it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import attrs

from matterstack.storage.openness import user_called

LOCKS: Final = Path("/proc/locks")


@attrs.frozen
class LockHolder:
    """A process that has locked a file; ``program`` is empty where it cannot be seen."""

    pid: int
    uid: int
    program: str = ""

    def __str__(self) -> str:
        what = f" ({self.program})" if self.program else ""
        return f"process {self.pid}{what} of {user_called(self.uid)}"


def lock_holders(path: Path) -> list[LockHolder]:
    """The living processes of this machine that have a lock on a file, or on a part of it."""
    try:
        about = path.stat()
        text = LOCKS.read_text()
    except OSError:
        return []
    pids = sorted({pid for pid, place in _locks(text) if _is_of(place, about)})
    return [holder for pid in pids if (holder := _holder(pid)) is not None]


def foreign_holders(path: Path, owner: int) -> list[LockHolder]:
    """Those of them that belong to another user."""
    return [holder for holder in lock_holders(path) if holder.uid != owner]


def _locks(text: str) -> Iterator[tuple[int, str]]:
    for line in text.splitlines():
        words = line.split()
        # One that only waits has an arrow after its number.
        if len(words) >= 6 and words[1] != "->" and words[4].isdecimal():
            yield int(words[4]), words[5]


def _is_of(place: str, about: os.stat_result) -> bool:
    try:
        major, minor, inode = place.split(":")
        device = (int(major, 16), int(minor, 16))
        # Some file systems tell another device here than stat(2) does.
        is_there = device == (os.major(about.st_dev), os.minor(about.st_dev)) or device[0] == 0
        return is_there and int(inode) == about.st_ino
    except ValueError:
        return False


def _holder(pid: int) -> LockHolder | None:
    place = Path(f"/proc/{pid}")
    try:
        return LockHolder(pid, place.stat().st_uid, (place / "comm").read_text(errors="replace").strip())
    except OSError:
        return None
