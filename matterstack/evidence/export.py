"""Build the evidence bundle of a run, and put it into its place all at once."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from threading import Lock
from typing import Final

import attrs
import trio

from matterstack.core.errors import RefusedError, StoreError
from matterstack.core.ids import RunId
from matterstack.core.states import RunStatus
from matterstack.evidence.confined_reading import opened
from matterstack.evidence.contents import (
    EVENTS,
    FOREIGN,
    OUR_FILES,
    OUR_FOLDERS,
    closing_files,
    copied_files,
    derived_files,
    made_with,
    payload_file,
)
from matterstack.evidence.crate.file_entities import PayloadFile
from matterstack.evidence.gathering.copying import Gathering
from matterstack.evidence.gathering.gather import gather
from matterstack.evidence.gathering.withholding import withholding
from matterstack.evidence.hashes import HashCache
from matterstack.evidence.history import History, read_history
from matterstack.evidence.manifest import MANIFEST, SIGNATURE, UNLISTED, parse_manifest
from matterstack.evidence.presentation import View
from matterstack.evidence.signing import MOST_BYTES as MOST_SIGNATURE_BYTES
from matterstack.evidence.signing import sign_manifest
from matterstack.evidence.survey import SURVEY, ForeignRecord, Survey, portable
from matterstack.evidence.swap import built_path, recover, swap_in
from matterstack.storage.confine import Confined, confined
from matterstack.storage.files import chunks, write_all
from matterstack.storage.heads import head_of
from matterstack.storage.layout import Root
from matterstack.storage.modes import make_folders, open_shared
from matterstack.storage.schema import disk_full, open_database, translated_errors

COPY_BELOW_BYTES: Final = 64 << 20
"""Larger outputs stay where they are, and are named by their hash."""
LOOK_INTERVAL_S: Final = 0.05
_MOST_MANIFEST_BYTES: Final = 1 << 30

OnProgress = Callable[[int, int], None]
"""Told how many bytes were read, of how many; from any thread."""


class BundleSignature(StrEnum):
    """What became of a bundle's signature when it was built again."""

    NONE = "none"
    MADE = "made"
    KEPT = "kept"
    DROPPED = "dropped"
    """It was over a manifest that is another now."""


@attrs.frozen(kw_only=True)
class Bundle:
    """A bundle that was built."""

    path: Path
    run_id: RunId
    seq: int
    status: RunStatus
    is_complete: bool
    missing: tuple[str, ...]
    foreign: tuple[str, ...]
    signature: BundleSignature = BundleSignature.NONE


async def build_evidence_bundle(
    store: Root,
    run_id: RunId,
    output: Path | None = None,
    *,
    copy_below_bytes: int = COPY_BELOW_BYTES,
    on_progress: OnProgress | None = None,
    sign_with: Path | None = None,
) -> Bundle:
    """Build the evidence of a run in any state, from the store and the run's files alone.

    It is as of the run's last event at this moment, and the same to the byte whenever it is built again
    from the same events and files, wherever they lie.  A reader of ``output`` sees the old bundle or the new
    one.  If the process dies inside, the old one is still there, and what was begun is removed by the next.

    Args:
        output: the bundle's folder; None is ``evidence`` in the run's folder.
        copy_below_bytes: larger files are named by their hash instead of being copied.
        sign_with: an ssh key; None: a signature that is there stays, as long as it fits.

    Raises:
        NotFoundError: there is no such run.
        RefusedError: ``output`` holds something that is no bundle, or it cannot be signed.
        DiskFullError: there is no room; the old bundle is whole.
        StoreError: the store or the files cannot be read or written.
    """
    history, events, chained_to = await trio.to_thread.run_sync(_load, store, run_id)
    folder = store.run_folder(history.state.workspace, run_id)
    final = output if output is not None else folder.path / "evidence"
    async with _one_at_a_time(store, run_id):
        with _named_errors(final):
            built = await trio.to_thread.run_sync(_prepare, final, run_id, output is not None)
            try:
                written = await trio.to_thread.run_sync(_write_events, built, events)
                del events  # of a large run there is no room for what is written already
                total = sum(file.size_bytes for files in history.outputs.values() for file in files)
                gathering = Gathering(
                    workspace=history.state.workspace,
                    folder=folder,
                    target=built,
                    copy_below_bytes=copy_below_bytes,
                    cache=await trio.to_thread.run_sync(HashCache.load, folder.path),
                    on_bytes=_counter(total, on_progress),
                    withholding=await trio.to_thread.run_sync(withholding, store, history),
                )
                survey = await gather(gathering, history, dict(made_with()))
                survey = attrs.evolve(survey, head=history.head, chained_to=chained_to)
                return await trio.to_thread.run_sync(
                    _finish, gathering, written, history, survey, final, sign_with
                )
            finally:
                with trio.CancelScope(shield=True):
                    await trio.to_thread.run_sync(_remove, built)


def _load(store: Root, run_id: RunId) -> tuple[History, bytes, int]:
    with translated_errors(store.database), closing(open_database(store.database)) as connection:
        history, events = read_history(connection, run_id)
        head = head_of(connection, run_id)
        return history, events, head.chained_to if head is not None else 0


