"""Read files below a folder that nothing leads out of."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager

from matterstack.storage.confine import Confined
from matterstack.storage.files import chunks


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
