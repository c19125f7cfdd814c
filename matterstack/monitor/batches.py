"""Events made ready to be sent: once, whatever the number of those who listen."""

from __future__ import annotations

import sqlite3
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Final, Self

import attrs
from wsproto.frame_protocol import FrameProtocol

from matterstack.core.ids import RunId
from matterstack.storage.read.events import event_texts

MOST_BYTES: Final = 256 * 1024
"""How large a batch becomes: every client that reads slowly holds one of its own."""


@attrs.frozen
class Told:
    """An event in the form in which it is sent: a text frame of a server, with its head."""

    seq: int
    run: RunId
    frame: bytes


@attrs.define(eq=False)
class Batch:
    """Events in order.  The frames of a server are not masked, so all clients are sent the same bytes.

    Attributes:
        size: of all frames, in bytes.
    """

    events: Sequence[Told]
    size: int
    _of_runs: dict[RunId, Batch] = attrs.field(factory=dict)

    def __len__(self) -> int:
        """How many events the batch has."""
        return len(self.events)

    def __iter__(self) -> Iterator[Told]:
        """The events of the batch, one after the other."""
        return iter(self.events)

    @classmethod
    def of(cls, events: Sequence[Told]) -> Self:
        """Make a batch of these events."""
        return cls(events, sum(len(event.frame) for event in events))

    @property
    def last(self) -> int:
        """The sequence number of the last one; 0 when there is none."""
        return self.events[-1].seq if self.events else 0

    @cached_property
    def data(self) -> bytes:
        """The frames of all its events, as bytes."""
        return b"".join(event.frame for event in self.events)

    def of_run(self, run: RunId) -> Batch:
        """The part of the batch that is about one run."""
        if run not in self._of_runs:
            self._of_runs[run] = Batch.of([event for event in self.events if event.run == run])
        return self._of_runs[run]

    def after(self, seq: int) -> Batch:
        """Those that come after a sequence number."""
        if not self.events or self.events[0].seq > seq:
            return self
        return Batch.of(self.events[bisect_right(self.events, seq, key=lambda event: event.seq) :])

    def first(self, count: int) -> Batch:
        """The first ones, at most so many."""
        return self if len(self.events) <= count else Batch.of(self.events[:count])


def read_batch(connection: sqlite3.Connection, after: int, run: RunId | None, most: int) -> Batch:
    """The next events of the store, or of one run: at most so many, and hardly more than `MOST_BYTES`."""
    frames = FrameProtocol(client=False, extensions=[])
    events: list[Told] = []
    size = 0
    for seq, of, text in event_texts(connection, after, run, most):
        events.append(Told(seq, of, bytes(frames.send_data(text, fin=True))))
        size += len(events[-1].frame)
        if size >= MOST_BYTES:
            break
    return Batch(events, size)
