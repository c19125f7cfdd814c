"""Who may open what MatterStack makes: nobody but the root's owner, unless the root is shared with a group.

What is made is as open as the folder that it is made in, and never open to others, whatever the umask of the
process is: that belongs to the program that MatterStack may be a part of, and is left alone.  So only where
a store or a run begins something is decided, by ``share`` in the root's ``config.json``.  All below follows.

What root makes in the folder of somebody else is given to the owner of that folder, as SQLite does it.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

import attrs

from matterstack.core.documents.root_config import MOST_BYTES, Share, parse_root_config
from matterstack.core.errors import ConfigError
from matterstack.core.ids import RUN_ID_PATTERN

PRIVATE: Final = ".matterstack"
RUNS: Final = "runs"
ROOT_CONFIG: Final = "config.json"
ALL: Final = 0o7777
OTHERS: Final = 0o007
JOB_UMASK: Final = 0o027
SHARED_UMASK: Final = 0o007
GROUP_WRITES: Final = 0o020
_INHERITED: Final = 0o2770
_CLOSED: Final = 0o750
_WRITE: Final = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


@attrs.frozen
class Modes:
    """How open the folders are that everything else lies in.

    Attributes:
        private: mode of the store's folder.
        run: mode of a run's folder, and of the folder of all runs of a workspace.
    """

    private: int
    run: int


MODES: Final = {
    Share.NOBODY: Modes(private=0o700, run=0o750),
    Share.GROUP: Modes(private=0o2770, run=0o2770),
}


def share_of(root: Path) -> Share | None:
    """What the config of a root says; None when it says nothing.

    Raises:
        ConfigError: it cannot be used.
    """
    path = root / ROOT_CONFIG
    try:
        # Nobody waits for the writer of a FIFO.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ConfigError(f"{path}: cannot be read: is no regular file")
            text = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None
    return parse_root_config(str(path), text).share


def job_umask(private: Path) -> int:
    """What jobs of a root leave out of the modes of what they make, as its store's folder shows."""
    try:
        is_shared = private.stat().st_mode & GROUP_WRITES
    except OSError:
        is_shared = 0
    return SHARED_UMASK if is_shared else JOB_UMASK


# ---- making ----


def make_folders(path: Path) -> None:
    """Make a folder, and those on the way to it that are not there yet.

    Raises:
        OSError: it cannot be made, or is no folder.
        ConfigError: as `share_of`, where it is one that this decides about.
    """
    if path.is_dir():
        return
    if os.path.lexists(path):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
    make_folders(path.parent)
    mode, group = _mode_of_new(path)
    try:
        path.mkdir(mode & 0o777)
    except FileExistsError:
        if path.is_dir():
            return  # somebody else was quicker
        raise
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if group is not None and os.fstat(descriptor).st_gid != group:
            os.fchown(descriptor, -1, group)
        give(descriptor, mode, path.parent.stat())
    finally:
        os.close(descriptor)


def _mode_of_new(path: Path) -> tuple[int, int | None]:
    """Mode of a folder that is to be made, and its group, where that is not left to the system."""
    parent = path.parent.stat()
    if (root := _root_of_top(path)) is not None:
        share = share_of(root)
        modes = MODES[share or Share.NOBODY]
        mode = modes.private if path.name == PRIVATE else modes.run
        if share is Share.GROUP:
            return mode, root.stat().st_gid
        kept = share is None and path.name != PRIVATE and is_our_top(path.parent)
        return (folder_mode(parent) if kept else mode), None
    # Of a folder that is not ours nothing is taken over: it may be /tmp.
    shared = parent.st_mode & stat.S_ISGID and parent.st_mode & GROUP_WRITES
    mode = folder_mode(parent)
    return (mode if shared else mode & _CLOSED), None


def _root_of_top(path: Path) -> Path | None:
    """The root that a folder belongs to, where it is one that all else of a store, or of a run, lies in."""
    if path.name == PRIVATE:
        return path.parent
    if is_our_top(path) and len(path.parents) > 3:
        return path.parents[2] if path.name == RUNS else path.parents[3]
    return None


def is_our_top(path: Path) -> bool:
    """Whether a folder is that of a run, or of all runs of a workspace.

    >>> is_our_top(Path("/r/workspaces/w/runs/20260102T030405-abcdef")), is_our_top(Path("/r/workspaces/w"))
    (True, False)
    """
    runs = path.parent if RUN_ID_PATTERN.fullmatch(path.name) else path
    return runs.name == RUNS and len(runs.parents) > 2 and runs.parents[1].name == "workspaces"


def folder_mode(parent: os.stat_result) -> int:
    """Mode of a folder that is made in another."""
    return stat.S_IMODE(parent.st_mode) & _INHERITED


def file_mode(parent: os.stat_result, mode: int = 0o666) -> int:
    """Mode of a file that is made in a folder; ``mode`` is the most that it may have."""
    return mode & stat.S_IMODE(parent.st_mode) & 0o770 | mode & 0o600


def give(descriptor: int, mode: int, parent: os.stat_result) -> None:
    """Give what was just made its mode, where the umask took a part of it; and, made by root, its owner."""
    made = os.fstat(descriptor)
    if made.st_uid != parent.st_uid and made.st_uid == 0:
        with suppress(PermissionError):  # a file system that root owns nothing on
            os.fchown(descriptor, parent.st_uid, parent.st_gid)
            made = os.fstat(descriptor)
            mode |= stat.S_IMODE(made.st_mode) & stat.S_ISGID
    if stat.S_IMODE(made.st_mode) != mode:
        os.fchmod(descriptor, mode)


def open_shared(path: Path, flags: int = 0) -> int:
    """Open a lock or a log, made if need be with the folder that it lies in; the caller closes it.

    Raises:
        OSError: it cannot be opened.
    """
    try:
        return os.open(path, (_WRITE | flags) & ~os.O_CREAT)
    except FileNotFoundError:
        make_folders(path.parent)
    return create(path, _WRITE | flags)


def create(path: Path, flags: int, mode: int = 0o666) -> int:
    """Open a file that is made if it is not there; ``flags`` say how; the caller closes it."""
    parent = os.stat(path.parent)  # noqa: PTH116  hot path
    wanted = file_mode(parent, mode)
    descriptor = os.open(path, flags, wanted)
    try:
        made = os.fstat(descriptor)
        if (made.st_mode & 0o777 != wanted or made.st_uid != parent.st_uid) and made.st_uid in {
            os.geteuid(),
            0,
        }:
            give(descriptor, wanted, parent)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


# ---- changing ----


def change(path: Path, mode: int, group: int | None = None) -> bool:
    """Give a file or folder another mode, and group; False where it is somebody else's, or no such thing.

    Nothing is done through a link, and nothing to a file that has another name, maybe outside.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return False
    try:
        found = os.fstat(descriptor)
        is_plain = stat.S_ISREG(found.st_mode) and found.st_nlink == 1
        if not (is_plain or stat.S_ISDIR(found.st_mode)):
            return False
        try:
            if group is not None and found.st_gid != group:
                os.fchown(descriptor, -1, group)
            if stat.S_IMODE(found.st_mode) != mode or group is not None:
                os.fchmod(descriptor, mode)
        except PermissionError:
            return False
        return True
    finally:
        os.close(descriptor)


def below(folder: Path) -> Iterable[Path]:
    """All that lies in a folder; links are not followed, and what cannot be read is left out."""
    for where, folders, files in os.walk(folder):
        for name in (*folders, *files):
            yield Path(where) / name
