"""What a task's command printed, for every face.  A job may have put anything in the place of its log."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from matterstack.core.errors import RefusedError
from matterstack.storage.confine import ConfinementError, confined
from matterstack.storage.file_errors import file_errors
from matterstack.storage.files import chunks

BLOCK_BYTES: Final = 64 << 10


def open_log(path: Path) -> int | None:
    """Open a log for reading; None where there is none yet.  The caller closes the descriptor.

    Raises:
        RefusedError: the job put something else in its place, or of a folder on the way.
        StoreError: it cannot be read.
    """
    with file_errors(path):
        try:
            with confined(path.parent) as folder:
                return folder.open_file(path.name)
        except FileNotFoundError:
            return None
        except ConfinementError as error:
            raise RefusedError(
                f"{path}: {error.strerror}", hint="its job put that there; look at it yourself"
            ) from None


def start_of_last(path: Path, lines: int) -> int:
    """Where the last so many lines of a log begin; it is read from its end, and no further.

    Raises:
        RefusedError, StoreError: as `open_log`.
    """
    descriptor = open_log(path)
    if descriptor is None:
        return 0
    try:
        with file_errors(path):
            end = os.fstat(descriptor).st_size
            # The end of the last line begins none.
            wanted = lines + (1 if end and os.pread(descriptor, 1, end - 1) == b"\n" else 0)
            return _after_newline(descriptor, end, wanted) if wanted else end
    finally:
        os.close(descriptor)


def _after_newline(descriptor: int, end: int, count: int) -> int:
    """Where the line begins that so many line ends, counted from the end, come before."""
    while end > 0:
        begin = max(0, end - BLOCK_BYTES)
        block = os.pread(descriptor, end - begin, begin)
        found = block.count(b"\n")
        if found >= count:
            at = len(block)
            for _ in range(count):
                at = block.rindex(b"\n", 0, at)
            return begin + at + 1
        count -= found
        end = begin
    return 0


def added_to(path: Path, position: int) -> Iterator[bytes]:
    """Content of a log from a position on; nothing where there is none yet.

    Raises:
        RefusedError, StoreError: as `open_log`.
    """
    descriptor = open_log(path)
    if descriptor is None:
        return
    try:
        with file_errors(path):
            os.lseek(descriptor, position, os.SEEK_SET)
            yield from chunks(descriptor)
    finally:
        os.close(descriptor)
