"""Events, as the store has them: decoded, as JSON objects, or as the text of their rows."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from typing import Any, Final

import attrs

from matterstack.core.ids import RunId, UtcTime
from matterstack.core.run.facts import Event, RunPaused
from matterstack.storage.codec import dumps
from matterstack.storage.fact_codec import decode_fact
from matterstack.storage.read.deleted_runs import DELETED, no_such_run

_AS_JSON: Final = "json_object('seq', seq, 'at', at, 'run', run_id, 'type', type, 'data', json(data))"


@attrs.frozen
class EventRow:
    """An event as the store holds it; ``data`` is JSON text."""

    seq: int
    run_id: RunId
    at: UtcTime
    type: str
    data: str

    def line(self) -> bytes:
        """The event as a line of ``events.jsonl``; the same object that ``run events`` prints."""
        head = dumps({"seq": self.seq, "at": self.at, "run": self.run_id, "type": self.type})
        return f'{head[:-1]},"data":{self.data}}}\n'.encode()


def events_after(
    connection: sqlite3.Connection, seq: int, run_id: RunId | None = None, most: int = 1000
) -> list[Event]:
    """The next events after a sequence number, at most so many; of one run, or of all."""
    where = "AND run_id = ?" if run_id is not None else ""
    rows = connection.execute(
        f"SELECT seq, run_id, at, type, data FROM events WHERE seq > ? {where} ORDER BY seq LIMIT ?",  # noqa: S608
        (seq, run_id, most) if run_id is not None else (seq, most),
    )
    return [
        Event(seq=number, run_id=run, at=at, fact=decode_fact(kind, data))
        for number, run, at, kind, data in rows
    ]


def facts_of(connection: sqlite3.Connection, run_id: RunId) -> Iterator[Event]:
    """All events of a run, the oldest first."""
    seq = 0
    while events := events_after(connection, seq, run_id):
        yield from events
        seq = events[-1].seq


def event_lines(
    connection: sqlite3.Connection, seq: int, run_id: RunId | None = None, most: int = 1000
) -> list[tuple[int, dict[str, Any]]]:
    """Like `events_after`, as the objects that ``run events`` prints: seq, at, run, type, data."""
    where = "AND run_id = ?" if run_id is not None else ""
    rows = connection.execute(
        f"SELECT seq, run_id, at, type, data FROM events WHERE seq > ? {where} ORDER BY seq LIMIT ?",  # noqa: S608
        (seq, run_id, most) if run_id is not None else (seq, most),
    )
    return [
        (number, {"seq": number, "at": at, "run": run, "type": kind, "data": json.loads(data)})
        for number, run, at, kind, data in rows
    ]


def last_seq(connection: sqlite3.Connection) -> int:
    """Sequence number of the newest event; 0 when there is none."""
    return int(connection.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()[0])


def require_events(connection: sqlite3.Connection, run_id: RunId) -> None:
    """Check that there are events of a run, and not only the one that tells that it was deleted.

    Raises:
        NotFoundError: there are none.
    """
    row = connection.execute("SELECT type FROM events WHERE run_id = ? LIMIT 1", (run_id,)).fetchone()
    if row is None or row[0] == DELETED:
        raise no_such_run(connection, run_id)


def event_rows(connection: sqlite3.Connection, run_id: RunId, up_to: int | None = None) -> Iterator[EventRow]:
    """The events of a run (or those up to a number), the oldest first, one at a time."""
    rows = connection.execute(
        "SELECT seq, run_id, at, type, data FROM events "
        "WHERE run_id = ? AND (? IS NULL OR seq <= ?) ORDER BY seq",
        (run_id, up_to, up_to),
    )
    return (EventRow(*row) for row in rows)


def event_texts(
    connection: sqlite3.Connection, seq: int, run_id: RunId | None, most: int
) -> Iterator[tuple[int, RunId, str]]:
    """Like `event_lines`, each as JSON text that SQLite makes, with the number and the run of the event."""
    where = "AND run_id = ?" if run_id is not None else ""
    yield from connection.execute(
        f"SELECT seq, run_id, {_AS_JSON} FROM events WHERE seq > ? {where} ORDER BY seq LIMIT ?",  # noqa: S608
        (seq, run_id, most) if run_id is not None else (seq, most),
    )


def last_events(
    connection: sqlite3.Connection, run_id: RunId, before: int | None, most: int
) -> list[dict[str, Any]]:
    """The last events of a run (before one of them), the oldest first, as `event_lines` has them."""
    rows = connection.execute(
        "SELECT seq, at, run_id, type, data FROM events WHERE run_id = ? AND seq < ? "
        "ORDER BY seq DESC LIMIT ?",
        (run_id, before if before is not None else last_seq(connection) + 1, most),
    ).fetchall()
    return [
        {"seq": seq, "at": at, "run": run, "type": kind, "data": json.loads(data)}
        for seq, at, run, kind, data in reversed(rows)
    ]


def last_event_of(
    connection: sqlite3.Connection, run_id: RunId, types: tuple[str, ...] = ()
) -> tuple[UtcTime | None, str]:
    """When the last event of a run (of these types) was, and its type.  Looks back from the end."""
    where = f"AND type IN ({', '.join('?' * len(types))})" if types else ""
    row = connection.execute(
        f"SELECT at, type FROM events WHERE run_id = ? {where} ORDER BY seq DESC LIMIT 1",  # noqa: S608
        (run_id, *types),
    ).fetchone()
    return (UtcTime(row[0]), row[1]) if row is not None else (None, "")


def last_pause(connection: sqlite3.Connection, run_id: RunId) -> RunPaused | None:
    """The last pause of a run; None when there was none."""
    row = connection.execute(
        "SELECT type, data FROM events WHERE run_id = ? AND type = 'RunPaused' ORDER BY seq DESC LIMIT 1",
        (run_id,),
    ).fetchone()
    fact = decode_fact(*row) if row is not None else None
    return fact if isinstance(fact, RunPaused) else None
