"""What an attempt left behind: its outputs, its logs, and the record of what it was given."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import attrs

from matterstack.core.model.workflow import Task
from matterstack.core.run.facts import BoundFile, OutputFile
from matterstack.core.run.state import AttemptState
from matterstack.evidence.confined_reading import opened
from matterstack.evidence.gathering.copying import (
    Gathering,
    copy,
    failure,
    hash_once,
    require_no_secret,
    take_back,
    take_unrecorded,
)
from matterstack.evidence.gathering.given import FoundManifest, UsedKey, take_manifest
from matterstack.evidence.gathering.log_files import bound_logs, missing_log, take_logs
from matterstack.evidence.gathering.withholding import HoldsSecretError
from matterstack.evidence.history import Answer, End
from matterstack.evidence.survey import (
    AnswerRecord,
    AttemptRecord,
    FileState,
    LogRecord,
    OutputRecord,
    UnclaimedRecord,
    free_place,
)
from matterstack.evidence.unclaimed import unclaimed_names
from matterstack.storage.bound_files import LOGS
from matterstack.storage.confine import Confined, confined


@attrs.frozen
class FoundAttempt:
    """One attempt's files, with what it used still in full."""

    record: AttemptRecord
    outputs: tuple[OutputRecord, ...]
    used: tuple[UsedKey, ...] = ()
    unclaimed: tuple[UnclaimedRecord, ...] = ()
    answer: AnswerRecord | None = None


@attrs.frozen(kw_only=True)
class Ended:
    """An attempt that is to be looked at.

    Attributes:
        is_claimed: its task ended with it, and with what it had left.
        end: the event that ended its job, if it had one.
    """

    task: Task
    attempt: AttemptState
    outputs: tuple[OutputFile, ...]
    is_claimed: bool
    answer: Answer | None
    is_last: bool
    end: End | None = None

    @property
    def bound_logs(self) -> Mapping[str, BoundFile] | None:
        """Logs by name, as the event has them that ended its job."""
        return bound_logs(self.end, is_last=self.is_last)

    @property
    def folder_in_bundle(self) -> str:
        """The folder of its outputs in the bundle."""
        return f"outputs/{self.attempt.task_id}.{self.attempt.n}"


def look_at_folder(gathering: Gathering, ended: Ended) -> FoundAttempt:
    """Take what is in an attempt's folder.

    Raises:
        BundleWriteError: a copy cannot be written.
    """
    attempt = ended.attempt
    path = gathering.folder.attempt(attempt.task_id, attempt.n).path
    try:
        with confined(path) as source:
            manifest = take_manifest(gathering, source, attempt, ended.end)
            taken: set[str] = set()
            outputs = tuple(_take_output(gathering, source, ended, o, taken) for o in ended.outputs)
            unclaimed = tuple(_take_unclaimed(gathering, source, ended, taken))
            folder = f"logs/{attempt.task_id}.{attempt.n}"
            logs = tuple(
                take_logs(gathering, source, folder, [(n, n) for n in LOGS], ended.bound_logs, attempt)
            )
    except OSError as error:
        manifest = FoundManifest.of_failure(attempt, ended.end, *failure(error, "its folder "))
        return _nothing(ended, manifest, error)
    return FoundAttempt(_attempt(ended, manifest, logs), outputs, manifest.used, unclaimed)


def _attempt(ended: Ended, manifest: FoundManifest, logs: Sequence[LogRecord]) -> AttemptRecord:
    attempt = ended.attempt
    return AttemptRecord(
        task_id=attempt.task_id,
        n=attempt.n,
        token=attempt.token,
        manifest=manifest.state,
        detail=manifest.detail,
        logs=tuple(logs),
        manifest_file=manifest.file,
    )


def with_missing_logs(found: FoundAttempt, ended: Ended) -> FoundAttempt:
    """Add the logs that the event has which ended the job, and that were not found."""
    taken = {log.name for log in found.record.logs}
    missing = [missing_log(log) for name, log in (ended.bound_logs or {}).items() if name not in taken]
    if not missing:
        return found
    return attrs.evolve(found, record=attrs.evolve(found.record, logs=(*found.record.logs, *missing)))


def _nothing(ended: Ended, manifest: FoundManifest, error: OSError) -> FoundAttempt:
    """The attempt's folder cannot be opened."""
    state, detail = failure(error, "its folder ")
    outputs = tuple(_record(ended.attempt, output, state, detail) for output in ended.outputs)
    return FoundAttempt(_attempt(ended, manifest, ()), outputs)


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


def _take_output(
    gathering: Gathering, source: Confined, ended: Ended, output: OutputFile, taken: set[str]
) -> OutputRecord:
    record = partial(_record, ended.attempt, output)
    place = free_place(ended.folder_in_bundle, output.path, taken)
    if not output.sha256:
        return record(FileState.UNREADABLE, "it could not be read when its task ended, so no hash is known")
    try:
        with opened(source, output.path) as reading:
            if why := gathering.withholding.reason(ended.attempt, output.path):
                digest = hash_once(gathering, reading, _cache_name(ended.attempt, output.path))
                if digest == output.sha256:
                    return record(FileState.WITHHELD, why)
                return record(FileState.CHANGED, _changed(digest, output))
            if output.size_bytes > gathering.copy_below_bytes:
                if gathering.withholding.search:
                    require_no_secret(gathering, reading)
                digest = hash_once(gathering, reading, _cache_name(ended.attempt, output.path))
                if digest == output.sha256:
                    return record(FileState.REFERENCED, "")
                return record(FileState.CHANGED, _changed(digest, output))
            if (size := os.fstat(reading).st_size) != output.size_bytes:
                # Not read at all: it may have grown to any size.
                return record(FileState.CHANGED, f"it has {size} bytes, not {output.size_bytes}")
            digest = copy(gathering, reading, place)
    except OSError as error:
        return record(*failure(error))
    except HoldsSecretError as error:
        if error.digest == output.sha256:
            return record(FileState.WITHHELD, str(error))
        return record(FileState.CHANGED, _changed(error.digest, output))
    if digest == output.sha256:
        return record(FileState.COPIED, "", place)
    take_back(gathering, place)
    return record(FileState.CHANGED, _changed(digest, output))


def _cache_name(attempt: AttemptState, path: str) -> str:
    return f"{attempt.task_id}/{attempt.n}/{path}"


def _changed(digest: str, output: OutputFile) -> str:
    return f"its SHA-256 is {digest} now, and was {output.sha256} when its task ended"


def _take_unclaimed(
    gathering: Gathering, source: Confined, ended: Ended, taken: set[str]
) -> Iterator[UnclaimedRecord]:
    attempt = ended.attempt
    for name in [] if ended.is_claimed else unclaimed_names(source, ended.task):
        record = partial(UnclaimedRecord, task_id=attempt.task_id, n=attempt.n, path=name)
        place = free_place(ended.folder_in_bundle, name, taken)
        try:
            with opened(source, name) as reading:
                why = gathering.withholding.reason(attempt, name)
                found = take_unrecorded(gathering, reading, place, _cache_name(attempt, name), why)
        except OSError as error:
            take_back(gathering, place)
            state, detail = failure(error)
            yield record(sha256="", state=state, detail=detail)
        else:
            yield record(
                sha256=found.sha256,
                state=found.state,
                bytes=found.bytes,
                place=found.place,
                detail=found.why,
            )
