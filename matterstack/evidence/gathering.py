"""Look at a run's files, and copy into a bundle what belongs there.

Everything is read below the run's folder without following links, and hashed while it is copied: a file
that changes meanwhile is found out by its hash.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Final

import attrs
import trio

from matterstack.core.facts import OutputFile
from matterstack.core.operators import ASKED
from matterstack.core.run_state import AttemptState
from matterstack.evidence.asking import answer_names, asked_files
from matterstack.evidence.hashes import HashCache
from matterstack.evidence.history import Answer, History
from matterstack.evidence.survey import (
    AnswerRecord,
    AttemptRecord,
    FileState,
    LogRecord,
    ManifestState,
    OutputRecord,
    SourceRecord,
    Survey,
    UsedRecord,
    portable,
)
from matterstack.storage.confine import Confined, confined
from matterstack.storage.files import chunks, write_all
from matterstack.storage.layout import RunFolder, operator_folder

AT_ONCE: Final = 4
"""Threads that read files: enough to keep a disk busy, too few to be in the way."""
BATCH: Final = 64
MOST_MANIFEST_BYTES: Final = 16 << 20
SOURCES: Final = "sources"
LOGS: Final = ("stdout.log", "stderr.log")

OnBytes = Callable[[int], None]
_UsedKey = tuple[str, str, str, bool]


@attrs.frozen
class _Found:
    """One attempt's files, with what it used still in full."""

    record: AttemptRecord
    outputs: tuple[OutputRecord, ...]
    used: tuple[_UsedKey, ...]
    answer: AnswerRecord | None = None


@attrs.frozen
class _Ended:
    """An attempt that is to be looked at."""

    attempt: AttemptState
    outputs: tuple[OutputFile, ...]
    answer: Answer | None
    is_last: bool


@attrs.frozen
class Gathering:
    """Where files come from and go to; ``on_bytes`` is told how many bytes were read, from any thread."""

    workspace: str
    folder: RunFolder
    target: Path
    copy_below_bytes: int
    cache: HashCache
    on_bytes: OnBytes


async def gather(gathering: Gathering, history: History, made_with: dict[str, str]) -> Survey:
    """Look at all files of all attempts that have ended; copy what is to be copied.

    Raises:
        OSError: the bundle cannot be written.
    """
    ended = list(_ended(history))
    limiter = trio.CapacityLimiter(AT_ONCE)
    found: dict[int, list[_Found]] = {}

    failures: list[OSError] = []

    async def look(start: int) -> None:
        call = partial(_look_at_all, gathering, ended[start : start + BATCH])
        try:
            found[start] = await trio.to_thread.run_sync(call, limiter=limiter)
        except OSError as error:
            failures.append(error)
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for start in range(0, len(ended), BATCH):
            nursery.start_soon(look, start)
    if failures:
        raise failures[0]
    in_order = [one for start in sorted(found) for one in found[start]]
    used, makers = _index_used(in_order)
    records = await trio.to_thread.run_sync(_copy_used, gathering, used, makers, limiter=limiter)
    place_of = {key: place for place, key in enumerate(used)}
    return Survey(
        run_id=history.run_id,
        seq=history.seq,
        made_with=made_with,
        copy_below_bytes=gathering.copy_below_bytes,
        has_folder=await trio.to_thread.run_sync(_has_files, gathering.folder.path),
        outputs=tuple(output for one in in_order for output in one.outputs),
        used=tuple(records),
        sources=tuple(await trio.to_thread.run_sync(_take_sources, gathering, history, limiter=limiter)),
        answers=tuple(one.answer for one in in_order if one.answer is not None),
        attempts=tuple(
            attrs.evolve(one.record, used=tuple(place_of[key] for key in one.used)) for one in in_order
        ),
    )


def _has_files(folder: Path) -> bool:
    """Whether there is anything of a run, other than its evidence."""
    try:
        return any(not path.name.startswith(("evidence", ".evidence")) for path in folder.iterdir())
    except OSError:
        return False


def _index_used(found: Sequence[_Found]) -> tuple[list[_UsedKey], dict[_UsedKey, list[AttemptRecord]]]:
    """All different files that jobs were given, and the attempts whose folders may still hold a copy."""
    makers: dict[_UsedKey, list[AttemptRecord]] = {}
    for one in found:
        for key in one.used:
            makers.setdefault(key, []).append(one.record)
    return sorted(makers), makers


