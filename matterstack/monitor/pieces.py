"""Pieces of files that grow while they are looked at."""

from __future__ import annotations

import codecs
import os
from pathlib import Path
from typing import Any, Final

import attrs

from matterstack.core.errors import RefusedError
from matterstack.storage.file_errors import file_error
from matterstack.usecases.task_logs import open_log

MOST_BYTES: Final = 256 * 1024


@attrs.frozen
class Piece:
    """Text from ``start`` to ``end``, in bytes of a file that has ``size`` of them at this moment."""

    text: str
    start: int
    end: int
    size: int

    def as_json(self) -> dict[str, Any]:
        """As the page gets it."""
        return attrs.asdict(self)


_NOTHING: Final = Piece("", 0, 0, 0)


def piece_of(path: Path, offset: int) -> Piece:
    """At most `MOST_BYTES` of a file, from an offset on (negative: so many bytes before the end).  Blocking.

    It neither begins nor ends within a character.  What is no regular file, or not there, is empty; and from
    beyond the end of a file that has become shorter, it begins anew.

    Raises:
        StoreError: it cannot be read.
    """
    try:
        descriptor = open_log(path)
    except RefusedError:
        return _NOTHING
    if descriptor is None:
        return _NOTHING
    try:
        size = os.fstat(descriptor).st_size
        start = max(0, size + offset) if offset < 0 else offset if offset <= size else 0
        data = os.pread(descriptor, MOST_BYTES, start)
    except OSError as error:
        raise file_error(path, error) from error
    finally:
        os.close(descriptor)
    if offset < 0 and start > 0:
        whole = _without_tail_of_character(data)
        start += len(data) - len(whole)
        data = whole
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(data)
    pending, _ = decoder.getstate()
    return Piece(text, start, start + len(data) - len(pending), size)


def _without_tail_of_character(data: bytes) -> bytes:
    """Without the bytes in front that go on with a character which began before."""
    for length in range(min(4, len(data))):
        if data[length] & 0xC0 != 0x80:
            return data[length:]
    return data
