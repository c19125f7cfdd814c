"""``run import``: an archive of a run from elsewhere, to look at and to verify, and nothing more.

It is unpacked into ``imported/<run_id>`` of a root, beside the workspaces and outside of the store: no engine
serves it, and it takes no seat.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import attrs

from matterstack.core.errors import NotFoundError, RefusedError, StoreError
from matterstack.core.run.state import AttemptState
from matterstack.core.shown_text import brief, shown
from matterstack.evidence.archived_evidence import Contents, not_whole, read_contents
from matterstack.evidence.confined_reading import read_document
from matterstack.evidence.contents import EVENTS
from matterstack.evidence.history import History, fold_events, parse_lines
from matterstack.evidence.imported import IMPORTED
from matterstack.evidence.presentation import View
from matterstack.evidence.survey import SURVEY, parse_survey
from matterstack.evidence.unpacking import Archived, opened_archive, require_room
from matterstack.evidence.verify import verify_bundle
from matterstack.storage.codec import CONVERTER
from matterstack.storage.confine import confined
from matterstack.storage.layout import Root
from matterstack.storage.modes import make_folders
from matterstack.storage.read.runs import RunSummary, Stage
from matterstack.storage.schema import disk_full


@attrs.frozen(kw_only=True)
class Imported:
    """A run from elsewhere; ``path`` is its bundle."""

    path: Path
    summary: RunSummary
    is_complete: bool


def import_archive(root: Root, file: Path) -> Imported:
    """Unpack an archive, verify it, and keep it read-only.  It appears whole or not at all.

    Its evidence is read first, and says what else there is to unpack: nothing that it does not name, and
    nothing of another size, is written anywhere.

    Raises:
        NotFoundError: there is no such file.
        UsageError: it is no archive of a run, or one that leads out of its folder.
        RefusedError: what is in it does not fit together, or the run is there already.
        DiskFullError: there is no room.
        StoreError: the files cannot be read or written.
    """
    if not file.is_file():
        raise NotFoundError(f"no file {file}")
    try:
        with opened_archive(file) as archive:
            final = root.path / IMPORTED / archive.run_id
            if final.exists():
                raise RefusedError(f"run {archive.run_id} was imported already, to {final}")
            _import(archive, read_contents(archive), final)
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise disk_full(root.path / IMPORTED) from error
        raise StoreError(f"{file}: {error.strerror or error}") from error
    return look_at_bundle(final / "evidence")


def _import(archive: Archived, named: Contents, final: Path) -> None:
    make_folders(final.parent)
    require_room(final.parent, named.bytes, archive.file)
    part = final.with_name(f".{archive.run_id}.{os.getpid()}.part")
    try:
        with confined(part, make=True) as folder:
            for name, digest in named.hashes.items():
                if archive.unpack(name, folder) != digest:
                    raise not_whole(archive.file, f"{shown(name)} is not what its evidence names")
        findings = verify_bundle(part / "evidence")
        if findings:
            more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
            raise not_whole(archive.file, f"{shown(findings[0].path)} {findings[0].problem}{more}")
        part.rename(final)
    finally:
        with suppress(FileNotFoundError):
            shutil.rmtree(part)


def imported_tasks(folder: Path) -> list[dict[str, Any]]:
    """The tasks of a bundle, as `matterstack.storage.read.tasks.task_list` has those of a store.

    Raises:
        NotFoundError, RefusedError: as `look_at_bundle`.
    """
    with _readable(folder):
        history = fold_events(parse_lines(read_document(folder, EVENTS)))
    return [
        {
            "task_id": task.task.id,
            "iteration": task.iteration,
            "status": task.status.value,
            "reason": task.reason,
            "attempts": [_attempt(attempt) for attempt in task.attempts],
        }
        for task in history.state.tasks.values()
    ]


def _attempt(attempt: AttemptState) -> dict[str, Any]:
    return {
        "n": attempt.n,
        "token": attempt.token,
        "backend": attempt.backend,
        "job_id": attempt.job_id,
        "state": None if attempt.state is None else attempt.state.value,
        "raw_state": attempt.raw_state,
        "reason": attempt.reason,
        "exit_code": attempt.exit_code,
        "host": attempt.host,
        "submitted_at": attempt.submitted_at,
        "started_at": attempt.started_at,
        "ended_at": attempt.ended_at,
        "resources": CONVERTER.unstructure(attempt.resources),
        "last_words": attempt.last_words,
    }


def imported_events(folder: Path, after: int) -> list[bytes]:
    """Lines of a bundle's ``events.jsonl`` after a number.

    Raises:
        NotFoundError, RefusedError: as `look_at_bundle`.
    """
    with _readable(folder):
        return [row.line() for row in parse_lines(read_document(folder, EVENTS)) if row.seq > after]


def look_at_bundle(folder: Path) -> Imported:
    """What a bundle says of its run, without any store.

    Raises:
        NotFoundError: there is no bundle.
        RefusedError: it cannot be read.
    """
    with _readable(folder):
        history = fold_events(parse_lines(read_document(folder, EVENTS)))
        survey = parse_survey(read_document(folder, SURVEY))
    view = View(history, survey, lambda place: read_document(folder, place))
    summary = attrs.evolve(_summary(history), chained_to=survey.chained_to)
    return Imported(path=folder, summary=summary, is_complete=view.is_complete)


@contextmanager
def _readable(folder: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise NotFoundError(f"no evidence in {folder}") from None
    except Exception as error:  # noqa: BLE001  whatever becomes of a bundle that was spoilt
        hint = f"see: matterstack evidence verify {folder}"
        raise RefusedError(f"the evidence in {folder} cannot be read: {brief(error)}", hint=hint) from None


def _summary(history: History) -> RunSummary:
    state = history.state
    stages = []
    for number, name in enumerate(state.stage_names, start=1):
        tasks = [task for task in state.tasks.values() if task.iteration == number]
        counts = dict(Counter(task.status for task in tasks))
        live = sum(attempt.ended_at is None for task in tasks for attempt in task.attempts)
        stages.append(Stage(number, name, counts, live))
    return RunSummary(
        state.run_id,
        state.workspace,
        state.status,
        state.status_reason,
        state.iteration,
        tuple(stages),
        state.created_at,
        state.updated_at,
        ending=state.ending,
        head=history.head,
        seq=history.seq,
        is_imported=True,
    )