def _ended(history: History) -> Iterator[_Ended]:
    for task in history.state.tasks.values():
        for attempt in task.attempts:
            if attempt.ended_at is not None:
                key = (attempt.task_id, attempt.n)
                outputs, answer = history.outputs.get(key, ()), history.answers.get(key)
                yield _Ended(attempt, outputs, answer, attempt is task.last_attempt)


def _look_at_all(gathering: Gathering, batch: Sequence[_Ended]) -> list[_Found]:
    return [_look_at(gathering, ended) for ended in batch]


def _look_at(gathering: Gathering, ended: _Ended) -> _Found:
    try:
        found = _look_at_folder(gathering, ended)
        if ended.attempt.backend == ASKED:
            return _look_at_question(gathering, ended, found)
    except _LookError as error:
        raise error.cause from None
    return found


def _look_at_folder(gathering: Gathering, ended: _Ended) -> _Found:
    attempt, outputs = ended.attempt, ended.outputs
    path = gathering.folder.attempt(attempt.task_id, attempt.n).path
    try:
        with confined(path) as source:
            manifest, detail, used = _read_manifest(gathering.workspace, source, attempt)
            paths = [output.path for output in outputs]
            places = _places(f"outputs/{attempt.task_id}.{attempt.n}", paths)
            records = tuple(
                _take_output(gathering, source, attempt, place, output)
                for place, output in zip(places, outputs, strict=True)
            )
            folder = f"logs/{attempt.task_id}.{attempt.n}"
            logs = tuple(_take_found(gathering, source, folder, [(name, name) for name in LOGS]))
    except OSError as error:
        return _nothing(attempt, outputs, error)
    record = AttemptRecord(
        task_id=attempt.task_id,
        n=attempt.n,
        token=attempt.token,
        manifest=manifest,
        detail=detail,
        logs=logs,
    )
    return _Found(record, records, used)


def _look_at_question(gathering: Gathering, ended: _Ended, found: _Found) -> _Found:
    """Take the question, and the answer that ended the attempt."""
    attempt = ended.attempt
    place = f"answers/{attempt.task_id}.{attempt.n}"
    folder = operator_folder(gathering.folder.attempt(attempt.task_id, attempt.n).path)
    try:
        with confined(folder) as source:
            beside = list(asked_files(source, attempt.n, is_last=ended.is_last))
            logs = tuple(_take_found(gathering, source, place, beside))
            answer = None if ended.answer is None else _take_answer(gathering, source, ended, place)
    except OSError as error:
        if ended.answer is None:
            return found
        answer, logs = _answer(ended, *_failure(error, "its folder ")), ()
    record = attrs.evolve(found.record, logs=(*found.record.logs, *logs))
    return attrs.evolve(found, record=record, answer=answer)


def _take_answer(gathering: Gathering, source: Confined, ended: _Ended, folder: str) -> AnswerRecord:
    recorded = ended.answer
    state, detail = FileState.MISSING, "it is not there"
    for name in answer_names(ended.attempt.n):
        place = f"{folder}/response.json"
        try:
            with opened(source, name) as reading:
                size = os.fstat(reading).st_size
                digest = _copy(gathering, reading, place)
        except FileNotFoundError:
            continue
        except OSError as error:
            state, detail = _failure(error)
            continue
        if recorded is not None and digest == recorded.sha256:
            return _answer(ended, FileState.COPIED, "", place, size)
        _remove(gathering, place)
        state, detail = FileState.CHANGED, f"its SHA-256 is {digest} now"
    return _answer(ended, state, detail)


def _answer(
    ended: _Ended, state: FileState, detail: str, place: str | None = None, size: int | None = None
) -> AnswerRecord:
    by, sha256 = (ended.answer.by, ended.answer.sha256) if ended.answer is not None else ("", "")
    return AnswerRecord(
        task_id=ended.attempt.task_id,
        n=ended.attempt.n,
        by=by,
        sha256=sha256,
        state=state,
        bytes=size,
        place=place,
        detail=detail,
    )


class _LookError(Exception):
    """The bundle cannot be written: not the fault of the file that is looked at."""

    def __init__(self, cause: OSError) -> None:
        super().__init__()
        self.cause = cause


def _nothing(attempt: AttemptState, outputs: Sequence[OutputFile], error: OSError) -> _Found:
    """The attempt's folder cannot be opened."""
    state, detail = _failure(error, "its folder ")
    manifest = ManifestState(state.value) if attempt.manifest_sha256 else ManifestState.NEVER_SUBMITTED
    record = AttemptRecord(
        task_id=attempt.task_id, n=attempt.n, token=attempt.token, manifest=manifest, detail=detail
    )
    return _Found(record, tuple(_record(attempt, output, state, detail) for output in outputs), ())


