"""Prove that a store is what it promises to be: history, snapshot and files against each other.

Changes nothing that it checks.  The history's own rules are those of
`matterstack.core.run.history_rules`; here come the rules that need more than the facts:

    database  SQLite finds its file intact
    chain     each event carries the hash of the one before it in its run, and the last one has the head
    snapshot  the rows of runs, tasks and attempts are what the facts give, at the end and on the way
    claim     the job that worked in an attempt's folder is the one that the facts name
    restored  no folder of a run knows of events that the store does not have
    given     what the job of an attempt was given is what its task's definition said when it was prepared
    files     the recorded outputs of tasks are there, in the recorded size
"""

from __future__ import annotations

import json
import sqlite3
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final

import attrs

from matterstack.core.errors import StoreError
from matterstack.core.ids import RunId
from matterstack.core.model.resources import Resources
from matterstack.core.model.workflow import Task
from matterstack.core.nonces import is_believed, read_claim_text
from matterstack.core.operators import ASKED
from matterstack.core.run.apply import Touched
from matterstack.core.run.campaign_code import KnownCode
from matterstack.core.run.chain import UNCHAINED, chained
from matterstack.core.run.facts import FACT_TYPES, Event, OutputFile, RunDeleted
from matterstack.core.run.history_rules import HistoryChecker, Problem
from matterstack.core.run.numbers import Range, read_numbers
from matterstack.core.run.state import AttemptState, RunState, TaskState
from matterstack.core.shown_text import brief
from matterstack.storage.codec import CONVERTER, decode, encode
from matterstack.storage.deletion import unfinished
from matterstack.storage.fact_codec import decode_fact
from matterstack.storage.layout import Root, RunFolder, is_folder
from matterstack.storage.read.deleted_runs import DELETED, all_deleted
from matterstack.storage.read.events import EventRow
from matterstack.storage.restored import is_known, known_head, run_folders
from matterstack.storage.schema import open_database, translated_errors
from matterstack.storage.small_files import read_small
from matterstack.storage.snapshot import (
    ATTEMPT_CHANGES,
    ATTEMPT_COLUMNS,
    RUN_COLUMNS,
    TASK_CHANGES,
    TASK_COLUMNS,
    TASK_DEFINITION,
    Row,
    attempt_change,
    attempt_row,
    run_row,
    task_change,
    task_definition,
    task_row,
)

SAMPLES: Final = 20
"""At how many sequence numbers, beside the last one, the snapshot is compared with the fold."""

_EVENTS: Final = "SELECT seq, run_id, at, type, data, previous FROM events ORDER BY seq"
_HEADS: Final = "SELECT run_id, seq, head FROM heads ORDER BY run_id"
_IS_RUN: Final = "SELECT 1 FROM runs WHERE run_id = ?"
_TABLE_NAMES: Final = "SELECT name FROM sqlite_schema WHERE type = 'table'"
_LAST_USED: Final = "SELECT seq FROM sqlite_sequence WHERE name = 'events'"
_MOST_SHOWN: Final = 80
"""How many characters of a value are shown from where it begins to differ."""
_MOST_MANIFEST_BYTES: Final = 8 << 20
_OWN_NAMES: Final = "MATTERSTACK_"
"""How the variables begin that each job is given beside those of its task."""
_MOST_CLAIM_BYTES: Final = 4096
"""As much of it as backends read."""

_Key = tuple[str, ...]
_TABLES: Final[tuple[tuple[str, tuple[str, ...], Callable[[dict[str, Any]], _Key]], ...]] = (
    ("runs", RUN_COLUMNS, lambda row: ("run", row["run_id"])),
    ("tasks", TASK_COLUMNS, lambda row: ("task", row["run_id"], row["task_id"])),
    ("attempts", ATTEMPT_COLUMNS, lambda row: ("attempt", row["run_id"], row["token"])),
)


_KINDS: Final[Mapping[str, Any]] = {
    "code": KnownCode,
    "task": Task,
    "definition": Task,
    "resources": Resources,
    "outputs": tuple[OutputFile, ...],
}


