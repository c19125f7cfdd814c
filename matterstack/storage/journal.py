"""The only way facts get into the store: appended in groups, each one with the rows that it changes."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import attrs

from matterstack.core.errors import CapReachedError, LeaseLostError, MatterStackError, NotFoundError
from matterstack.core.ids import BackendName, RunId, TaskId, UtcTime
from matterstack.core.run.apply import Touched
from matterstack.core.run.chain import UNCHAINED, chained
from matterstack.core.run.decide_jobs import wanted_seats
from matterstack.core.run.facts import AttemptPrepared, Fact, JobEnded, SubmissionRefused, SubmissionWithdrawn
from matterstack.core.run.seats import Room
from matterstack.core.run.state import RunState
from matterstack.storage.claims import (
    Waiting,
    begin_turn,
    drop_claims,
    make_claim,
    room_for,
    serve_claims,
)
from matterstack.storage.codec import dumps
from matterstack.storage.crash_points import crash_point
from matterstack.storage.fact_codec import encode_fact
from matterstack.storage.heads import SET_HEAD
from matterstack.storage.layout import Root
from matterstack.storage.read.events import EventRow
from matterstack.storage.removed_rows import remove_run
from matterstack.storage.run_keys import RunKey, take_key
from matterstack.storage.schema import translated_errors
from matterstack.storage.snapshot import (
    INSERT_ATTEMPT,
    INSERT_TASK,
    UPDATE_ATTEMPT,
    UPDATE_DEFINITION,
    UPDATE_TASK,
    UPSERT_RUN,
    Row,
    attempt_change,
    attempt_row,
    run_row,
    task_change,
    task_definition,
    task_row,
)

NO_TIME: Final = UtcTime("")
ENDS = (JobEnded, SubmissionRefused, SubmissionWithdrawn)
_LAST_USED = "SELECT seq FROM sqlite_sequence WHERE name = 'events'"
_STANDING = (
    f"SELECT lease_epoch, head, ({_LAST_USED}) FROM runs LEFT JOIN heads USING (run_id) "  # noqa: S608
    "WHERE run_id = ?"
)
_INSERT_EVENT = "INSERT INTO events (seq, run_id, at, type, previous, data) VALUES (?, ?, ?, ?, ?, ?)"
_INSERT_CHANGE = "INSERT INTO changes (seq, run_id, task_id) VALUES (?, ?, ?)"


@attrs.frozen(kw_only=True)
class Append:
    """Facts of one run, to be stored together or not at all.

    Attributes:
        epoch: the lease under which they were decided; None only for a run's first fact.
        changed: tasks of which the row changes, or that of an attempt: who watches is told of them.
        seats: how many more attempts are live on each backend after them, and that backend's cap; only of
            backends on which they prepare any.
        wanted: how many seats more the run could use after them: of those backends, and of others on which
            it has stopped waiting.
        claims: how many seats it waits for on backends where there are none for now, since ``claimed_at``.
        weight: of the run, where seats are shared out.
        sharers: who shares the seats of each backend out to it.
        may_submit: whether the run submits anything after them.
        outcomes: what to answer to commands that they carry out, by command id.
        key: of a new run, what no other run may have.
        deletes: whether nothing else of the run is left but these facts, and the note that its folder is to
            go, but for its evidence where that ``keeps_evidence``.
    """

    run_id: RunId
    epoch: int | None
    facts: Sequence[tuple[UtcTime, Fact]]
    run: Row | None = None
    new_tasks: Sequence[Row] = ()
    tasks: Sequence[Row] = ()
    definitions: Sequence[Row] = ()
    new_attempts: Sequence[Row] = ()
    attempts: Sequence[Row] = ()
    changed: Sequence[TaskId] = ()
    seats: Mapping[BackendName, tuple[int, int]] = attrs.field(factory=dict)
    wanted: Mapping[BackendName, int] = attrs.field(factory=dict)
    claims: Mapping[BackendName, int] = attrs.field(factory=dict)
    claimed_at: UtcTime = NO_TIME
    weight: int = 1
    sharers: Mapping[BackendName, str] = attrs.field(factory=dict)
    may_submit: bool = True
    outcomes: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict)
    key: RunKey | None = None
    deletes: bool = False
    keeps_evidence: bool = False

    def waiting(self, backend: BackendName, wanted: int) -> Waiting:
        """What the run waits for on a backend."""
        sharer = self.sharers.get(backend, "")
        return Waiting(run=self.run_id, wanted=wanted, weight=self.weight, sharer=sharer)

    def prepared(self, backend: BackendName) -> int:
        """How many attempts it prepares on a backend."""
        return sum(isinstance(fact, AttemptPrepared) and fact.backend == backend for _, fact in self.facts)


def make_append(
    state: RunState,
    epoch: int | None,
    facts: Sequence[tuple[UtcTime, Fact]],
    touched: Touched,
    outcomes: Mapping[str, Mapping[str, Any]] | None = None,
    sharers: Mapping[BackendName, str] | None = None,
) -> Append:
    """Bundle facts with the rows that they touched, as ``state`` has them now."""
    more: Counter[BackendName] = Counter()
    prepares: set[BackendName] = set()
    for _, fact in facts:
        if isinstance(fact, AttemptPrepared):
            more[fact.backend] += 1
            prepares.add(fact.backend)
        elif isinstance(fact, ENDS):
            more[touched.attempts[fact.token].backend] -= 1
    seats = {backend: (more[backend], state.backend_cap(backend)) for backend in prepares}
    return Append(
        run_id=state.run_id,
        epoch=epoch,
        facts=facts,
        run=run_row(state) if touched.run else None,
        new_tasks=[task_row(state.run_id, state.tasks[t]) for t in touched.tasks if t in touched.planned],
        tasks=[task_change(state.run_id, state.tasks[t]) for t in touched.tasks if t not in touched.planned],
        definitions=[
            task_definition(state.run_id, state.tasks[t]) for t in touched.amended - touched.planned
        ],
        new_attempts=[
            attempt_row(state.run_id, a) for t, a in touched.attempts.items() if t in touched.prepared
        ],
        attempts=[attempt_change(a) for t, a in touched.attempts.items() if t not in touched.prepared],
        changed=list(dict.fromkeys((*touched.tasks, *(a.task_id for a in touched.attempts.values())))),
        seats=seats,
        wanted={backend: wanted_seats(state, backend) for backend in prepares},
        weight=state.priority if prepares else 1,
        sharers=sharers or {},
        may_submit=state.may_submit,
        outcomes=outcomes or {},
    )


def commit(
    connection: sqlite3.Connection, path: Path, appends: Sequence[Append]
) -> list[int | MatterStackError]:
    """Make all appends durable in one transaction.

    Returns:
        For each append the last sequence number in use, or why this one (and no other) was left out:
        LeaseLostError, CapReachedError, KeyTakenError.

    Raises:
        StoreError: nothing of the group was stored.
    """
    crash_point("before_commit")
    with translated_errors(path):
        # Never a deferred BEGIN: one that has read, and finds that another process committed since, is told
        # "database is locked" at once when it writes, whatever the busy timeout (measured with SQLite 3.40).
        connection.execute("BEGIN IMMEDIATE")
        try:
            root = Root(path.parent.parent)
            outcomes = [_append(connection, root, append) for append in appends]
            crash_point("inside_commit")
            connection.execute("COMMIT")
            crash_point("after_commit")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return outcomes


def _append(connection: sqlite3.Connection, root: Root, append: Append) -> int | MatterStackError:
    """Store one append, or say why it is left out: what another process has changed is looked at first."""
    end = _end_under_lease(connection, append)
    if isinstance(end, MatterStackError):
        return end
    if append.key is not None and (taken := take_key(connection, append.key, append.run_id)) is not None:
        return taken
    at = append.facts[-1][0] if append.facts else NO_TIME
    rooms: dict[BackendName, Room] = {}
    for backend, (more, cap) in append.seats.items():
        wanted = append.prepared(backend) + append.wanted.get(backend, 0)
        waiting = append.waiting(backend, wanted)
        rooms[backend] = room = room_for(connection, root, backend, waiting, cap, at)
        if more > room.seats:
            make_claim(connection, backend, waiting, at)
            live = cap - room.free
            ends = append.prepared(backend) - more
            return CapReachedError(backend, live + room.seats, live - ends)
    last = _store_events(connection, append, *end)
    if append.deletes:
        remove_run(connection, append.run_id, end[0], keeps_evidence=append.keeps_evidence)
        return last
    _store_rows(connection, append, last)
    _note_claims(connection, append, rooms, at)
    return last


def _end_under_lease(connection: sqlite3.Connection, append: Append) -> tuple[int, str] | MatterStackError:
    """What comes before the next event, if this one may write it: the last number, and the hash to carry.

    Nobody else writes until the commit, so they are known for all events of the append.
    """
    if append.epoch is None:
        (last,) = connection.execute(_LAST_USED).fetchone() or (0,)
        return last, UNCHAINED
    row = connection.execute(_STANDING, (append.run_id,)).fetchone()
    if row is None:
        return NotFoundError(f"run {append.run_id} is not in the store any more")
    epoch, head, last = row
    if epoch != append.epoch:
        return LeaseLostError(f"run {append.run_id} was taken over by another engine")
    return last or 0, head or UNCHAINED


def _store_events(connection: sqlite3.Connection, append: Append, last: int, head: str) -> int:
    """Store the facts behind those that are there; returns the number of the last event."""
    rows = []
    for seq, (at, fact) in enumerate(append.facts, start=last + 1):
        event = EventRow(seq, append.run_id, at, *encode_fact(fact))
        rows.append((seq, event.run_id, at, event.type, head, event.data))
        head = chained(head, event.line())
    if rows:
        connection.executemany(_INSERT_EVENT, rows)
        last += len(rows)
        connection.execute(SET_HEAD, (append.run_id, last, head))
    return last


def _store_rows(connection: sqlite3.Connection, append: Append, last: int) -> None:
    """Store what the facts have changed; ``last`` is the number of the last of them."""
    if append.run is not None:
        connection.execute(UPSERT_RUN, append.run)
    connection.executemany(INSERT_TASK, append.new_tasks)
    connection.executemany(UPDATE_TASK, append.tasks)
    connection.executemany(UPDATE_DEFINITION, append.definitions)
    connection.executemany(INSERT_ATTEMPT, append.new_attempts)
    connection.executemany(UPDATE_ATTEMPT, append.attempts)
    connection.executemany(_INSERT_CHANGE, [(last, append.run_id, task_id) for task_id in append.changed])
    for command_id, outcome in append.outcomes.items():
        connection.execute(
            "UPDATE commands SET outcome = ? WHERE id = ? AND outcome IS NULL", (dumps(outcome), command_id)
        )


def _note_claims(
    connection: sqlite3.Connection, append: Append, rooms: Mapping[BackendName, Room], at: UtcTime
) -> None:
    """Say what the run still waits for, and whose turn it is where seats go from one to the other."""
    if append.run is not None and not append.may_submit:
        drop_claims(connection, append.run_id)
        return
    for backend, room in rooms.items():
        more, _ = append.seats[backend]
        sharer = append.sharers.get(backend)
        if sharer and room.shared and room.live + more > room.whole:
            begin_turn(connection, backend, sharer, at)
    in_turn = [backend for backend, room in rooms.items() if room.shared and append.sharers.get(backend)]
    serve_claims(connection, append.run_id, append.wanted, at, in_turn)
    for backend, wanted in append.claims.items():
        make_claim(connection, backend, append.waiting(backend, wanted), append.claimed_at)
