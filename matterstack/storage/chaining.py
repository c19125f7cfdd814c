"""Chain the events of a store from before there were chains."""

from __future__ import annotations

import sqlite3
from typing import Final

from matterstack.core.ids import RunId
from matterstack.core.run.chain import UNCHAINED, chained
from matterstack.storage.read.events import EventRow

_AT_ONCE: Final = 1000
_EVENTS: Final = (
    "SELECT seq, run_id, at, type, data FROM events WHERE run_id = ? AND seq > ? ORDER BY seq LIMIT ?"
)
_WITHOUT_HEAD: Final = (
    "SELECT DISTINCT run_id FROM events WHERE run_id NOT IN (SELECT run_id FROM heads) ORDER BY run_id"
)


def chain_old_events(connection: sqlite3.Connection) -> tuple[int, int]:
    """Chain the events of all runs that have no head; called in a transaction.

    Returns:
        How many runs these were, and how many events.
    """
    runs = [RunId(run_id) for (run_id,) in connection.execute(_WITHOUT_HEAD).fetchall()]
    return len(runs), sum(_chain(connection, run_id) for run_id in runs)


def _chain(connection: sqlite3.Connection, run_id: RunId) -> int:
    head, seq, count = UNCHAINED, 0, 0
    while rows := connection.execute(_EVENTS, (run_id, seq, _AT_ONCE)).fetchall():
        links: list[tuple[str, int]] = []
        for row in rows:
            event = EventRow(*row)
            links.append((head, event.seq))
            head, seq = chained(head, event.line()), event.seq
        connection.executemany("UPDATE events SET previous = ? WHERE seq = ?", links)
        count += len(links)
    connection.execute(
        "INSERT INTO heads (run_id, seq, head, chained_to) VALUES (?, ?, ?, ?)", (run_id, seq, head, seq)
    )
    return count