def check_store(root: Root, samples: int = SAMPLES) -> list[Problem]:
    """Check everything below a root; an empty list is the proof.

    The store may be in use: what is checked is one consistent state of it.

    Raises:
        StoreError: the database cannot be opened or read.
    """
    checker = HistoryChecker()
    with closing(open_database(root.database)) as connection, translated_errors(root.database):
        problems = _integrity(connection)
        if problems:
            return problems
        connection.execute("BEGIN")
        try:
            problems = list(_check_rows(connection, checker, samples))
        finally:
            connection.execute("COMMIT")
        # Only now, and a file before the store: what an engine commits meanwhile is no contradiction.
        problems += _check_restored(connection, root)
    # Looking at many files takes long: a reader must not keep a rollback journal's writer out meanwhile.
    for _, state in sorted(checker.states.items()):
        problems += _check_files(root, state)
    return problems


def _integrity(connection: sqlite3.Connection) -> list[Problem]:
    try:
        return _findings(connection, "PRAGMA integrity_check", "")
    except sqlite3.DatabaseError as error:
        # It gives up at the first page that it cannot read: tell at least which tables are not whole.
        tables = [name for (name,) in connection.execute(_TABLE_NAMES)]
        problems = [problem for table in tables for problem in _table_integrity(connection, table)]
        if not problems:
            raise
        return [Problem(None, None, "database", str(error)), *problems]


def _table_integrity(connection: sqlite3.Connection, table: str) -> list[Problem]:
    try:
        return _findings(connection, f"PRAGMA integrity_check('{table}')", f"table {table}: ")
    except sqlite3.DatabaseError as error:
        return [Problem(None, None, "database", f"table {table}: {brief(error)}")]


def _findings(connection: sqlite3.Connection, pragma: str, where: str) -> list[Problem]:
    found = [finding for (finding,) in connection.execute(pragma) if finding != "ok"]
    return [Problem(None, None, "database", f"{where}{finding}") for finding in found]


def _check_rows(connection: sqlite3.Connection, checker: HistoryChecker, samples: int) -> Iterator[Problem]:
    yield from _check_events(connection, checker, samples)
    for _, state in sorted(checker.states.items()):
        yield from _compare_with_store(connection, state)
    known = checker.states.keys() | checker.broken
    for table in ("runs", "tasks", "attempts"):
        for (run_id,) in connection.execute(f"SELECT DISTINCT run_id FROM {table} ORDER BY run_id"):  # noqa: S608
            if run_id not in known:
                text = f"it has rows in {table}, but no history that gives them"
                yield Problem(run_id, None, "snapshot", text)


