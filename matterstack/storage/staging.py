"""Prepare the folder of an attempt: copies of files and inputs, the manifest, the job script."""

from __future__ import annotations

import errno
import hashlib
import itertools
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Final

import attrs

from matterstack.core.errors import StagingError
from matterstack.core.nonces import is_believed, read_claim_text
from matterstack.storage.codec import dumps
from matterstack.storage.confine import Confined, ConfinementError, confined, open_any_file
from matterstack.storage.crash_points import crash_point
from matterstack.storage.files import CHUNK_BYTES, chunks, end_sparse, write_sparse
from matterstack.storage.layout import AttemptFolder, split_at_run
from matterstack.storage.modes import make_folders

_OURS: Final = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
_MOST_MANIFEST_BYTES: Final = 1 << 30
_MOST_CLAIM_BYTES: Final = 4096
_MOST_TOLD: Final = 10
_CLOSED: Final = (ConfinementError, PermissionError)
"""What a folder or file that is none of ours may be met with."""
_ASIDE: Final = "~set-aside-"

logger: Final = logging.getLogger(__name__)


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
        between: told after each chunk how long it was; what it raises ends the copying.
    """

    name: str
    source: str
    origin: str
    within: Path
    may_link: bool = False
    between: Callable[[int], None] = attrs.field(default=lambda _: None, eq=False, repr=False)


@attrs.frozen(kw_only=True)
class Staging:
    """All that goes into an attempt's folder before its job is submitted.

    Attributes:
        nonce_sha256: of the attempt; it stands in the manifest, and tells the folder from one that somebody
            else has put in its place.  None: of an attempt of 0.2.0, whose folder is taken as it is.
    """

    folder: AttemptFolder
    manifest: Mapping[str, Any]
    files: Sequence[Copy]
    inputs: Sequence[Copy]
    script: str
    nonce_sha256: str | None = None


@attrs.frozen
class StagedFolder:
    """A folder that is ready for its job.

    Attributes:
        set_aside: paths in the run's folder of what lay in its place, or in that of a folder above it.
    """

    manifest_sha256: str
    set_aside: tuple[str, ...] = ()


def stage(staging: Staging) -> StagedFolder:
    """Write the folder, which is a new one: what somebody else has put in its place is kept beside it.

    May be repeated until the job of the attempt has claimed the folder; from then on it is left as it is.
    Nothing here is synced to the disk: after a power cut without a job the folder is simply written again.

    Raises:
        StagingError: the task's own fault, such as an input that is not there.
        OSError: the disk's fault.
    """
    try:
        set_aside = _make_new(staging) if staging.nonce_sha256 is not None else ()
        with confined(staging.folder.path, make=True) as folder:
            if _is_claimed(folder, staging.nonce_sha256):
                sha256 = hashlib.sha256(_manifest_of_claimed(folder)).hexdigest()
            else:
                sha256 = _write(folder, staging)
        return StagedFolder(sha256, set_aside)
    except ConfinementError as error:
        raise StagingError(
            f"the attempt's folder cannot be written: {error.filename}: {error.strerror}"
        ) from None


def _make_new(staging: Staging) -> tuple[str, ...]:
    """Set aside what lies in the place of the folder, unless it was staged for this very attempt.

    Returns the names of all that was ever set aside there: an engine that died in between has told nobody.
    """
    top, way = split_at_run(staging.folder.path)
    if not way:
        top, way = top.parent, top.name
    place = PurePosixPath(way)
    make_folders(top)
    with confined(top) as run:
        kept: list[str] = []
        for above in [*reversed(place.parents)][1:]:
            try:
                with run.folder(str(above), make=True):
                    pass
            except _CLOSED:
                kept.append(_set_aside(run, above))
        with run.folder(str(place.parent), make=True) as task:
            earlier = [name for name in task.names() if name.startswith(f"{place.name}{_ASIDE}")]
            kept += [str(place.with_name(name)) for name in sorted(earlier)]
            if task.exists(place.name) and not _is_own(task, place.name, staging.nonce_sha256):
                kept.append(_set_aside(run, place))
    return tuple(dict.fromkeys(kept))[:_MOST_TOLD]


def _set_aside(run: Confined, place: PurePosixPath) -> str:
    """Give what lies there another name, which no task and no attempt can have; returns that."""
    names = (str(place.with_name(f"{place.name}{_ASIDE}{number}")) for number in itertools.count(1))
    aside = next(name for name in names if not run.exists(name))
    run.rename(str(place), aside)
    logger.warning("%s lay there before the attempt was prepared: it is kept as %s", place, aside)
    return aside


def _is_own(task: Confined, name: str, nonce_sha256: str | None) -> bool:
    """Whether the folder is new, or was made for this attempt, by an engine that may be gone."""
    try:
        with task.folder(name) as folder:
            is_empty = next(folder.names(), None) is None
            return is_empty or _is_claimed(folder, nonce_sha256) or _bears(folder, nonce_sha256)
    except _CLOSED:
        return False


def _is_claimed(folder: Confined, nonce_sha256: str | None) -> bool:
    """Whether the job of the attempt has begun to work; what others have put there claims nothing."""
    if nonce_sha256 is None:
        return folder.exists("claim/job_id")
    try:
        claim = folder.read("claim/job_id", _MOST_CLAIM_BYTES).decode()
    except (*_CLOSED, FileNotFoundError, UnicodeDecodeError):
        return False
    return is_believed(read_claim_text(claim)[1], nonce_sha256)


def _bears(folder: Confined, nonce_sha256: str | None) -> bool:
    mark = _mark(nonce_sha256)
    try:
        return folder.read("manifest.json", len(mark)) == mark
    except (*_CLOSED, FileNotFoundError):
        return False


def _mark(nonce_sha256: str | None) -> bytes:
    """How the manifest of an attempt begins."""
    return dumps({"nonce_sha256": nonce_sha256}).encode().removesuffix(b"}")


def _manifest_of_claimed(folder: Confined) -> bytes:
    """What the job was given, unless it has done away with it: its folder is its own now."""
    try:
        return folder.read("manifest.json", _MOST_MANIFEST_BYTES)
    except (ConfinementError, FileNotFoundError):
        return b""


def _write(folder: Confined, staging: Staging) -> str:
    manifest = dict(staging.manifest)
    if staging.nonce_sha256 is not None:
        manifest = {"nonce_sha256": staging.nonce_sha256, **manifest}
        if (staging.files or staging.inputs) and not folder.exists("manifest.json"):
            # First of all: an engine that comes after a crash must know the folder as its own.
            folder.write("manifest.json", _mark(staging.nonce_sha256) + b"}")
    manifest["files"] = [_copy(folder, copy, "files") for copy in staging.files]
    manifest["inputs"] = [_copy(folder, copy, "inputs") for copy in staging.inputs]
    text = dumps(manifest).encode()
    folder.write("manifest.json", text)
    crash_point("inside_staging")
    folder.write("job.sh", staging.script.encode(), mode=0o777)
    return hashlib.sha256(text).hexdigest()


def _copy(folder: Confined, copy: Copy, field: str) -> dict[str, Any]:
    try:
        size, digest = _copy_file(folder, copy)
    except OSError as error:
        if error.errno in _OURS:
            raise
        raise StagingError(
            f"{field}: {copy.name!r} cannot be copied from {copy.origin}: {error.strerror or error}"
        ) from None
    return {"name": copy.name, "from": copy.origin, "sha256": digest, "bytes": size}


def _copy_file(folder: Confined, copy: Copy) -> tuple[int, str]:
    """Copy a regular file with its mode; returns its size in bytes, and its hash."""
    digest = hashlib.sha256()
    size = 0
    with _opened(copy) as reading:
        mode = 0o600 | (os.fstat(reading).st_mode & 0o777)
        writing = folder.create_file(copy.name, mode)
        try:
            for chunk in _content(copy, reading):
                digest.update(chunk)
                size += len(chunk)
                write_sparse(writing, chunk)
                copy.between(len(chunk))
            end_sparse(writing)
        finally:
            os.close(writing)
    return size, digest.hexdigest()


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


def sha256_of_file(path: str, workspace: Path, most_bytes: int) -> str | None:
    """Hash one of a task's ``files`` as it would be copied at this moment.  Blocking.

    None where it cannot be copied, or is larger than ``most_bytes``.
    """
    copy = Copy(name="", source=path, origin=path, within=workspace, may_link=True)
    try:
        with _opened(copy) as descriptor:
            if os.fstat(descriptor).st_size > most_bytes:
                return None
            digest = hashlib.sha256()
            for chunk in _content(copy, descriptor):
                digest.update(chunk)
            return digest.hexdigest()
    except OSError:
        return None


def _content(copy: Copy, descriptor: int) -> Iterator[bytes]:
    if Path(copy.source).is_absolute() and os.fstat(descriptor).st_size == 0:
        # Files of /proc say that they are empty.
        return iter(partial(os.read, descriptor, CHUNK_BYTES), b"")
    return chunks(descriptor)
