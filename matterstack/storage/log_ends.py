"""What a failed job printed last, read from its logs: see `matterstack.core.last_words`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from matterstack.core.last_words import MOST_BYTES, last_lines, said
from matterstack.core.secret_words import Search
from matterstack.storage.confine import Confined, confined
from matterstack.storage.files import chunks

STDERR: Final = "stderr.log"
_IN_TURN: Final = (STDERR, "stdout.log", "scheduler.log")
"""The first of these with anything to say is asked."""
_MARGIN_BYTES: Final = 12 << 10
"""So much more is read: colours, and bars of progress that were written over, are left out of it."""
_MOST_SAID_BYTES: Final = 16 << 10


def read_last_words(folder: Path, search: Search) -> str:
    """The last lines that a job printed; empty where it printed nothing, or nobody can look.  Blocking.

    It costs the same for a log of any length.
    """
    try:
        with confined(folder) as inside:
            for name in _IN_TURN:
                if words := _last_lines(inside, name, search):
                    return words
    except OSError:
        pass
    return ""


def read_said(folder: Path, position: int, search: Search) -> str:
    """What a job printed to its standard error from there on, as one line.  Blocking."""
    try:
        with confined(folder) as inside:
            return said(_part(inside, STDERR, position, _MOST_SAID_BYTES)[0], search)
    except OSError:
        return ""


def _last_lines(inside: Confined, name: str, search: Search) -> str:
    most = MOST_BYTES + _MARGIN_BYTES + search.longest
    try:
        raw, is_whole = _part(inside, name, -most, most)
    except OSError:
        return ""
    return last_lines(raw, search, is_whole=is_whole)


def _part(inside: Confined, name: str, position: int, most: int) -> tuple[bytes, bool]:
    """So many bytes from a place on (below 0: from the end), and whether that is the file's beginning."""
    descriptor = inside.open_file(name)
    try:
        size = os.fstat(descriptor).st_size
        begin = max(0, size + position) if position < 0 else position
        os.lseek(descriptor, begin, os.SEEK_SET)
        return b"".join(bytes(chunk) for chunk in chunks(descriptor, most)), begin == 0
    finally:
        os.close(descriptor)