def _failure(error: OSError, what: str = "it ") -> tuple[FileState, str]:
    if isinstance(error, FileNotFoundError):
        return FileState.MISSING, f"{what}is not there"
    return FileState.UNREADABLE, f"{what}cannot be read: {error.strerror or error}"


def _record(
    attempt: AttemptState, output: OutputFile, state: FileState, detail: str, place: str | None = None
) -> OutputRecord:
    return OutputRecord(
        task_id=attempt.task_id,
        n=attempt.n,
        path=output.path,
        bytes=output.size_bytes,
        sha256=output.sha256,
        state=state,
        place=place,
        detail=detail,
    )


# ---- what the job was given ----


def _read_manifest(
    workspace: str, source: Confined, attempt: AttemptState
) -> tuple[ManifestState, str, tuple[_UsedKey, ...]]:
    if attempt.manifest_sha256 is None:
        return ManifestState.NEVER_SUBMITTED, "", ()
    try:
        text = source.read("manifest.json", MOST_MANIFEST_BYTES)
    except OSError as error:
        state, detail = _failure(error)
        return ManifestState(state.value), detail, ()
    digest = hashlib.sha256(text).hexdigest()
    if digest != attempt.manifest_sha256:
        return ManifestState.CHANGED, f"its SHA-256 is {digest}, not {attempt.manifest_sha256}", ()
    return ManifestState.IN_ORDER, "", tuple(_used(json.loads(text), workspace))


def _used(manifest: dict[str, Any], workspace: str) -> Iterator[_UsedKey]:
    for copy in manifest.get("files", ()):
        yield copy["name"], _in_workspace(copy["from"], workspace), copy["sha256"], False
    for copy in manifest.get("inputs", ()):
        yield copy["name"], copy["from"], copy["sha256"], True


def _in_workspace(origin: str, workspace: str) -> str:
    """A path as the campaign could have written it: from the workspace's folder on, wherever that lay."""
    _, marker, inner = origin.rpartition(f"/workspaces/{workspace}/")
    return inner if marker else origin


def _copy_used(
    gathering: Gathering, used: Sequence[_UsedKey], makers: dict[_UsedKey, list[AttemptRecord]]
) -> list[UsedRecord]:
    """Copy each file that jobs were given once, out of the first attempt's folder that still holds it."""
    copies: dict[str, str] = {}
    records: list[UsedRecord] = []
    for key in used:
        name, origin, digest, is_input = key
        record = UsedRecord(name=name, origin=origin, sha256=digest, is_input=is_input)
        if not is_input:
            place = copies.get(digest) or _copy_one_used(gathering, key, makers[key])
            if place is not None:
                copies[digest] = place
                size = (gathering.target / place).stat().st_size
                record = attrs.evolve(record, bytes=size, place=place)
        records.append(record)
    return records


def _copy_one_used(gathering: Gathering, key: _UsedKey, makers: Sequence[AttemptRecord]) -> str | None:
    name, _, digest, _ = key
    place = f"used/{digest[:16]}/{portable(PurePosixPath(name).name)}"
    for maker in makers:
        path = gathering.folder.attempt(maker.task_id, maker.n).path
        try:
            with confined(path) as source, opened(source, name) as reading:
                if _copy(gathering, reading, place) == digest:
                    return place
        except _LookError as error:
            raise error.cause from None
        except OSError:
            continue
        _remove(gathering, place)
    return None


# ---- what the run was made from ----


def _take_sources(gathering: Gathering, history: History) -> list[SourceRecord]:
    """Copy the campaign's files, as they were kept when the run was made."""
    sources = history.created.sources
    try:
        return [
            _take_source(gathering, path, digest, place)
            for (path, digest), place in zip(sources.items(), _places(SOURCES, sources), strict=True)
        ]
    except _LookError as error:
        raise error.cause from None


def _take_source(gathering: Gathering, path: str, recorded: str, place: str) -> SourceRecord:
    try:
        with confined(gathering.folder.sources) as folder, opened(folder, path) as reading:
            size = os.fstat(reading).st_size
            digest = _copy(gathering, reading, place)
    except OSError as error:
        state, detail = _failure(error)
        return SourceRecord(path=path, sha256=recorded, state=state, detail=detail)
    if digest == recorded:
        return SourceRecord(path=path, sha256=recorded, state=FileState.COPIED, bytes=size, place=place)
    _remove(gathering, place)
    detail = f"the copy's SHA-256 is {digest} now, and was {recorded}"
    return SourceRecord(path=path, sha256=recorded, state=FileState.CHANGED, detail=detail)


