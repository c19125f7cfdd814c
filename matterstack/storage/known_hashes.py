"""Hashes of large files that were made before an engine ended: the next one goes on with the file after them.

Derived, and in the root's private folder, where no job leaves anything: a hash is believed as long as size,
times and inode of its file are what they were.  (``ctime`` is among them, which nobody can set back.)
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

import attrs

from matterstack.storage.files import replace_derived
from matterstack.storage.modes import make_folders
from matterstack.storage.small_files import read_small

FOLDER: Final = "hashed"
"""Name of the folder in the root's private one."""
LEAST_BYTES: Final = 1 << 30
"""Smaller files are hashed again in a moment."""
SETTLED_AFTER_NS: Final = 2_000_000_000
"""A file changed less than so long ago may change once more without another time of change."""
KEPT_S: Final = 7 * 24 * 3600.0
_MOST_BYTES: Final = 1000


@attrs.frozen
class KnownHashes:
    """The hashes of one root.  Blocking; that one cannot be kept or read does no harm."""

    folder: Path

    def find(self, path: Path, status: os.stat_result) -> str | None:
        """The SHA-256 of a file, if it was hashed as it is now."""
        if status.st_size < LEAST_BYTES:
            return None
        try:
            *key, sha256 = json.loads(read_small(self._place(path), _MOST_BYTES))
        except (OSError, ValueError, TypeError):
            return None
        return sha256 if key == _key(status) and isinstance(sha256, str) else None

    def keep(self, path: Path, status: os.stat_result, sha256: str) -> None:
        """Remember the hash of a large file that has been as it is for long enough."""
        age_ns = time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns)
        if status.st_size < LEAST_BYTES or age_ns < SETTLED_AFTER_NS:
            return
        with suppress(OSError):
            make_folders(self.folder)
            for old in self.folder.iterdir():
                if old.stat().st_mtime < time.time() - KEPT_S:
                    old.unlink()
            replace_derived(self._place(path), json.dumps([*_key(status), sha256]).encode())

    def _place(self, path: Path) -> Path:
        return self.folder / f"{hashlib.sha256(os.fsencode(path)).hexdigest()[:24]}.json"


def _key(status: os.stat_result) -> list[int]:
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev]
