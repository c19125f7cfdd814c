"""Prepare the folder of an attempt: copies of files and inputs, the manifest, the job script."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import attrs

from matterstack.core.errors import StagingError
from matterstack.storage.codec import dumps
from matterstack.storage.confine import Confined, ConfinementError, confined, open_any_file
from matterstack.storage.crash_points import crash_point
from matterstack.storage.files import CHUNK_BYTES, chunks, write_all
from matterstack.storage.layout import AttemptFolder

_OURS: Final = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
_MOST_MANIFEST_BYTES: Final = 1 << 30


@attrs.frozen(kw_only=True)
class Copy:
    """A file that the job finds in its folder.

    What the code of a workspace names by an absolute path it may have, wherever that is.  A relative path
    leads nowhere but to a file of the folder it starts from.

    Attributes:
        name: path in the attempt's folder.
        source: where it comes from; relative to ``within`` unless it is absolute.
        origin: how the campaign named it, for the manifest and for people.
        within: folder that a relative source must not leave.
        may_link: whether symbolic links are followed that stay in ``within``.
    """

    name: str
    source: str
    origin: str
    within: Path
    may_link: bool = False


@attrs.frozen(kw_only=True)
class Staging:
    """All that goes into an attempt's folder before its job is submitted."""

    folder: AttemptFolder
    manifest: Mapping[str, Any]
    files: Sequence[Copy]
    inputs: Sequence[Copy]
    script: str


def stage(staging: Staging) -> str:
    """Write the folder; returns the SHA-256 of the manifest.

    May be repeated until a job has claimed the folder; from then on it is left as it is.  Nothing here is
    synced to the disk: after a power cut without a job the folder is simply written again.

    Raises:
        StagingError: the task's own fault, such as an input that is not there.
        OSError: the disk's fault.
    """
    try:
        with confined(staging.folder.path, make=True) as folder:
            if folder.exists("claim/job_id"):
                return hashlib.sha256(_manifest_of_claimed(folder)).hexdigest()
            return _write(folder, staging)
    except ConfinementError as error:
        raise StagingError(
            f"the attempt's folder cannot be written: {error.filename}: {error.strerror}"
        ) from None


def _manifest_of_claimed(folder: Confined) -> bytes:
    """What the job was given, unless it has done away with it: its folder is its own now."""
    try:
        return folder.read("manifest.json", _MOST_MANIFEST_BYTES)
    except (ConfinementError, FileNotFoundError):
        return b""


def _write(folder: Confined, staging: Staging) -> str:
    manifest = dict(staging.manifest)
    manifest["files"] = [_copy(folder, copy, "files") for copy in staging.files]
    manifest["inputs"] = [_copy(folder, copy, "inputs") for copy in staging.inputs]
    text = dumps(manifest).encode()
    folder.write("manifest.json", text)
    crash_point("inside_staging")
    folder.write("job.sh", staging.script.encode(), mode=0o755)
    return hashlib.sha256(text).hexdigest()


def _copy(folder: Confined, copy: Copy, field: str) -> dict[str, str]:
    try:
        digest = _copy_file(folder, copy)
    except OSError as error:
        if error.errno in _OURS:
            raise
        raise StagingError(
            f"{field}: {copy.name!r} cannot be copied from {copy.origin}: {error.strerror or error}"
        ) from None
    return {"name": copy.name, "from": copy.origin, "sha256": digest}


def _copy_file(folder: Confined, copy: Copy) -> str:
    """Copy a regular file with its mode, and hash it on the way."""
    digest = hashlib.sha256()
    with _opened(copy) as reading:
        mode = 0o600 | (os.fstat(reading).st_mode & 0o777)
        writing = folder.create_file(copy.name, mode)
        try:
            for chunk in _content(copy, reading):
                digest.update(chunk)
                write_all(writing, chunk)
        finally:
            os.close(writing)
    return digest.hexdigest()


@contextmanager
def _opened(copy: Copy) -> Iterator[int]:
    descriptor = _open(copy)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _open(copy: Copy) -> int:
    if Path(copy.source).is_absolute():
        return open_any_file(Path(copy.source))
    with confined(copy.within) as folder:
        return folder.open_linked_file(copy.source) if copy.may_link else folder.open_file(copy.source)


def unusable_file(path: str, workspace: Path) -> str:
    """Why one of a task's ``files`` could not be copied at this moment, in words; empty when it can."""
    try:
        with _opened(Copy(name="", source=path, origin=path, within=workspace, may_link=True)):
            return ""
    except OSError as error:
        return str(error.strerror or error)


def _content(copy: Copy, descriptor: int) -> Iterator[bytes]:
    if Path(copy.source).is_absolute():
        # Files of /proc say that they are empty.
        return iter(partial(os.read, descriptor, CHUNK_BYTES), b"")
    return chunks(descriptor)
