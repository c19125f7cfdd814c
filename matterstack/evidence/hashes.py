"""Hashes of large files, so that none is read twice: a derived file beside the bundle."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any, Final

import attrs

from matterstack.storage.files import replace_derived

CACHE: Final = ".evidence-hashes.json"
SETTLED_AFTER_NS: Final = 2_000_000_000
"""A file changed less than so long ago may change once more without another time of change."""

_Key = tuple[int, int, int, int]


@attrs.define
class HashCache:
    """SHA-256 by path, as long as size, times and inode stay what they were.

    ``ctime`` is among them: unlike ``mtime`` nobody can set it back.
    """

    path: Path
    _entries: dict[str, tuple[_Key, str]] = attrs.field(factory=dict)
    _used: dict[str, tuple[_Key, str]] = attrs.field(factory=dict)
    _lock: threading.Lock = attrs.field(factory=threading.Lock)

    @classmethod
    def load(cls, folder: Path) -> HashCache:
        """Read the cache of a run; one that cannot be read is empty."""
        cache = cls(folder / CACHE)
        try:
            document: Any = json.loads(cache.path.read_bytes())
            for name, (size, mtime, ctime, inode, digest) in document.items():
                cache._entries[name] = ((int(size), int(mtime), int(ctime), int(inode)), str(digest))
        except (OSError, ValueError, TypeError, AttributeError):
            cache._entries.clear()
        return cache

    def find(self, name: str, status: os.stat_result) -> str | None:
        """The hash of a file, if it was hashed since it last changed."""
        with self._lock:
            entry = self._entries.get(name)
            if entry is None or entry[0] != _key(status):
                return None
            self._used[name] = entry
            return entry[1]

    def keep(self, name: str, status: os.stat_result, digest: str) -> None:
        """Remember a hash, if the file has been as it is for long enough."""
        if time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) < SETTLED_AFTER_NS:
            return
        with self._lock:
            self._used[name] = (_key(status), digest)

    def save(self) -> None:
        """Write what was used, if there is anything new.  No room for it is no failure."""
        if self._used == self._entries:
            return
        document = {name: [*key, digest] for name, (key, digest) in sorted(self._used.items())}
        try:
            replace_derived(self.path, json.dumps(document).encode())
        except OSError:
            return


def _key(status: os.stat_result) -> _Key:
    return (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