# ---- what it left behind ----


@contextmanager
def opened(folder: Confined, name: str) -> Iterator[int]:
    """Open a regular file for reading."""
    descriptor = folder.open_file(name)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _places(folder: str, paths: Iterable[str]) -> list[str]:
    """Where files go in the bundle; no two of them to the same place, whatever their names are."""
    places: dict[str, None] = {}
    for path in paths:
        place = f"{folder}/{portable(path)}"
        while place in places:
            place += "~"
        places[place] = None
    return list(places)


def _take_output(
    gathering: Gathering, source: Confined, attempt: AttemptState, place: str, output: OutputFile
) -> OutputRecord:
    record = partial(_record, attempt, output)
    if not output.sha256:
        return record(FileState.UNREADABLE, "it could not be read when its task ended, so no hash is known")
    try:
        with opened(source, output.path) as reading:
            if output.size_bytes > gathering.copy_below_bytes:
                digest = _hash_once(gathering, reading, f"{attempt.task_id}/{attempt.n}/{output.path}")
                if digest == output.sha256:
                    return record(FileState.REFERENCED, "")
                return record(FileState.CHANGED, _changed(digest, output))
            if (size := os.fstat(reading).st_size) != output.size_bytes:
                # Not read at all: it may have grown to any size.
                return record(FileState.CHANGED, f"it has {size} bytes, not {output.size_bytes}")
            digest = _copy(gathering, reading, place)
    except OSError as error:
        return record(*_failure(error))
    if digest == output.sha256:
        return record(FileState.COPIED, "", place)
    _remove(gathering, place)
    return record(FileState.CHANGED, _changed(digest, output))


def _changed(digest: str, output: OutputFile) -> str:
    return f"its SHA-256 is {digest} now, and was {output.sha256} when its task ended"


def _take_found(
    gathering: Gathering, source: Confined, folder: str, names: Sequence[tuple[str, str]]
) -> Iterator[LogRecord]:
    """Copy files whose hashes nobody recorded; ``names`` are those in the bundle, and in the folder."""
    for name, found in names:
        # A log that is missing is one of a job that never began, or none at all.
        with suppress(OSError), opened(source, found) as reading:
            size = os.fstat(reading).st_size
            if not size:
                continue
            place = f"{folder}/{portable(name)}"
            if size > gathering.copy_below_bytes:
                yield LogRecord(name=name, bytes=size, sha256=_hash_once(gathering, reading, place))
            else:
                digest = _copy(gathering, reading, place)
                yield LogRecord(name=name, bytes=size, sha256=digest, place=place)


def _hash_once(gathering: Gathering, reading: int, name: str) -> str:
    status = os.fstat(reading)
    known = gathering.cache.find(name, status)
    if known is not None:
        gathering.on_bytes(status.st_size)
        return known
    digest = hashlib.sha256()
    for chunk in chunks(reading):
        digest.update(chunk)
        gathering.on_bytes(len(chunk))
    gathering.cache.keep(name, status, digest.hexdigest())
    return digest.hexdigest()


def _copy(gathering: Gathering, reading: int, place: str) -> str:
    """Copy an open file into the bundle; returns its hash.

    Raises:
        OSError: it cannot be read.
        _LookError: the copy cannot be written.
    """
    digest = hashlib.sha256()
    with _writing(gathering, place) as write:
        for chunk in chunks(reading):
            digest.update(chunk)
            gathering.on_bytes(len(chunk))
            write(chunk)
    return digest.hexdigest()


@contextmanager
def _writing(gathering: Gathering, place: str) -> Iterator[Callable[[bytes], None]]:
    try:
        with confined(gathering.target) as target:
            descriptor = target.create_file(place)
    except OSError as error:
        raise _LookError(error) from None

    def write(data: bytes) -> None:
        try:
            write_all(descriptor, data)
        except OSError as error:
            raise _LookError(error) from None

    with closing(os.fdopen(descriptor, "wb", buffering=0)):
        yield write


def _remove(gathering: Gathering, place: str) -> None:
    """Take a copy away that turned out to be of something else, and the folders that are empty then."""
    path = gathering.target / place
    path.unlink(missing_ok=True)
    for parent in path.parents:
        if parent == gathering.target:
            return
        try:
            parent.rmdir()
        except OSError:
            return