def _check_events(connection: sqlite3.Connection, checker: HistoryChecker, samples: int) -> Iterator[Problem]:
    shadow, chains = _Shadow(), _Chains()
    gone = (numbers for fact in all_deleted(connection) for numbers in _gone(fact))
    checker.gone = sorted(gone)
    (last,) = connection.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()
    step = max(1, last // (samples + 1)) if samples else last + 1
    for seq, run_id, at, kind, data, previous in connection.execute(_EVENTS):
        if kind == DELETED:
            chains.resume(run_id, data)
        broken = list(chains.follow(EventRow(seq, run_id, at, kind, data), previous))
        try:
            event = Event(seq=seq, run_id=run_id, at=at, fact=decode_fact(kind, data))
        except Exception as error:  # noqa: BLE001  whatever decoding makes of what nobody encoded
            yield from checker.cannot_read(seq, run_id, _unreadable(kind, error))
            yield from broken
            continue
        yield from checker.check(event)
        yield from broken
        state = checker.states.get(run_id)
        if state is not None:
            shadow.write(state, checker.touched)
            if seq % step == 0:
                yield from shadow.compare(state, seq)
    (used,) = connection.execute(_LAST_USED).fetchone() or (0,)
    if used > last:
        text = f"the newest events are missing: {used} were stored, and the last one there is {last}"
        yield Problem(None, None, "gap", text)
    yield from chains.compare(connection.execute(_HEADS))


@attrs.define
class _Chains:
    """The chains of all runs, as far as their events have been read.

    Attributes:
        _ends: of each run, the number and the hash of the last event so far.
        _broken: runs of which a problem was told already: all that follows is one of its consequences.
    """

    _ends: dict[RunId, tuple[int, str]] = attrs.field(factory=dict)
    _broken: set[RunId] = attrs.field(factory=set)

    def follow(self, event: EventRow, previous: str | None) -> Iterator[Problem]:
        """Take the next event in."""
        run_id = event.run_id
        seq, head = self._ends.get(run_id, (None, UNCHAINED))
        if previous != head:
            if seq is None:
                text = f"what was before event {event.seq} is gone: it carries the hash of another event"
            else:
                text = (
                    f"event {seq} is not what was stored, or what came after it is gone: "
                    f"event {event.seq} does not carry its hash"
                )
            yield from self._break(run_id, seq if seq is not None else event.seq, text)
        try:
            # From what it carries: so that one change is one problem, and no more than one.
            self._ends[run_id] = (event.seq, chained(previous or UNCHAINED, event.line()))
        except (TypeError, ValueError) as error:
            yield from self._break(run_id, event.seq, f"it is no event that was stored: {brief(error)}")

    def resume(self, run_id: RunId, data: str) -> None:
        """Go on where a run was deleted: what is gone of its chain ended with the head that is told."""
        if run_id in self._ends:
            return
        with suppress(Exception):  # what cannot be read is told of as such
            fact = decode_fact(DELETED, data)
            if isinstance(fact, RunDeleted):
                self._ends[run_id] = (0, fact.head)

    def compare(self, heads: Iterable[tuple[RunId, int, str]]) -> Iterator[Problem]:
        """Compare where the chains end with the heads of the store."""
        stored = {run_id: (seq, head) for run_id, seq, head in heads}
        for run_id in sorted(stored.keys() | self._ends.keys()):
            (seq, head), (last, hashed) = stored.get(run_id, (0, "")), self._ends.get(run_id, (0, ""))
            if seq != last:
                text = f"its history ends with event {last}, and the last one that was stored is event {seq}"
                yield from self._break(run_id, last or None, text)
            elif head != hashed:
                text = f"event {last} is not what was stored: the run's head is another hash"
                yield from self._break(run_id, last, text)

    def _break(self, run_id: RunId, seq: int | None, text: str) -> Iterator[Problem]:
        if run_id not in self._broken:
            self._broken.add(run_id)
            yield Problem(run_id, seq, "chain", text)


def _gone(fact: RunDeleted) -> Iterator[Range]:
    with suppress(ValueError):  # what contradicts itself is told of as such
        yield from read_numbers(fact.numbers)


def _unreadable(kind: object, error: Exception) -> str:
    if kind not in FACT_TYPES:
        return f"this version of MatterStack knows no fact {kind!r}: a newer one may have written it"
    return (
        f"it is no {kind} as this version of MatterStack writes them: {type(error).__name__}: {brief(error)}"
    )


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
            if task_id in touched.planned:
                self._rows[key] = task_row(run_id, task)
            else:
                self._update(key, TASK_COLUMNS, TASK_CHANGES, task_change(run_id, task))
            if task_id in touched.amended:
                self._update(key, TASK_COLUMNS, TASK_DEFINITION, task_definition(run_id, task))
        for token, attempt in touched.attempts.items():
            key = ("attempt", run_id, token)
            if token in touched.prepared:
                self._rows[key] = attempt_row(run_id, attempt)
            else:
                self._update(key, ATTEMPT_COLUMNS, ATTEMPT_CHANGES, attempt_change(attempt))

    def _update(self, key: _Key, columns: tuple[str, ...], changes: tuple[str, ...], values: Row) -> None:
        if key in self._rows:  # as in SQL, an update of a row that is not there changes nothing
            new = dict(zip(columns, self._rows[key], strict=True)) | dict(zip(changes, values, strict=False))
            self._rows[key] = tuple(new[column] for column in columns)

    def compare(self, state: RunState, seq: int) -> Iterator[Problem]:
        for what, key, columns, expected in _rows_of(state):
            found = self._rows.get(key)
            if found != expected:
                yield _difference(state.run_id, seq, what, columns, found, expected)


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
        if found != expected and (found is None or _written_now(columns, found) != expected):
            yield _difference(run_id, seq, what, columns, found, expected)
    for left in stored:
        yield Problem(run_id, seq, "snapshot", f"the row of {' '.join(left)} follows from no fact")


def _written_now(columns: tuple[str, ...], row: Row) -> Row:
    """The row as this version would write it: one that knew fewer fields has left the others out."""
    return tuple(_rewritten(column, value) for column, value in zip(columns, row, strict=True))


def _rewritten(column: str, value: Any) -> Any:  # noqa: ANN401  whatever a row holds
    kind = _KINDS.get(column)
    if kind is None:
        return value
    try:
        return encode(decode(value, kind))
    except Exception:  # noqa: BLE001  whatever decoding makes of what nobody encoded
        return value


def _difference(
    run_id: RunId, seq: int, what: str, columns: tuple[str, ...], found: Row | None, expected: Row
) -> Problem:
    if found is None:
        return Problem(run_id, seq, "snapshot", f"{what} has no row, though the facts give one")
    for column, is_, should_be in zip(columns, found, expected, strict=True):
        if is_ != should_be:
            found_text, expected_text = _where_different(is_, should_be)
            text = f"{what}: {column} is {found_text}, but the facts up to {seq} give {expected_text}"
            return Problem(run_id, seq, "snapshot", text)
    return Problem(run_id, seq, "snapshot", f"{what} differs from what the facts give")


def _where_different(found: object, expected: object) -> tuple[str, str]:
    """Both in words, without the (perhaps long) beginning and end that tell nothing."""
    if not (isinstance(found, str) and isinstance(expected, str)):
        return _shortened(found), _shortened(expected)
    pairs = enumerate(zip(found, expected, strict=False))
    same = next((place for place, (a, b) in pairs if a != b), min(len(found), len(expected)))
    start = same if same > _MOST_SHOWN // 2 else 0
    before = "..." if start else ""
    return before + _shortened(found[start:]), before + _shortened(expected[start:])


def _shortened(value: object) -> str:
    text = repr(value[: _MOST_SHOWN + 1] if isinstance(value, str) else value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."


# ---- the store and the folders ----


def _check_restored(connection: sqlite3.Connection, root: Root) -> Iterator[Problem]:
    going = {one.run_id for one in unfinished(connection)}
    for run_id, folder in run_folders(root):
        if run_id in going:
            continue
        known = known_head(folder)
        if known is None or is_known(connection, run_id, known.head):
            continue
        if connection.execute(_IS_RUN, (run_id,)).fetchone() is None:
            text = (
                f"the store has no such run, but its folder {folder.path} knows of events until "
                f"{known.until}: it was put back from a backup of before, or the folder comes from "
                "another root; put the newer store back, or take the folder away"
            )
        else:
            text = (
                f"its run.json knows of events until {known.until} that the store does not have: it was put "
                "back from a backup, or changed by hand; put the newer one back, if there is one, or go on: "
                "the engine that takes the run up notes in its history what is lost"
            )
        yield Problem(run_id, None, "restored", text)


# ---- the files ----


def _check_files(root: Root, state: RunState) -> Iterator[Problem]:
    folder = root.run_folder(state.workspace, state.run_id)
    try:
        problem = "" if is_folder(folder.path) else f"the run's folder {folder.path} is not there"
    except StoreError as error:
        problem = f"the run's folder cannot be looked at: {error}"
    if problem:
        yield Problem(state.run_id, None, "files", problem)
        return
    for task in state.tasks.values():
        for attempt in task.attempts:
            yield from _check_claim(folder, state, attempt)
            yield from _check_given(folder, state, attempt)
        if task.outputs and task.attempts:
            yield from _check_outputs(folder, state, task)


def _check_claim(folder: RunFolder, state: RunState, attempt: AttemptState) -> Iterator[Problem]:
    path = folder.attempt(attempt.task_id, attempt.n).claimant
    try:
        claimant, nonce = read_claim_text(read_small(path, _MOST_CLAIM_BYTES).decode(errors="replace"))
    except OSError:
        return
    if attempt.backend == ASKED:
        return  # a job that a person submitted has an id of its own
    # A live attempt without a job may have one that is about to be found.
    is_own = claimant == attempt.job_id and is_believed(nonce, attempt.nonce_sha256)
    if not claimant or is_own or (attempt.job_id is None and attempt.ended_at is None):
        return
    has = f"has job {attempt.job_id}" if attempt.job_id is not None else "ended without a job"
    text = (
        f"attempt {attempt.n} of task {attempt.task_id} {has}, "
        f"but its folder was claimed by job {_shortened(claimant)}"
    )
    if claimant == attempt.job_id:
        text += ", in a claim that does not bear the nonce of the attempt"
    yield Problem(state.run_id, None, "claim", text)


def _check_given(folder: RunFolder, state: RunState, attempt: AttemptState) -> Iterator[Problem]:
    path = folder.attempt(attempt.task_id, attempt.n).manifest
    try:
        # Before there is a job, an engine may be writing it anew.
        manifest = json.loads(read_small(path, _MOST_MANIFEST_BYTES)) if attempt.job_id else None
    except (OSError, ValueError, RecursionError):
        return  # gone, or longer than is read here, or the job has written over it: a bundle tells of that
    if not isinstance(manifest, dict):
        return
    for what, wanted in _to_be_given(state, attempt).items():
        given = _as_given(what, manifest.get(what), wanted)
        if given != wanted:
            is_, should_be = _where_others(given, wanted)
            text = (
                f"attempt {attempt.n} of task {attempt.task_id} was given {what} {_shortened(is_)}, "
                f"and its definition says {_shortened(should_be)}"
            )
            yield Problem(state.run_id, None, "given", text)
            return


def _as_given(what: str, given: Any, wanted: Any) -> Any:  # noqa: ANN401  whatever a manifest holds
    """What stands in a manifest, without names of our own, and with what its version did not know."""
    if not isinstance(given, dict):
        return given
    if what == "env":
        return {n: value for n, value in given.items() if n in wanted or not n.startswith(_OWN_NAMES)}
    return {**wanted, **given} if what == "resources" else given


def _where_others(given: object, wanted: object) -> tuple[object, object]:
    """Of two mappings only what is not the same."""
    if not (isinstance(given, dict) and isinstance(wanted, dict)):
        return given, wanted
    same = {name for name in given if name in wanted and given[name] == wanted[name]}
    return _without(given, same), _without(wanted, same)


def _without(mapping: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in mapping.items() if name not in names}


def _to_be_given(state: RunState, attempt: AttemptState) -> dict[str, Any]:
    """What a manifest has by the facts."""
    task = state.definition_of(attempt)
    wanted: dict[str, Any] = {
        "command": list(task.command),
        "env": dict(task.env),
        "params": task.params,
        "outputs": list(task.outputs),
        "resources": CONVERTER.unstructure(attempt.resources),
    }
    return wanted


def _check_outputs(folder: RunFolder, state: RunState, task: TaskState) -> Iterator[Problem]:
    place = folder.attempt(task.task.id, len(task.attempts)).path
    for output in task.outputs:
        text = _output_problem(place / output.path, output)
        if text is not None:
            yield Problem(state.run_id, None, "files", f"task {task.task.id}: output {output.path}{text}")


def _output_problem(path: Path, output: OutputFile) -> str | None:
    try:
        found = path.lstat()
    except OSError as error:
        return f": {error.strerror}"
    if not stat.S_ISREG(found.st_mode):
        return " is no regular file any more"
    return (
        None if found.st_size == output.size_bytes else f" has {found.st_size} bytes, not {output.size_bytes}"
    )
