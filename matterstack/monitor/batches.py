"""Events, and the rows that they changed, made ready to be sent: once, however many listen."""

from __future__ import annotations

import json
import sqlite3
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Final, Self

import attrs
from wsproto.frame_protocol import FrameProtocol

from matterstack.core.ids import RunId
from matterstack.storage.read.changed_rows import ChangedRows, changed_rows
from matterstack.storage.read.events import event_texts
from matterstack.storage.read.transactions import one_moment

MOST_BYTES: Final = 256 * 1024
"""How large a batch becomes: every client that reads slowly holds one of its own."""
ROWS_AT_ONCE: Final = 500
"""How many rows one frame holds: a plan of ten thousand tasks changes as many by one commit."""


@attrs.frozen
class Told:
    """An event in the form in which it is sent: a text frame of a server, with its head."""

    seq: int
    run: RunId
    frame: bytes


@attrs.frozen
class ToldRows:
    """The rows of a run in the form in which they are sent: one frame, or several."""

    run: RunId
    frames: bytes


@attrs.define(eq=False)
class Batch:
    """Events in order.  The frames of a server are not masked, so all clients are sent the same bytes.

    Attributes:
        size: of the frames of all events, in bytes.
        rows: what these events changed; None where nobody wanted to know, or events were left out at the end.
    """

    events: Sequence[Told]
    size: int
    rows: Sequence[ToldRows] | None = None
    _of_runs: dict[RunId, Batch] = attrs.field(factory=dict)

    def __len__(self) -> int:
        """How many events the batch has."""
        return len(self.events)

    def __iter__(self) -> Iterator[Told]:
        """The events of the batch, one after the other."""
        return iter(self.events)

    @classmethod
    def of(cls, events: Sequence[Told], rows: Sequence[ToldRows] | None = None) -> Self:
        """Make a batch of these events, and of the rows that they changed."""
        return cls(events, sum(len(event.frame) for event in events), rows)

    @property
    def last(self) -> int:
        """The sequence number of the last one; 0 when there is none."""
        return self.events[-1].seq if self.events else 0

    @cached_property
    def data(self) -> bytes:
        """The frames of all its events, as bytes."""
        return b"".join(event.frame for event in self.events)

    @cached_property
    def data_with_rows(self) -> bytes:
        """The frames of events and rows, and at their end one that says that all rows are there."""
        if self.rows is None or not self.events:
            return self.data
        as_of = _frame({"type": "as_of", "seq": self.last})
        return b"".join((self.data, *(rows.frames for rows in self.rows), as_of))

    @property
    def size_with_rows(self) -> int:
        """How many bytes come with the rows, hardly less."""
        return self.size + sum(len(rows.frames) for rows in self.rows or ())

    def of_run(self, run: RunId) -> Batch:
        """The part of the batch that is about one run."""
        if run not in self._of_runs:
            rows = None if self.rows is None else [rows for rows in self.rows if rows.run == run]
            self._of_runs[run] = Batch.of([event for event in self.events if event.run == run], rows)
        return self._of_runs[run]

    def after(self, seq: int) -> Batch:
        """Those that come after a sequence number; of the rows all, for they are as they are now."""
        if not self.events or self.events[0].seq > seq:
            return self
        events = self.events[bisect_right(self.events, seq, key=lambda event: event.seq) :]
        return Batch.of(events, self.rows)

    def first(self, count: int) -> Batch:
        """The first ones, at most so many."""
        return self if len(self.events) <= count else Batch.of(self.events[:count])


def read_batch(
    connection: sqlite3.Connection, after: int, run: RunId | None, most: int, *, with_rows: bool = False
) -> Batch:
    """The next events of the store, or of one run: at most so many, and hardly more than `MOST_BYTES`."""
    if not with_rows:
        return _read_events(connection, after, run, most)
    with one_moment(connection):
        batch = _read_events(connection, after, run, most)
        if batch.events:
            runs = dict.fromkeys(event.run for event in batch)
            changed = changed_rows(connection, after, batch.last, runs, run)
            batch.rows = [ToldRows(rows.run_id, _row_frames(rows, batch.last)) for rows in changed]
    return batch


def _read_events(connection: sqlite3.Connection, after: int, run: RunId | None, most: int) -> Batch:
    frames = FrameProtocol(client=False, extensions=[])
    events: list[Told] = []
    size = 0
    for seq, of, text in event_texts(connection, after, run, most):
        events.append(Told(seq, of, bytes(frames.send_data(text, fin=True))))
        size += len(events[-1].frame)
        if size >= MOST_BYTES:
            break
    return Batch(events, size)


def _row_frames(rows: ChangedRows, seq: int) -> bytes:
    """At least one: the run's own row is told with every change."""
    told = {"type": "rows", "seq": seq, "run": rows.run_id, "row": rows.run}
    frames = bytearray()
    for start in range(0, max(len(rows.tasks), len(rows.attempts), 1), ROWS_AT_ONCE):
        end = start + ROWS_AT_ONCE
        frames += _frame({**told, "tasks": rows.tasks[start:end], "attempts": rows.attempts[start:end]})
    return bytes(frames)


def _frame(document: Mapping[str, object]) -> bytes:
    text = json.dumps(document, separators=(",", ":"))
    return bytes(FrameProtocol(client=False, extensions=[]).send_data(text, fin=True))
