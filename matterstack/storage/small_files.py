"""Small files that jobs write, read so that nothing a job leaves in their place can stop the reader."""

from __future__ import annotations

import os
from pathlib import Path

from matterstack.storage.confine import confined, open_any_file
from matterstack.storage.files import chunks


def read_small(path: Path, most_bytes: int) -> bytes:
    """Read a regular file, at most so much of it.

    Symbolic links are not followed, neither in its place nor on the way to it from its run's folder, and no
    writer of a FIFO is waited for.

    Raises:
        OSError: there is no such file, or it is none that can be read.
    """
    with confined(path.parent) as folder:
        return folder.read(path.name, most_bytes)


def read_given(path: Path, most_bytes: int) -> bytes:
    """Read a regular file that a user keeps where it is, at most so much of it.

    Symbolic links are followed, and no writer of a FIFO is waited for.

    Raises:
        OSError: as `read_small`.
    """
    descriptor = open_any_file(path)
    try:
        return b"".join(chunks(descriptor, most_bytes))
    finally:
        os.close(descriptor)
