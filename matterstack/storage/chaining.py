"""Chain the events of a store from before there were chains."""

from __future__ import annotations

import sqlite3
from typing import Final

from matterstack.core.ids import RunId
from matterstack.core.run.chain import UNCHAINED, chained
from matterstack.storage.read.events import EventRow

_AT_ONCE: Final = 1000
_EVENTS: Final = "SELECT seq, run_id, at, type, data FROM events WHERE seq > ? ORDER BY seq LIMIT ?"
_INSERT: Final = (
    "INSERT INTO chained_events (seq, run_id, at, type, previous, data) VALUES (?, ?, ?, ?, ?, ?)"
)
_REPLACE: Final = (
    "DELETE FROM sqlite_sequence WHERE name = 'chained_events'",
    "UPDATE sqlite_sequence SET name = 'chained_events' WHERE name = 'events'",  # the last number ever used
    "DROP TABLE events",
    "ALTER TABLE chained_events RENAME TO events",
    "CREATE INDEX events_by_run ON events (run_id, seq)",
)


def chain_old_events(connection: sqlite3.Connection) -> tuple[int, int]:
    """Put chained events into the place of those that are there; called in a transaction.

    Returns:
        Of how many runs there are any, and how many.
    """
    heads: dict[RunId, tuple[int, str]] = {}
    last = count = 0
    while rows := connection.execute(_EVENTS, (last, _AT_ONCE)).fetchall():
        chain: list[tuple[object, ...]] = []
        for row in rows:
            event = EventRow(*row)
            _, head = heads.get(event.run_id, (0, UNCHAINED))
            chain.append((event.seq, event.run_id, event.at, event.type, head, event.data))
            heads[event.run_id] = (event.seq, chained(head, event.line()))
        connection.executemany(_INSERT, chain)
        last, count = rows[-1][0], count + len(rows)
    connection.executemany(
        "INSERT INTO heads (run_id, seq, head, chained_to) VALUES (?, ?, ?, ?)",
        [(run_id, seq, head, seq) for run_id, (seq, head) in heads.items()],
    )
    for statement in _REPLACE:
        connection.execute(statement)
    return len(heads), count
