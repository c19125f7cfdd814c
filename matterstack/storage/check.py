"""Prove that a store is what it promises to be: history, snapshot and files against each other.

Reads only.  The history's own rules are those of `matterstack.core.history`; here come the rules that need
more than the facts:

    database  SQLite finds its file intact
    snapshot  the rows of runs, tasks and attempts are what the facts give, at the end and on the way
    claim     the job that worked in an attempt's folder is the one that the facts name
    files     the recorded outputs of tasks are there, in the recorded size
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, Final

import attrs

from matterstack.core.apply import Touched
from matterstack.core.history import HistoryChecker, Problem
from matterstack.core.ids import RunId
from matterstack.core.run_state import AttemptState, RunState, TaskState
from matterstack.core.states import TaskStatus
from matterstack.storage.layout import Root
from matterstack.storage.queries import events_after
from matterstack.storage.schema import open_database, translated_errors
from matterstack.storage.snapshot import (
    ATTEMPT_CHANGES,
    ATTEMPT_COLUMNS,
    RUN_COLUMNS,
    TASK_CHANGES,
    TASK_COLUMNS,
    Row,
    attempt_change,
    attempt_row,
    run_row,
    task_change,
    task_row,
)

SAMPLES: Final = 20
"""At how many sequence numbers, beside the last one, the snapshot is compared with the fold."""

_Key = tuple[str, ...]
_TABLES: Final[tuple[tuple[str, tuple[str, ...], Callable[[dict[str, Any]], _Key]], ...]] = (
    ("runs", RUN_COLUMNS, lambda row: ("run", row["run_id"])),
    ("tasks", TASK_COLUMNS, lambda row: ("task", row["run_id"], row["task_id"])),
    ("attempts", ATTEMPT_COLUMNS, lambda row: ("attempt", row["run_id"], row["token"])),
)


def check_store(root: Root, samples: int = SAMPLES) -> list[Problem]:
    """Check everything below a root; an empty list is the proof.

    The store may be in use: what is checked is one consistent state of it.

    Raises:
        StoreError: the database cannot be opened or read.
    """
    with closing(open_database(root.database)) as connection, translated_errors(root.database):
        problems = list(_integrity(connection))
        if problems:
            return problems
        connection.execute("BEGIN")
        try:
            return list(_check(connection, root, samples))
        finally:
            connection.execute("COMMIT")


def _integrity(connection: sqlite3.Connection) -> Iterator[Problem]:
    for (finding,) in connection.execute("PRAGMA integrity_check"):
        if finding != "ok":
            yield Problem(None, None, "database", finding)


def _check(connection: sqlite3.Connection, root: Root, samples: int) -> Iterator[Problem]:
    checker = HistoryChecker()
    shadow = _Shadow()
    (last,) = connection.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()
    step = max(1, last // (samples + 1)) if samples else last + 1
    seq = 0
    while events := events_after(connection, seq):
        for event in events:
            yield from checker.check(event)
            state = checker.states.get(event.run_id)
            if state is not None:
                shadow.write(state, checker.touched)
                if event.seq % step == 0:
                    yield from shadow.compare(state, event.seq)
        seq = events[-1].seq
    yield from checker.finish()
    for run_id, state in sorted(checker.states.items()):
        yield from _compare_with_store(connection, state)
        yield from _check_files(root, run_id, state)
    for (run_id,) in connection.execute("SELECT run_id FROM runs ORDER BY run_id"):
        if run_id not in checker.states:
            yield Problem(run_id, None, "snapshot", "the run has a row, but no history that gives one")


# ---- the snapshot ----


@attrs.define
class _Shadow:
    """The snapshot as the journal would have written it, row by row, up to some fact."""

    _rows: dict[_Key, Row] = attrs.field(factory=dict)

    def write(self, state: RunState, touched: Touched) -> None:
        run_id = state.run_id
        if touched.run:
            self._rows["run", run_id] = run_row(state)
        for task_id in touched.tasks:
            key: _Key = ("task", run_id, task_id)
            task = state.tasks[task_id]
            self._rows[key] = (
                task_row(run_id, task)
                if task_id in touched.planned
                else _changed(self._rows[key], TASK_COLUMNS, TASK_CHANGES, task_change(run_id, task))
            )
        for token, attempt in touched.attempts.items():
            key = ("attempt", run_id, token)
            self._rows[key] = (
                attempt_row(run_id, attempt)
                if token in touched.prepared
                else _changed(self._rows[key], ATTEMPT_COLUMNS, ATTEMPT_CHANGES, attempt_change(attempt))
            )

    def compare(self, state: RunState, seq: int) -> Iterator[Problem]:
        for what, key, columns, expected in _rows_of(state):
            found = self._rows.get(key)
            if found != expected:
                yield _difference(state.run_id, seq, what, columns, found, expected)


def _changed(row: Row, columns: tuple[str, ...], changes: tuple[str, ...], values: Row) -> Row:
    new = dict(zip(columns, row, strict=True)) | dict(zip(changes, values, strict=False))
    return tuple(new[column] for column in columns)


def _rows_of(state: RunState) -> Iterator[tuple[str, _Key, tuple[str, ...], Row]]:
    run_id = state.run_id
    yield "the run", ("run", run_id), tuple(RUN_COLUMNS), run_row(state)
    for task_id, task in state.tasks.items():
        yield f"task {task_id}", ("task", run_id, task_id), TASK_COLUMNS, task_row(run_id, task)
    for attempt in state.attempts():
        key = ("attempt", run_id, attempt.token)
        what = f"attempt {attempt.n} of task {attempt.task_id}"
        yield what, key, ATTEMPT_COLUMNS, attempt_row(run_id, attempt)


def _compare_with_store(connection: sqlite3.Connection, state: RunState) -> Iterator[Problem]:
    run_id = state.run_id
    (seq,) = connection.execute("SELECT max(seq) FROM events WHERE run_id = ?", (run_id,)).fetchone()
    stored: dict[_Key, Row] = {}
    for table, columns, key_of in _TABLES:
        sql = f"SELECT {', '.join(columns)} FROM {table} WHERE run_id = ?"  # noqa: S608  only our own names
        for row in connection.execute(sql, (run_id,)):
            stored[key_of(dict(zip(columns, row, strict=True)))] = row
    for what, key_of_row, columns, expected in _rows_of(state):
        found = stored.pop(key_of_row, None)
        if found != expected:
            yield _difference(run_id, seq, what, columns, found, expected)
    for left in stored:
        yield Problem(run_id, seq, "snapshot", f"the row of {' '.join(left)} follows from no fact")


def _difference(
    run_id: RunId, seq: int, what: str, columns: tuple[str, ...], found: Row | None, expected: Row
) -> Problem:
    if found is None:
        return Problem(run_id, seq, "snapshot", f"{what} has no row, though the facts give one")
    for column, is_, should_be in zip(columns, found, expected, strict=True):
        if is_ != should_be:
            text = f"{what}: {column} is {is_!r}, but the facts up to {seq} give {should_be!r}"
            return Problem(run_id, seq, "snapshot", text)
    return Problem(run_id, seq, "snapshot", f"{what} differs from what the facts give")


# ---- the files ----


def _check_files(root: Root, run_id: RunId, state: RunState) -> Iterator[Problem]:
    folder = root.run_folder(state.workspace, run_id)
    for task in state.tasks.values():
        for attempt in task.attempts:
            yield from _check_claim(root, state, attempt)
        if task.status is TaskStatus.SUCCEEDED and task.attempts:
            yield from _check_outputs(root, state, task)
    if not folder.path.is_dir():
        yield Problem(run_id, None, "files", f"the run's folder {folder.path} is not there")


def _check_claim(root: Root, state: RunState, attempt: AttemptState) -> Iterator[Problem]:
    folder = root.run_folder(state.workspace, state.run_id).attempt(attempt.task_id, attempt.n)
    try:
        claimant = (folder.claim / "job_id").read_text(errors="replace").strip()
    except OSError:
        return
    if claimant and attempt.job_id is not None and claimant != attempt.job_id:
        text = (
            f"attempt {attempt.n} of task {attempt.task_id} has job {attempt.job_id}, "
            f"but its folder was claimed by job {claimant}"
        )
        yield Problem(state.run_id, None, "claim", text)


def _check_outputs(root: Root, state: RunState, task: TaskState) -> Iterator[Problem]:
    folder = root.run_folder(state.workspace, state.run_id).attempt(task.task.id, len(task.attempts))
    for output in task.outputs:
        path = folder.path / output.path
        try:
            size = path.lstat().st_size
        except OSError as error:
            text = f"task {task.task.id}: output {output.path}: {error.strerror}"
            yield Problem(state.run_id, None, "files", text)
            continue
        if size != output.size_bytes:
            text = f"task {task.task.id}: output {output.path} has {size} bytes, not {output.size_bytes}"
            yield Problem(state.run_id, None, "files", text)
