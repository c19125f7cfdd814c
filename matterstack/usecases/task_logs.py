"""What a task's command printed, for every face.  A job may have put anything in the place of its log."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from matterstack.core.errors import RefusedError
from matterstack.storage.confine import ConfinementError, confined
from matterstack.storage.file_errors import file_errors
from matterstack.storage.files import chunks


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
