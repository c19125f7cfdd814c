"""Small files that jobs write, read so that nothing a job leaves in their place can stop the reader."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def read_small(path: Path, most_bytes: int) -> bytes:
    """Read a regular file, at most so much of it.

    Symbolic links are not followed, and no writer of a FIFO is waited for.

    Raises:
        OSError: there is no such file, or it is none that can be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "is no regular file", str(path))
        return _read(descriptor, most_bytes)
    finally:
        os.close(descriptor)


def _read(descriptor: int, most_bytes: int) -> bytes:
    parts: list[bytes] = []
    while most_bytes > 0 and (part := os.read(descriptor, most_bytes)):
        parts.append(part)
        most_bytes -= len(part)
    return b"".join(parts)
