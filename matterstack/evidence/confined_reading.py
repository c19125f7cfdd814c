"""Read files below a folder that nothing leads out of."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from matterstack.storage.confine import Confined, ConfinementError, confined
from matterstack.storage.files import chunks

MOST_DOCUMENT_BYTES: Final = 512 << 20
"""Of what is read whole, such as the events: those of 100,000 tasks have 210 MB, and the crate 170."""


@contextmanager
def opened(folder: Confined, name: str) -> Iterator[int]:
    """Open a regular file for reading.

    Raises:
        OSError: it is not there, is no regular file, or cannot be read.
    """
    descriptor = folder.open_file(name)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def opened_document(folder: Confined, name: str) -> Iterator[int]:
    """Open one of the files that say something of the others, and are not larger than such files are.

    Raises:
        OSError: as `opened`, or it is larger than `MOST_DOCUMENT_BYTES`.
    """
    with opened(folder, name) as reading:
        if os.fstat(reading).st_size > MOST_DOCUMENT_BYTES:
            raise ConfinementError(errno.EFBIG, f"is larger than {MOST_DOCUMENT_BYTES >> 20} MiB", name)
        yield reading


def read_document(folder: Path, name: str) -> bytes:
    """Content of a file of a bundle that says something of the others.

    Raises:
        OSError: as `opened_document`.
    """
    with confined(folder) as bundle, opened_document(bundle, name) as reading:
        return b"".join(chunks(reading))


def sha256_of(folder: Confined, name: str) -> str:
    """Hash of a regular file.

    Raises:
        OSError: as `opened`.
    """
    digest = hashlib.sha256()
    with opened(folder, name) as reading:
        for chunk in chunks(reading):
            digest.update(chunk)
    return digest.hexdigest()
