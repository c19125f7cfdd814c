"""Prepare the folder of an attempt: copies of files and inputs, the manifest, the job script."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import attrs

from matterstack.core.errors import StagingError
from matterstack.storage.codec import dumps
from matterstack.storage.crash_points import crash_point
from matterstack.storage.files import CHUNK_BYTES, write_derived
from matterstack.storage.layout import AttemptFolder

_OURS: Final = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


@attrs.frozen(kw_only=True)
class Copy:
    """A file that the job finds in its folder.

    Attributes:
        name: path in the attempt's folder.
        source: where it comes from.
        origin: how the campaign named it, for the manifest and for people.
    """

    name: str
    source: Path
    origin: str


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
    folder = staging.folder
    folder.path.mkdir(parents=True, exist_ok=True)
    if folder.claimant.exists():
        return hashlib.sha256(folder.manifest.read_bytes()).hexdigest()
    manifest = dict(staging.manifest)
    manifest["files"] = [_copy(folder.path, copy, "files") for copy in staging.files]
    manifest["inputs"] = [_copy(folder.path, copy, "inputs") for copy in staging.inputs]
    text = dumps(manifest).encode()
    write_derived(folder.manifest, text)
    crash_point("inside_staging")
    write_derived(folder.script, staging.script.encode(), mode=0o755)
    return hashlib.sha256(text).hexdigest()


def _copy(folder: Path, copy: Copy, field: str) -> dict[str, str]:
    target = folder / copy.name
    try:
        if target.parent != folder:
            target.parent.mkdir(parents=True, exist_ok=True)
        digest = _copy_file(copy.source, target)
    except OSError as error:
        if error.errno in _OURS:
            raise
        raise StagingError(
            f"{field}: {copy.name!r} cannot be copied from {copy.origin}: {error.strerror or error}"
        ) from None
    return {"name": copy.name, "from": copy.origin, "sha256": digest}


def _copy_file(source: Path, target: Path) -> str:
    """Copy a regular file with its mode, and hash it on the way."""
    # O_NONBLOCK: a FIFO in the place of a file must not hang the engine.
    reading = os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        status = os.fstat(reading)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "is no regular file")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        writing = os.open(target, flags, 0o600 | (status.st_mode & 0o777))
        try:
            digest = hashlib.sha256()
            while chunk := os.read(reading, CHUNK_BYTES):
                digest.update(chunk)
                view = memoryview(chunk)
                while view:
                    view = view[os.write(writing, view) :]
        finally:
            os.close(writing)
    finally:
        os.close(reading)
    return digest.hexdigest()
