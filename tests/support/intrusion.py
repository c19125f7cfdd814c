"""See whether anything in a folder is opened, read or changed, by whichever way."""

from __future__ import annotations

import ctypes
import os
import signal
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

import attrs

_ALL_EVENTS: Final = 0x00000FFF  # inotify(7): IN_ALL_EVENTS, opening and reading included
_IN_CLOEXEC, _IN_NONBLOCK = os.O_CLOEXEC, os.O_NONBLOCK
_EVENT: Final = struct.Struct("iIII")
_RENAME_EXCHANGE: Final = 2
_AT_FDCWD: Final = -100
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


@attrs.frozen
class Watch:
    """Watches a folder, all folders in it, and all files in them."""

    _descriptor: int

    def events(self) -> int:
        """How much has happened since the last call."""
        try:
            data = os.read(self._descriptor, 1 << 20)
        except BlockingIOError:
            return 0
        count = position = 0
        while position < len(data):
            length = _EVENT.unpack_from(data, position)[3]
            position += _EVENT.size + length
            count += 1
        return count


@contextmanager
def watching(folder: Path) -> Iterator[Watch]:
    """Watch from now on."""
    paths = [folder, *folder.rglob("*")]
    descriptor = _LIBC.inotify_init1(_IN_CLOEXEC | _IN_NONBLOCK)
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), "inotify_init1")
    try:
        for path in paths:
            if _LIBC.inotify_add_watch(descriptor, os.fsencode(path), _ALL_EVENTS) < 0:
                raise OSError(ctypes.get_errno(), "inotify_add_watch", str(path))
        yield Watch(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """Fail, instead of hanging, when a call blocks: an open that waits for the other end of a FIFO."""

    def fail(_number: int, _frame: FrameType | None) -> None:
        raise AssertionError(f"it blocked for {seconds} s")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def exchange(one: Path, other: Path) -> None:
    """Let two names change places, in one step: renameat2(2)."""
    done = _LIBC.renameat2(
        _AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), ctypes.c_uint(_RENAME_EXCHANGE)
    )
    if done != 0:
        raise OSError(ctypes.get_errno(), "renameat2", str(one))


WATCHED_CALLS: Final = ("open", "stat", "mkdir", "readlink", "unlink", "rename", "scandir")


@contextmanager
def before_call(number: int, act: Callable[[], None]) -> Iterator[list[str]]:
    """Do something right before the ``number``-th (from 0) system call on a path; yields the calls made."""
    originals = {name: getattr(os, name) for name in WATCHED_CALLS}
    calls: list[str] = []

    def wrapped(name: str) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            calls.append(name)
            if len(calls) - 1 == number:
                act()
            return originals[name](*args, **kwargs)

        return call

    for name in WATCHED_CALLS:
        setattr(os, name, wrapped(name))
    try:
        yield calls
    finally:
        for name, original in originals.items():
            setattr(os, name, original)
