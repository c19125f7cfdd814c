"""Files below a folder, and nowhere else.

Jobs, people and instruments write into a run's folder, and may put anything there: a symbolic link to
``/etc`` in the place of a folder, a FIFO in the place of a file, and another thing a moment later.  So
nothing here checks a path and then uses it.  Each component is opened relative to the one before, without
following a link, and all that is asked about a file is asked of what was opened.

The folder itself is trusted, and so is the way to it: a user may well keep ``runs`` on another disk.  What
lies in it is not.

A hard link *is* the file: it is read like any other, and can be made only by who may open that file anyway.
Nothing is ever written through one, since a file that is written is always a new file.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import attrs

from matterstack.core.file_names import MOST_DEPTH
from matterstack.storage.files import chunks, end_sparse, write_all, write_sparse
from matterstack.storage.layout import split_at_run
from matterstack.storage.modes import file_mode, folder_mode, give, make_folders

MOST_LINKS: Final = 40
"""As many as the kernel follows: path_resolution(7)."""
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# O_NONBLOCK: no writer of a FIFO is waited for.  O_NOCTTY: no terminal is taken.
_READ: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
_APPEND: Final = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
_OTHER_KINDS: Final = (errno.ELOOP, errno.ENXIO, errno.ENODEV)
"""What opening a link, a socket, or a device without a driver ends with."""
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_NO_SECOND_NAMES: Final = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS)
_PARTS: Final = itertools.count()


class ConfinementError(OSError):
    """What lies there is not what may be used: a link, no regular file, or a way out of the folder."""


@attrs.frozen
class Confined:
    """An open folder that nothing leads out of.

    Names are relative to it, with ``/`` between their components.  All methods raise `ConfinementError` where
    a name leads out of the folder or to something of the wrong kind, and OSError as the kernel does.  None
    of them waits for another process.
    """

    descriptor: int

    # ---- going down ----

    @contextmanager
    def folder(self, name: str = "", *, make: bool = False) -> Iterator[Confined]:
        """Open a folder in it; ``make``: as well those that are not there yet."""
        descriptor = os.dup(self.descriptor)
        try:
            for part in _components(name):
                inner = _open_folder(descriptor, part, make=make)
                os.close(descriptor)
                descriptor = inner
            yield Confined(descriptor)
        finally:
            os.close(descriptor)

    @contextmanager
    def _place(self, name: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
        """Where the last component of a name lies."""
        parts = _components(name)
        if not parts:
            raise ConfinementError(errno.EINVAL, "is no file name", name)
        with self.folder("/".join(parts[:-1]), make=make) as parent:
            yield parent.descriptor, parts[-1]

    # ---- reading ----

    def open_file(self, name: str) -> int:
        """Open a regular file for reading; the caller closes the descriptor."""
        with self._place(name) as (parent, last):
            return _open_regular(parent, last, name)

    def open_linked_file(self, name: str) -> int:
        """Like `open_file`, but follow symbolic links as long as they stay inside of the folder."""
        trail = [os.dup(self.descriptor)]
        left = deque(_linked_components(name))
        links = 0
        try:
            while left:
                part = left.popleft()
                if part == "..":
                    os.close(trail.pop())
                    if not trail:
                        raise ConfinementError(errno.EXDEV, "leads out of the folder", name)
                elif (target := _link_target(trail[-1], part)) is not None:
                    links += 1
                    if links > MOST_LINKS:
                        raise ConfinementError(errno.ELOOP, "is a symbolic link that leads nowhere", name)
                    left.extendleft(reversed(_linked_components(target)))
                elif left:
                    trail.append(_open_folder(trail[-1], part))
                else:
                    return _open_regular(trail[-1], part, name)
            raise ConfinementError(errno.EISDIR, "is no regular file", name)
        finally:
            for descriptor in trail:
                os.close(descriptor)

    def read(self, name: str, most_bytes: int) -> bytes:
        """Read a regular file, at most so much of it."""
        descriptor = self.open_file(name)
        try:
            return b"".join(chunks(descriptor, most_bytes))
        finally:
            os.close(descriptor)

    def size_of(self, name: str) -> int:
        """Size in bytes of a regular file, as it is now."""
        with self._place(name) as (parent, last):
            found = os.stat(last, dir_fd=parent, follow_symlinks=False)
        _require_kind(found, name)
        return found.st_size

    def exists(self, name: str) -> bool:
        """Whether anything has this name; of a link, whether the link is there."""
        try:
            with self._place(name) as (parent, last):
                os.stat(last, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def names(self) -> Iterator[str]:
        """Names of all that lies in it, whatever it is."""
        with os.scandir(self.descriptor) as entries:
            yield from (entry.name for entry in entries)

    def own_files(self) -> list[str]:
        """Names of the regular files that lie in it itself."""
        return self._listed("")[0]

    def regular_files(
        self, leave_out: frozenset[str] = frozenset(), too_deep: Callable[[str], None] | None = None
    ) -> Iterator[str]:
        """Names of all regular files in it, and in the folders in it; links do not count.

        What comes and goes meanwhile may be missing.

        Args:
            leave_out: names at the top that are passed over.
            too_deep: told of folders whose files would lie deeper than names may go; they are passed over.
        """
        folders = [""]
        while folders:
            prefix = folders.pop()
            try:
                files, inner = self._listed(prefix)
            except (ConfinementError, FileNotFoundError):
                if not prefix:
                    raise
                continue  # it was a folder when its parent was read
            passed_over = leave_out if not prefix else frozenset()
            if too_deep is not None and inner and prefix.count("/") + 2 > MOST_DEPTH:
                for name in inner:
                    too_deep(prefix + name)
                inner = []
            folders.extend(f"{prefix}{name}/" for name in inner if name not in passed_over)
            yield from (prefix + name for name in files if name not in passed_over)

    def _listed(self, prefix: str) -> tuple[list[str], list[str]]:
        files: list[str] = []
        folders: list[str] = []
        with self.folder(prefix) as folder, os.scandir(folder.descriptor) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.name)
                elif entry.is_file(follow_symlinks=False):
                    files.append(entry.name)
        return files, folders

    # ---- writing ----

    # Modes are the most that a file may have: it is as open as its folder, see `matterstack.storage.modes`.

    def create_file(self, name: str, mode: int = 0o666) -> int:
        """Make a new regular file, in the place of an old one, and open it for writing.

        Folders on the way are made.  What is no regular file is left in its place and refused.
        """
        with self._place(name, make=True) as (parent, last):
            try:
                return _create(parent, last, _CREATE, mode)
            except FileExistsError:
                # Not even truncated: by another name it may be a file outside.
                if not stat.S_ISREG(os.stat(last, dir_fd=parent, follow_symlinks=False).st_mode):
                    raise ConfinementError(
                        errno.EEXIST, "is there already, and no regular file", name
                    ) from None
                os.unlink(last, dir_fd=parent)
                return _create(parent, last, _CREATE, mode)

    def write(self, name: str, data: bytes, mode: int = 0o666) -> None:
        """Write a file that can be made again, so that a power cut may take it or leave a part."""
        descriptor = self.create_file(name, mode)
        try:
            write_all(descriptor, data)
        finally:
            os.close(descriptor)

    def append_to(self, name: str, mode: int = 0o666) -> int:
        """Open a log for writing at its end, made if need be; the caller closes the descriptor."""
        with self._place(name, make=True) as (parent, last):
            try:
                return _create(parent, last, _CREATE | os.O_APPEND, mode)
            except FileExistsError:
                _require_kind(os.stat(last, dir_fd=parent, follow_symlinks=False), name)
            descriptor = _open_quietly(last, _APPEND, parent, name)
            if os.fstat(descriptor).st_nlink > 1:
                os.close(descriptor)
                raise ConfinementError(errno.EMLINK, "has another name (a hard link), maybe outside", name)
            return descriptor

    def replace(self, name: str, data: bytes, mode: int = 0o666) -> None:
        """Put a whole file in the place of whatever has this name (but for a folder).

        A reader sees all of the old or all of the new.  After it returns the bytes survive power loss.
        """
        with self._place(name, make=True) as (parent, last):
            part = _part_name()
            descriptor = Confined(parent).create_file(part, mode)
            try:
                try:
                    write_all(descriptor, data)
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
                os.rename(part, last, src_dir_fd=parent, dst_dir_fd=parent)
            except OSError:  # a full disk, or a folder of this name: nothing is left behind
                with suppress(OSError):
                    os.unlink(part, dir_fd=parent)
                raise
            os.fsync(parent)

    def remove(self, name: str) -> None:
        """Take a file away, or a link; not a folder."""
        with self._place(name) as (parent, last):
            os.unlink(last, dir_fd=parent)

    def rename(self, old: str, new: str) -> None:
        """Give what lies in it, whatever it is, another name; durable.

        Raises:
            FileExistsError: the new name is taken.
        """
        with self._place(old) as (old_parent, old_last), self._place(new, make=True) as (parent, last):
            if Confined(parent).exists(last):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), new)
            os.rename(old_last, last, src_dir_fd=old_parent, dst_dir_fd=parent)
            os.fsync(parent)

    def take_in(self, source: Confined, old: str, new: str) -> None:
        """Move a regular file of another folder into it, in the place of whatever has this name but a folder.

        What had the name is not written to: by another name it may be a file outside.
        """
        with source._place(old) as (old_parent, old_last), self._place(new, make=True) as (parent, last):
            reading = source.open_file(old)
            try:
                os.rename(old_last, last, src_dir_fd=old_parent, dst_dir_fd=parent)
                _open_as_its_folder(reading, parent)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                _copy_in(reading, parent, last)
                os.unlink(old_last, dir_fd=old_parent)
            finally:
                os.close(reading)

    def share(self, source: Confined, old: str, new: str) -> None:
        """Give a regular file of another folder a second name in it, in the place of another file.

        Where the disk has no second names, or it is another disk, it gets a copy.  Either is as open as this
        folder.
        """
        with source._place(old) as (old_parent, old_last), self._place(new, make=True) as (parent, last):
            reading = source.open_file(old)
            try:
                there = os.fstat(reading)
                _open_as_its_folder(reading, parent)
            finally:
                os.close(reading)
            with suppress(FileNotFoundError):
                if os.path.samestat(there, os.stat(last, dir_fd=parent, follow_symlinks=False)):
                    return
            part = _part_name()
            try:
                os.link(old_last, part, src_dir_fd=old_parent, dst_dir_fd=parent, follow_symlinks=False)
            except OSError as error:
                if error.errno not in _NO_SECOND_NAMES:
                    raise
                reading = source.open_file(old)
                try:
                    _copy_in(reading, parent, last)
                finally:
                    os.close(reading)
                return
            _put(part, last, parent)


def _copy_in(reading: int, parent: int, last: str) -> None:
    """Put a copy of an open file in the place of whatever has a name."""
    part = _part_name()
    writing = Confined(parent).create_file(part, _most_open(reading))
    try:
        for chunk in chunks(reading):
            write_sparse(writing, chunk)
        end_sparse(writing)
    finally:
        os.close(writing)
    _put(part, last, parent)


def _open_as_its_folder(descriptor: int, parent: int) -> None:
    """Give a file that came from elsewhere the mode that it would have got, had it been made there."""
    about = os.fstat(parent)
    with suppress(PermissionError):
        give(descriptor, file_mode(about, _most_open(descriptor)), about)


def _most_open(descriptor: int) -> int:
    return 0o777 if os.fstat(descriptor).st_mode & stat.S_IXUSR else 0o666


def _put(part: str, last: str, parent: int) -> None:
    try:
        os.rename(part, last, src_dir_fd=parent, dst_dir_fd=parent)
    except OSError:  # a folder of this name
        with suppress(OSError):
            os.unlink(part, dir_fd=parent)
        raise


def _part_name() -> str:
    return f".{os.getpid()}-{next(_PARTS)}.part"


@contextmanager
def confined(folder: Path, *, make: bool = False) -> Iterator[Confined]:
    """Open a folder.  Where it lies in a run's folder, only that one, and the way to it, is trusted.

    Raises:
        ConfinementError: a symbolic link lies on the way from the run's folder.
        OSError: there is no such folder.
    """
    top, name = split_at_run(folder)
    if make:
        make_folders(top)
    descriptor = os.open(top, _FOLDER)
    try:
        with Confined(descriptor).folder(name, make=make) as inner:
            yield inner
    finally:
        os.close(descriptor)


def open_any_file(path: Path) -> int:
    """Open a regular file that a person named by its full path; links are followed.

    Raises:
        ConfinementError: it is no regular file.
        OSError: it cannot be opened.
    """
    _require_kind(path.stat(), str(path))
    return _require_regular(os.open(path, _READ & ~os.O_NOFOLLOW), str(path))


def _components(name: str) -> list[str]:
    """Split a relative name into its components.

    Raises:
        ConfinementError: it is absolute or holds ``..``, or something that no file name can hold.
    """
    if name.startswith("/"):
        raise ConfinementError(errno.EXDEV, "must not be absolute", name)
    parts = _linked_components(name)
    if ".." in parts:
        raise ConfinementError(errno.EXDEV, "must not hold '..'", name)
    return parts


def _linked_components(name: str) -> list[str]:
    if name.startswith("/"):
        raise ConfinementError(errno.EXDEV, "leads out of the folder", name)
    if "\0" in name:
        raise ConfinementError(errno.EINVAL, "is no file name", name)
    return [part for part in name.split("/") if part not in {"", "."}]


def _open_folder(parent: int, name: str, *, make: bool = False) -> int:
    try:
        if not make:
            return os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=parent)
        return _made_folder(parent, name)
    except OSError as error:
        if error.errno not in {errno.ENOTDIR, errno.ELOOP}:
            raise
        what = "is a symbolic link" if _link_target(parent, name) is not None else "is no folder"
        raise ConfinementError(error.errno, f"{name!r} {what}", name) from None


def _made_folder(parent: int, name: str) -> int:
    """Open a folder that is made if it is not there."""
    about = os.fstat(parent)
    mode = folder_mode(about)
    try:
        os.mkdir(name, mode & 0o777, dir_fd=parent)
    except FileExistsError:
        return os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=parent)
    descriptor = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=parent)
    give(descriptor, mode, about)
    return descriptor


def _create(parent: int, last: str, flags: int, mode: int) -> int:
    """Make a file in an open folder."""
    about = os.fstat(parent)
    wanted = file_mode(about, mode)
    descriptor = os.open(last, flags, wanted, dir_fd=parent)
    give(descriptor, wanted, about)
    return descriptor


def _link_target(parent: int, name: str) -> str | None:
    try:
        return os.readlink(name, dir_fd=parent)
    except OSError as error:
        if error.errno in {errno.EINVAL, errno.ENOENT}:
            return None
        raise


def _open_regular(parent: int, last: str, name: str) -> int:
    # Opening a device may do something, and opening a FIFO lets its writer go on: look first.  What counts
    # is what is asked of the file that was opened.
    _require_kind(os.stat(last, dir_fd=parent, follow_symlinks=False), name)
    return _open_quietly(last, _READ, parent, name)


def _open_quietly(last: str, flags: int, parent: int, name: str) -> int:
    try:
        descriptor = os.open(last, flags, dir_fd=parent)
    except OSError as error:
        if error.errno in _OTHER_KINDS:
            raise ConfinementError(error.errno, "is no regular file", name) from None
        raise
    return _require_regular(descriptor, name)


def _require_regular(descriptor: int, name: str) -> int:
    try:
        _require_kind(os.fstat(descriptor), name)
    except ConfinementError:
        os.close(descriptor)
        raise
    return descriptor


def _require_kind(found: os.stat_result, name: str) -> None:
    if stat.S_ISLNK(found.st_mode):
        raise ConfinementError(errno.ELOOP, "is a symbolic link", name)
    if not stat.S_ISREG(found.st_mode):
        raise ConfinementError(errno.EINVAL, "is no regular file", name)
