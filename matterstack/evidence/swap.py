"""Put a folder that was built aside into the place of another, all at once."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
from functools import cache
from pathlib import Path
from typing import Final

from matterstack.storage.files import sync_folder

_AT_FDCWD: Final = -100
_RENAME_EXCHANGE: Final = 2
_CANNOT: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP})
"""What file systems (and old kernels) answer that do not know how to exchange two names."""


def built_path(final: Path, mark: str) -> Path:
    """Where a folder is built before it gets its name: beside it, since only there renaming is at once."""
    return final.with_name(f".{final.name}.{mark}.part")


def _old_path(final: Path) -> Path:
    return final.with_name(f".{final.name}.old")


def recover(final: Path) -> None:
    """Finish what a process left that died between two renames: the old folder gets its name back."""
    old = _old_path(final)
    if not final.exists() and old.is_dir():
        old.rename(final)


def swap_in(built: Path, final: Path) -> None:
    """Give ``built`` the name ``final``; what had that name is removed afterwards.

    A reader sees all of the old or all of the new.  Only where the file system cannot exchange two names
    is there a moment at which it sees neither, and `recover` mends a crash at that moment.

    After it returns, the new folder survives power loss.

    Raises:
        OSError: nothing was changed.
    """
    _sync_file_system(built)
    if not final.exists():
        built.rename(final)
        replaced = None
    elif _exchange(built, final):
        replaced = built
    else:
        replaced = _old_path(final)
        final.rename(replaced)
        built.rename(final)
    sync_folder(final.parent)
    if replaced is not None:
        shutil.rmtree(replaced)


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names at once: renameat2(2).  False where that is not possible."""
    try:
        renameat2 = _libc().renameat2
    except AttributeError:
        return False
    code = renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE)
    if code == 0:
        return True
    number = ctypes.get_errno()
    if number in _CANNOT:
        return False
    raise OSError(number, os.strerror(number), str(other))


def _sync_file_system(path: Path) -> None:
    """One call for all the files of a bundle: syncfs(2)."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if _libc().syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(path))
    finally:
        os.close(descriptor)
