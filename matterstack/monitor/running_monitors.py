"""Which monitors of a root listen now, and how a link to each is made: files that only their user can read.

Each is locked (flock) by its monitor for as long as that lives, so that what a killed one left is known.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import attrs

from matterstack.monitor.links import new_code
from matterstack.monitor.secret import keep_token, token_file_of
from matterstack.storage.layout import Root

logger: Final = logging.getLogger(__name__)

MOST_BYTES: Final = 4096


@attrs.frozen
class RunningMonitor:
    """A monitor that listens somewhere now.

    Attributes:
        url: its address, without any secret.
        host: the machine on which it listens.
        key: of the links of this start.
    """

    url: str
    port: int
    host: str
    key: str

    @property
    def is_here(self) -> bool:
        """Whether it listens on this machine."""
        return self.host == _here()


@contextmanager
def recorded(root: Root, url: str, port: int, key: str) -> Iterator[None]:
    """Say that a monitor listens, until the block is left.  Blocking, for the time of a small file.

    Where that cannot be written (a full disk), it listens all the same, and no new links to it can be made.
    """
    path = root.monitors / f"{port}-{os.getpid()}.json"
    descriptor: int | None = None
    try:
        descriptor = _opened(path)
        os.write(descriptor, json.dumps(attrs.asdict(RunningMonitor(url, port, _here(), key))).encode())
        _part(path).replace(path)
    except OSError as error:
        logger.warning("%s cannot be written, so that no new links can be made: %s", path, error.strerror)
    try:
        yield
    finally:
        if descriptor is not None:
            for file in (path, _part(path)):
                with suppress(OSError):
                    file.unlink()
            os.close(descriptor)


def _opened(path: Path) -> int:
    """A file that is locked before it has its name, so that nobody takes it for one that was left behind."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _part(path).unlink(missing_ok=True)
    descriptor = os.open(_part(path), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with suppress(OSError):  # a file system without locks
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return descriptor


def _part(path: Path) -> Path:
    return path.with_suffix(".part")


def running_monitors(root: Root) -> list[RunningMonitor]:
    """Those of this machine that live, and those that other machines say they have.  Blocking.

    A file that somebody else has made, or could have written into, is none: a group that shares the root may
    put one there, and a link would lead to whom it names.
    """
    found = (_living(path) for path in sorted(root.monitors.glob("*.json")))
    return [monitor for monitor in found if monitor is not None]


def new_link(root: Root, monitor: RunningMonitor) -> str:
    """A link to a monitor that listens: it lets one browser in, once.  Blocking.

    Raises:
        StoreError: the token of the root cannot be read.
    """
    token = keep_token(token_file_of(root))
    return link_to(monitor.url, new_code(monitor.key, token, time.time()))


def link_to(url: str, code: str) -> str:
    """What a browser opens.  What stands behind ``#`` is sent to nobody: neither a log nor a proxy has it."""
    return f"{url}/#code={code}"


def _living(path: Path) -> RunningMonitor | None:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        try:
            if not _is_private(os.fstat(file.fileno())):
                return None
            monitor = RunningMonitor(**json.loads(file.read(MOST_BYTES)))
            if monitor.is_here and not _is_locked(file.fileno()):
                path.unlink()
                return None
        except (OSError, ValueError, TypeError):
            return None
    return monitor


def _is_private(found: os.stat_result) -> bool:
    return stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077


def _is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # somebody has the lock, or there are none here
        return True
    return False


def _here() -> str:
    return socket.gethostname()
