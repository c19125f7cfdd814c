"""Runs in a real store, driven by messages without engine, files or jobs."""

from __future__ import annotations

import hashlib
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Self

import attrs
import pytest

from matterstack.core.errors import MatterStackError
from matterstack.core.ids import RunId
from matterstack.core.run import facts as f
from matterstack.core.run import messages as m
from matterstack.core.run.apply import Touched, fold
from matterstack.core.run.state import RunState
from matterstack.storage import schema
from matterstack.storage.journal import Append, commit, make_append
from matterstack.storage.layout import Root
from matterstack.storage.leases import Lease, acquire_lease
from matterstack.storage.read.events import event_rows, facts_of
from matterstack.storage.schema import open_database
from matterstack.storage.snapshot import load_run
from tests.support.states import RUN_ID, ToldRun, comparable


def new_root(path: Path) -> Root:
    """A root without workspaces."""
    (path / "workspaces").mkdir(parents=True)
    return Root(path)


def copy_as_of_before(table: str, newer: Path, old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copy a store into a new one of the version that had no such table yet."""
    number = next(n for n, script in enumerate(schema.MIGRATIONS) if f"TABLE {table}" in script)
    with monkeypatch.context() as before:
        before.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:number])
        before.setattr(schema, "SCHEMA_VERSION", number)
        with closing(open_database(old)) as connection:
            connection.execute("ATTACH ? AS newer", (str(newer),))
            for name in ("events", "runs", "tasks", "attempts"):
                columns = ", ".join(row[1] for row in connection.execute(f"PRAGMA table_info({name})"))
                connection.execute(f"INSERT INTO {name} SELECT {columns} FROM newer.{name}")  # noqa: S608


@attrs.define
class StoredRun:
    """A run in memory, what of it is not stored yet, and the right to store it."""

    connection: sqlite3.Connection
    root: Root
    run: ToldRun
    lease: Lease | None = None
    stored: int = 0

    @classmethod
    def create(
        cls, connection: sqlite3.Connection, root: Root, run_id: RunId = RUN_ID, **overrides: Any
    ) -> Self:
        """Store a PENDING run and take its lease."""
        made = cls(connection, root, ToldRun.new(run_id, **overrides))
        made.commit()
        made.lease = acquire_lease(connection, root, run_id)
        return made

    @property
    def run_id(self) -> RunId:
        return self.run.state.run_id

    def append(self, outcomes: Mapping[str, Mapping[str, Any]] | None = None) -> Append:
        """What has been decided since the last time; taken as stored from here on."""
        epoch = self.lease.epoch if self.lease is not None else None
        facts = self.run.facts[self.stored :]
        append = make_append(self.run.state, epoch, facts, self.run.touched, outcomes)
        self.stored = len(self.run.facts)
        self.run.touched = Touched()
        return append

    def commit(self, outcomes: Mapping[str, Mapping[str, Any]] | None = None) -> int:
        """Store what has been decided; returns the last sequence number.

        Raises:
            MatterStackError: it was refused.
        """
        (outcome,) = commit(self.connection, self.root.database, [self.append(outcomes)])
        if isinstance(outcome, MatterStackError):
            raise outcome
        return outcome

    def tell(self, *messages: m.Message) -> list[f.Fact]:
        """Decide, apply and store."""
        facts = self.run.tell(*messages)
        self.commit()
        return facts

    def loaded(self) -> RunState:
        """The run as its snapshot has it."""
        return require_loaded(self.connection, self.run_id)


@contextmanager
def passing_run() -> Iterator[StoredRun]:
    """A run in a store that is gone afterwards, for examples of which there are many."""
    with tempfile.TemporaryDirectory() as folder:
        root = new_root(Path(folder) / "root")
        with closing(open_database(root.database)) as connection:
            connection.execute("PRAGMA synchronous = OFF")  # power loss is not what this is about
            stored = StoredRun.create(connection, root, max_hpc_jobs_per_run=3, hold_after_alike=2)
            yield stored
            if stored.lease is not None:
                stored.lease.release(connection)


def require_loaded(connection: sqlite3.Connection, run_id: RunId) -> RunState:
    """A run that must be there."""
    state = load_run(connection, run_id)
    if state is None:
        raise LookupError(run_id)
    return state


def assert_snapshot_is_fold(connection: sqlite3.Connection, run_id: RunId) -> RunState:
    """The rows of a run say what its events say; returns the state."""
    folded = fold(run_id, [(event.at, event.fact) for event in facts_of(connection, run_id)])
    loaded = require_loaded(connection, run_id)
    assert comparable(loaded) == comparable(folded)
    return loaded


def chain_again(connection: sqlite3.Connection) -> None:
    """Make the chains fit the events that are there, as one would who has changed some of them."""
    connection.execute("DELETE FROM heads")
    for (run_id,) in connection.execute("SELECT DISTINCT run_id FROM events").fetchall():
        head, last = "", 0
        for row in list(event_rows(connection, run_id)):
            connection.execute("UPDATE events SET previous = ? WHERE seq = ?", (head, row.seq))
            head, last = hashlib.sha256(head.encode() + row.line()).hexdigest(), row.seq
        connection.execute("INSERT INTO heads VALUES (?, ?, ?, ?)", (run_id, last, head, last))


def dump(connection: sqlite3.Connection) -> list[tuple[Any, ...]]:
    """Every row of every table, for comparing what is there before and after."""
    tables = ("runs", "tasks", "attempts", "events", "heads", "commands")
    return [row for table in tables for row in connection.execute(f"SELECT '{table}', * FROM {table}")]  # noqa: S608