def _prepare(final: Path, run_id: RunId, given: bool) -> Path:
    recover(final)
    if final.is_symlink() or (final.exists() and not final.is_dir()):
        raise RefusedError(f"{final} is no folder", hint="take it away, or name another folder")
    is_bundle = (final / SURVEY).exists() or (final / MANIFEST).exists()
    if given and final.is_dir() and not is_bundle and any(final.iterdir()):
        raise RefusedError(
            f"{final} holds files, and they are no evidence bundle",
            hint="name a folder that is not there yet",
        )
    make_folders(final.absolute().parent)
    built = built_path(final.absolute(), run_id)
    _remove(built)
    make_folders(built)
    return built


def _write_events(built: Path, events: bytes) -> PayloadFile:
    with confined(built) as target:
        target.write(EVENTS, events)
    return payload_file(events)


def _remove(built: Path) -> None:
    with suppress(FileNotFoundError):
        shutil.rmtree(built)


def _finish(
    gathering: Gathering,
    events: PayloadFile,
    history: History,
    survey: Survey,
    final: Path,
    sign_with: Path | None,
) -> Bundle:
    built = gathering.target
    survey = attrs.evolve(survey, foreign=tuple(_keep_foreign(final, built)))
    view = View(history, survey, lambda place: (built / place).read_bytes())
    payload = {**dict(copied_files(survey)), EVENTS: events}
    with confined(built) as target:
        for path, data in derived_files(view):
            target.write(path, data)
            payload[path] = payload_file(data)
        for path, data in closing_files(view, payload):
            target.write(path, data)
    if sign_with is not None:
        sign_manifest(built, sign_with)
    signature = _keep_signature(final, built)
    gathering.cache.save()
    swap_in(built, final)
    return Bundle(
        path=final,
        run_id=history.run_id,
        seq=history.seq,
        status=view.status,
        is_complete=view.is_complete,
        missing=tuple(view.missing),
        foreign=tuple(record.path for record in survey.foreign),
        signature=signature,
    )


def _keep_signature(final: Path, built: Path) -> BundleSignature:
    """Take over the old bundle's signature where there is no new one, and the manifest is the same."""
    if (built / SIGNATURE).is_file():
        return BundleSignature.MADE
    try:
        with confined(final) as old, confined(built) as new:
            signature = old.read(SIGNATURE, MOST_SIGNATURE_BYTES)
            if old.read(MANIFEST, _MOST_MANIFEST_BYTES) != new.read(MANIFEST, _MOST_MANIFEST_BYTES):
                return BundleSignature.DROPPED
            new.write(SIGNATURE, signature)
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise
        return BundleSignature.NONE
    return BundleSignature.KEPT


def _counter(total: int, on_progress: OnProgress | None) -> Callable[[int], None]:
    done = 0
    lock = Lock()

    def count(size: int) -> None:
        nonlocal done
        with lock:
            done += size
            now = done
        if on_progress is not None:
            on_progress(now, total)

    return count


@asynccontextmanager
async def _one_at_a_time(store: Root, run_id: RunId) -> AsyncIterator[None]:
    """Wait until nobody else exports this run."""
    with _named_errors(store.locks):
        descriptor = open_shared(store.locks / f"evidence-{run_id}.lock")
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await trio.sleep(LOOK_INTERVAL_S)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    """Turn what the file system complains about into an error for people."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise disk_full(path) from error
        raise StoreError(
            f"{path}: {error.strerror or error}", hint="an older bundle, if there is one, is as it was"
        ) from error


# ---- what others put there ----


def _keep_foreign(final: Path, built: Path) -> Iterator[ForeignRecord]:
    """Take over every file in the old bundle's folder that no export made.

    Raises:
        RefusedError: there is something that cannot be taken over.
    """
    if not final.is_dir():
        return
    with confined(final) as old, confined(built) as new:
        listed = _listed(old)
        for path in sorted(_foreign_paths(final, listed), key=os.fsencode):
            place = portable(path if path.startswith(f"{FOREIGN}/") else f"{FOREIGN}/{path}")
            try:
                size, digest = _take_over(old, path, new, place)
            except OSError as error:
                if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                    raise
                raise RefusedError(
                    f"{final / path} is none of the bundle's files, and cannot be kept: {error.strerror}",
                    hint="take it away first",
                ) from None
            yield ForeignRecord(path=place, bytes=size, sha256=digest)


def _listed(old: Confined) -> frozenset[str] | None:
    """What the old manifest names; None when there is no manifest that can be read."""
    try:
        return frozenset(parse_manifest(old.read(MANIFEST, _MOST_MANIFEST_BYTES))) | UNLISTED
    except (OSError, ValueError):
        return None


def _foreign_paths(final: Path, listed: frozenset[str] | None) -> Iterator[str]:
    for folder, folders, files in os.walk(final):
        prefix = "" if Path(folder) == final else f"{Path(folder).relative_to(final)}/"
        links = [name for name in folders if (Path(folder) / name).is_symlink()]
        for name in (*files, *links):
            path = prefix + name
            top = path.partition("/")[0]
            if top == FOREIGN:
                yield path
            elif listed is not None:
                if path not in listed:
                    yield path
            elif path not in OUR_FILES and not ("/" in path and top in OUR_FOLDERS):
                yield path


def _take_over(old: Confined, path: str, new: Confined, place: str) -> tuple[int, str]:
    digest = hashlib.sha256()
    size = 0
    with opened(old, path) as reading:
        writing = new.create_file(place)
        try:
            for chunk in chunks(reading):
                digest.update(chunk)
                size += len(chunk)
                write_all(writing, chunk)
        finally:
            os.close(writing)
    return size, digest.hexdigest()
