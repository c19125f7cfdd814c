"""``run archive``: a bundle and all outputs of a run in one file, the same to the byte whenever it is made.

In the file, below a folder with the run's name: ``evidence/`` is the bundle; ``outputs/`` holds the outputs
that were too large for the bundle, which names them by their hashes.
"""

from __future__ import annotations

import errno
import hashlib
import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO, Final

import attrs
import trio

from matterstack.core.errors import RefusedError, StoreError
from matterstack.core.ids import RunId
from matterstack.evidence.confined_reading import opened, read_document
from matterstack.evidence.export import COPY_BELOW_BYTES, Bundle, OnProgress, build_evidence_bundle
from matterstack.evidence.survey import SURVEY, OutputRecord, UnclaimedRecord, parse_survey
from matterstack.evidence.verify import verify_bundle
from matterstack.storage.confine import confined
from matterstack.storage.files import CHUNK_BYTES, chunks, sync_folder
from matterstack.storage.layout import Root, RunFolder
from matterstack.storage.modes import create
from matterstack.storage.schema import disk_full

LONG_AGO: Final = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip file knows."""
_MODE: Final = 0o644 << 16
_UNIX: Final = 3


@attrs.frozen(kw_only=True)
class Archive:
    """A file that was made."""

    path: Path
    sha256: str
    bytes: int
    bundle: Bundle


async def archive_run(
    store: Root,
    run_id: RunId,
    file: Path | None = None,
    *,
    copy_below_bytes: int = COPY_BELOW_BYTES,
    on_progress: OnProgress | None = None,
) -> Archive:
    """Build the bundle of a run, check it, and put it and the outputs into one zip file.

    Two archives of the same run are the same to the byte, wherever its root lies (as long as zlib is the
    same).  The file appears whole or not at all.

    Args:
        file: where to; None is ``<run_id>.zip`` in the run's folder.

    Raises:
        RefusedError: an output changed while it was written, or ``file`` is a folder.
        DiskFullError: there is no room.
        StoreError: the files cannot be read or written.
    """
    bundle = await build_evidence_bundle(
        store, run_id, copy_below_bytes=copy_below_bytes, on_progress=on_progress
    )
    target = file if file is not None else bundle.path.parent / f"{run_id}.zip"
    return await trio.to_thread.run_sync(_write, bundle, target)


def _write(bundle: Bundle, target: Path) -> Archive:
    if target.is_dir():
        raise RefusedError(f"{target} is a folder", hint="name a file")
    findings = verify_bundle(bundle.path)
    if findings:
        first = findings[0]
        raise RefusedError(
            f"{bundle.path} was changed while it was archived: {first.path} {first.problem}",
            hint="find out by whom, and try again",
        )
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        descriptor = create(part, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
        with os.fdopen(descriptor, "w+b") as file:
            with zipfile.ZipFile(file, "w", compression=zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
                for name, write in sorted(_entries(bundle), key=lambda entry: entry[0]):
                    _add(archive, f"{bundle.run_id}/{name}", write)
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
            digest = _hash(file)
        part.replace(target)
        sync_folder(target.parent)
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise disk_full(target) from error
        raise StoreError(f"{target}: {error.strerror or error}", hint="nothing was archived") from error
    finally:
        with suppress(OSError):
            part.unlink()
    return Archive(path=target, sha256=digest, bytes=size, bundle=bundle)


_Write = Callable[[IO[bytes]], None]


def _entries(bundle: Bundle) -> Iterator[tuple[str, _Write]]:
    with confined(bundle.path) as folder:
        names = list(folder.regular_files())
    for name in names:
        yield f"evidence/{name}", partial(_copy, bundle.path, name)
    survey = parse_survey(read_document(bundle.path, SURVEY))
    run = RunFolder(bundle.path.parent)
    for place, output in survey.large():
        yield place, partial(_copy_checked, run, output)


def _add(archive: zipfile.ZipFile, name: str, write: _Write) -> None:
    info = zipfile.ZipInfo(name, LONG_AGO)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.create_system = _UNIX
    info.external_attr = _MODE
    with archive.open(info, "w", force_zip64=True) as into:
        write(into)


def _copy(folder: Path, name: str, into: IO[bytes]) -> None:
    with confined(folder) as source, opened(source, name) as reading:
        for chunk in chunks(reading):
            into.write(chunk)


def _copy_checked(run: RunFolder, output: OutputRecord | UnclaimedRecord, into: IO[bytes]) -> None:
    digest = hashlib.sha256()
    folder = run.attempt(output.task_id, output.n).path
    with confined(folder) as source, opened(source, output.path) as reading:
        for chunk in chunks(reading):
            digest.update(chunk)
            into.write(chunk)
    if digest.hexdigest() != output.sha256:
        raise RefusedError(
            f"output {output.path} of {output.task_id} changed while it was archived",
            hint="see what still writes to it, and try again",
        )


def _hash(file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    file.seek(0)
    while chunk := file.read(CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()
