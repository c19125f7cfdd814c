"""Blocks of TCP ports, reserved over all processes of this machine.

A daemon is given its ports in a configuration file, before it listens: between the choice and the
listening another test session must not choose the same.  A reservation is a symbolic link in /tmp that tells
whose it is.  It is void, and is taken over, when the process that made it has ended and nothing runs in its
owner's folder.
"""

import fcntl
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from zlib import crc32

from tests.support.process import Process

BLOCK: Final = 40  # ports in a block
_FIRST: Final = 12000  # all blocks are below the ports that Linux hands out by itself, from 32768
_BLOCKS: Final = 200
# One place for all sessions, whatever their TMPDIR.
_RESERVATIONS: Final = Path("/tmp")  # noqa: S108


def reserve_ports(owner: Path, is_in_use: Callable[[Path], bool]) -> int:
    """Reserve a block of ports for the folder ``owner``, and return the first of them.

    Args:
        owner: an absolute path.  The same folder gets the same block, if that is free.
        is_in_use: tells of another owner's folder whether something runs there.

    Raises:
        OSError: no block is free.
    """
    with _only_one_at_a_time():
        start = crc32(os.fsencode(owner))
        for i in range(_BLOCKS):
            base = _FIRST + (start + i) % _BLOCKS * BLOCK
            link = _link(base)
            if not _is_reserved(link, is_in_use) and all(map(_is_free, range(base, base + BLOCK))):
                link.unlink(missing_ok=True)
                myself = Process.of(os.getpid())
                assert myself is not None
                link.symlink_to(f"{myself.pid}:{myself.start_time}:{owner}")
                return base
    raise OSError(f"no free block of {BLOCK} ports from {_FIRST} on")


def release_ports(owner: Path, base: int) -> None:
    """Give a block back; does nothing when it is not reserved for ``owner`` (any more)."""
    with _only_one_at_a_time():
        reservation = _read(_link(base))
        if reservation is not None and reservation[1] == owner:
            _link(base).unlink()


def reserved_ports(owner: Path) -> list[int]:
    """The first ports of all blocks that are reserved for ``owner``."""
    bases = (_FIRST + i * BLOCK for i in range(_BLOCKS))
    return [base for base in bases if (found := _read(_link(base))) is not None and found[1] == owner]


def _link(base: int) -> Path:
    return _RESERVATIONS / f".matterstack-test-ports-{base}"


def _read(link: Path) -> tuple[Process, Path] | None:
    try:
        pid, start_time, owner = str(link.readlink()).split(":", 2)
    except OSError:
        return None
    return Process(int(pid), int(start_time)), Path(owner)


def _is_reserved(link: Path, is_in_use: Callable[[Path], bool]) -> bool:
    reservation = _read(link)
    if reservation is None:
        return False
    process, owner = reservation
    if process.is_alive or is_in_use(owner):
        return True
    return os.geteuid() not in {0, link.lstat().st_uid}  # void, but another user's: not ours to remove


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of the past do no harm
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@contextmanager
def _only_one_at_a_time() -> Iterator[None]:
    # A lock on the folder itself needs no lock file, which would have to stay there for ever.
    descriptor = os.open(_RESERVATIONS, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
