"""Heads of runs: the hash that the last event of each run has, and what its predecessors had."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import attrs

from matterstack.core.ids import RunId
from matterstack.storage.schema import corrupt

SET_HEAD: Final = (
    "INSERT INTO heads (run_id, seq, head) VALUES (?, ?, ?) "
    "ON CONFLICT (run_id) DO UPDATE SET seq = excluded.seq, head = excluded.head"
)


@attrs.frozen
class Head:
    """The end of a run's chain.

    Attributes:
        seq: number of the event whose hash it is.
        chained_to: number of the last event that was chained only when the store was brought up to date; 0
            when each event of the run was stored with the hash of the one before it.
    """

    seq: int
    head: str
    chained_to: int = 0


def head_of(connection: sqlite3.Connection, run_id: RunId) -> Head | None:
    """The head of a run; None when it has none, which no run of the store should have."""
    row = connection.execute("SELECT seq, head, chained_to FROM heads WHERE run_id = ?", (run_id,)).fetchone()
    return Head(*row) if row is not None else None


def heads_of(connection: sqlite3.Connection, run_ids: Iterable[RunId]) -> dict[RunId, str]:
    """The hashes that the last events of some runs have."""
    wanted = tuple(run_ids)
    marks = ", ".join("?" * len(wanted))
    rows = connection.execute(f"SELECT run_id, head FROM heads WHERE run_id IN ({marks})", wanted)  # noqa: S608
    return {RunId(run_id): head for run_id, head in rows}


def has_been_head(connection: sqlite3.Connection, run_id: RunId, head: str) -> bool:
    """Whether an event of a run has this hash.  Looks through its events where it is not the last one."""
    found = connection.execute("SELECT 1 FROM heads WHERE run_id = ? AND head = ?", (run_id, head)).fetchone()
    return (
        found is not None
        or connection.execute(
            "SELECT 1 FROM events WHERE run_id = ? AND previous = ?", (run_id, head)
        ).fetchone()
        is not None
    )


def require_head(connection: sqlite3.Connection, run_id: RunId, seq: int, head: str) -> None:
    """Check that the events of a run are those that were stored.

    Args:
        seq: number of the last one.
        head: its hash, as it follows from all of them.

    Raises:
        DatabaseCorruptError: they are not.
    """
    stored = head_of(connection, run_id)
    if stored is None or (stored.seq, stored.head) != (seq, head):
        path = connection.execute("PRAGMA database_list").fetchone()[2]
        raise corrupt(Path(path), f"the events of run {run_id} are not those that were stored")
