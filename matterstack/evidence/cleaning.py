"""``run clean``: free what the jobs of an ended run left behind, beside what its evidence needs.

What evidence is made from stays: recorded outputs, the files that jobs were given, records and logs.  So
evidence can be built again afterwards, and is the same to the byte; scratch files and copies of inputs go.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Final

import attrs

from matterstack.core.errors import RefusedError, StoreError
from matterstack.core.ids import RunId, TaskId
from matterstack.core.model.workflow_check import RESERVED_NAMES
from matterstack.evidence.confined_reading import read_document
from matterstack.evidence.history import History, read_history
from matterstack.evidence.survey import SURVEY, parse_survey
from matterstack.evidence.unclaimed import unclaimed_names
from matterstack.evidence.verify import verify_bundle
from matterstack.storage.confine import Confined, confined
from matterstack.storage.layout import Root, RunFolder
from matterstack.storage.leases import acquire_lease
from matterstack.storage.outputs import RESULT
from matterstack.storage.schema import open_database, translated_errors

KEPT_NAMES: Final = RESERVED_NAMES | {RESULT}


@attrs.frozen(kw_only=True)
class Leftover:
    """A file that no evidence needs.

    Attributes:
        path: relative to the run's folder.
    """

    path: str
    bytes: int


def clean_run(store: Root, run_id: RunId, *, delete: bool) -> list[Leftover]:
    """Find what can be freed, and free it when ``delete``; returns it.

    Raises:
        NotFoundError: there is no such run.
        RefusedError: the run has not ended, somebody serves it, or its evidence is not there, is not whole
            or is not as of the run's last event.
        StoreError: the store or the files cannot be read or written.
    """
    with translated_errors(store.database), closing(open_database(store.database)) as connection:
        lease = acquire_lease(connection, store, run_id)
        if lease is None:
            raise RefusedError(f"run {run_id} is served by an engine", hint="wait until that has stopped")
        try:
            # Held, so that nobody reruns a task between the check and the end of it.
            history, _ = read_history(connection, run_id)
            folder = store.run_folder(history.state.workspace, run_id)
            _require_evidence(store, history, folder)
            found = list(_leftovers(history, folder))
            if delete:
                _delete(folder, found)
        finally:
            lease.release(connection)
    return found


def _require_evidence(store: Root, history: History, folder: RunFolder) -> None:
    run_id = history.run_id
    if not history.state.has_ended:
        raise RefusedError(f"run {run_id} is {history.state.status}: only runs that have ended are cleaned")
    bundle = folder.path / "evidence"
    hint = f"build it first: matterstack run export-evidence {run_id}"
    if not (bundle / SURVEY).is_file():
        raise RefusedError(f"run {run_id} has no evidence in {bundle}", hint=hint)
    findings = verify_bundle(bundle, store)
    if findings:
        first = findings[0]
        raise RefusedError(
            f"the evidence of run {run_id} is not whole: {first.path} {first.problem}", hint=hint
        )
    seq = parse_survey(read_document(bundle, SURVEY)).seq
    if seq != history.seq:
        raise RefusedError(
            f"the evidence of run {run_id} is as of event {seq}, and the run went on to {history.seq}",
            hint=hint,
        )


def _leftovers(history: History, folder: RunFolder) -> Iterator[Leftover]:
    for task in history.state.tasks.values():
        for attempt in task.attempts:
            outputs = history.outputs.get((attempt.task_id, attempt.n), ())
            definition = history.state.definition_of(attempt)
            kept = {*definition.files, *(output.path for output in outputs)}
            with suppress(OSError), confined(folder.attempt(attempt.task_id, attempt.n).path) as source:
                if (attempt.task_id, attempt.n) not in history.claimed:
                    kept.update(unclaimed_names(source, definition))
                yield from _in_folder(source, _prefix(attempt.task_id, attempt.n), kept)


def _prefix(task_id: TaskId, n: int) -> str:
    return f"tasks/{task_id}/{n}/"


def _in_folder(source: Confined, prefix: str, kept: set[str]) -> Iterator[Leftover]:
    for name in sorted(source.regular_files(leave_out=KEPT_NAMES), key=os.fsencode):
        if name not in kept:
            path, _, last = name.rpartition("/")
            with source.folder(path) as inner:
                found = os.stat(last, dir_fd=inner.descriptor, follow_symlinks=False)
            if stat.S_ISREG(found.st_mode):
                yield Leftover(path=prefix + name, bytes=found.st_size)


def _delete(folder: RunFolder, found: list[Leftover]) -> None:
    try:
        with confined(folder.path) as run:
            for leftover in found:
                path, _, last = leftover.path.rpartition("/")
                with run.folder(path) as inner:
                    os.unlink(last, dir_fd=inner.descriptor)
                _remove_empty(run, path)
    except OSError as error:
        raise StoreError(
            f"{folder.path}: {error.strerror or error}", hint="what is left can be cleaned later"
        ) from error


def _remove_empty(run: Confined, path: str) -> None:
    """Remove folders that are empty now, but for the attempt's own: ``tasks/TASK/N``."""
    while path.count("/") > 2:
        parent, _, last = path.rpartition("/")
        with run.folder(parent) as outer:
            try:
                os.rmdir(last, dir_fd=outer.descriptor)
            except OSError:
                return
        path = parent
