"""What an error of the file system means to people: one sentence that names the file, and what to do."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from matterstack.core.errors import DiskFullError, MatterStackError, RefusedError, StoreError
from matterstack.storage.confine import ConfinementError

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_CLOSED: Final = (errno.EACCES, errno.EPERM)


def file_error(path: Path, error: OSError) -> MatterStackError:
    """Say what is wrong with a file or folder of a run.

    A thing of the wrong kind is refused (`RefusedError`); a disk that does not do what it should is a
    `StoreError`, and one without room a `DiskFullError`.

    >>> str(file_error(Path("/runs/r/operators/a"), PermissionError(errno.EACCES, "Permission denied")))
    '/runs/r/operators/a: Permission denied'
    """
    if error.errno in _FULL:
        return DiskFullError(f"{path}: the disk is full", hint="make room; nothing is lost")
    if isinstance(error, ConfinementError):
        return RefusedError(
            f"{path}: {error.strerror}",
            hint="take it away: whatever lies there, nothing is read or written through it",
        )
    hint = ""
    if error.errno in _CLOSED:
        hint = f"it must be readable and writable for you ({_owner(path)})"
    elif error.errno == errno.EROFS:
        hint = "the disk must be mounted for writing"
    elif error.errno in {errno.EISDIR, errno.ENOTDIR}:
        hint = "take away what lies in its place"
    return StoreError(f"{path}: {error.strerror or error}", hint=hint)


def _owner(path: Path) -> str:
    for place in (path, *path.parents):
        try:
            found = os.lstat(place)
        except OSError:
            continue
        return f"{place} belongs to user {found.st_uid} and has mode {found.st_mode & 0o7777:o}"
    return "nothing of it can be looked at"


@contextmanager
def file_errors(path: Path) -> Iterator[None]:
    """Raise what `file_error` makes of an OSError; all else comes through."""
    try:
        yield
    except OSError as error:
        raise file_error(path, error) from error
