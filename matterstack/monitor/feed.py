"""Events, as they come to be in the store: told to many, each at its own pace."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import attrs
import trio

from matterstack.core.ids import RunId
from matterstack.monitor import batches
from matterstack.monitor.batches import Batch, read_batch
from matterstack.storage.read.changes import Changes, Pace
from matterstack.storage.read.events import last_seq
from matterstack.storage.read.reader import Reader

LOOK_INTERVAL_S: Final = 0.04
"""How often the store is asked for news, while anybody listens: a third of what an event may take."""
REST_S: Final = 0.005
"""How long it is not asked, for each who was just told of something.

To tell one of them costs 0.2 to 0.4 ms: so it stays below a tenth of the time of an engine in this process.
Up to 8 of them make no difference; a hundred hear what follows an event up to 0.5 s later.
"""
PAGE: Final = 500
MOST_BEHIND: Final = 2000
"""How many events a listener may be behind before it is dropped."""
MOST_BEHIND_BYTES: Final = 16 << 20
"""The same in bytes, which all who are behind share."""


class FellBehindError(Exception):
    """A listener took its events too slowly; it may come again, and misses nothing."""


@attrs.define(eq=False)
class Feed:
    """Looks at the store for all who listen."""

    _reader: Reader
    _listeners: set[Listener] = attrs.field(factory=set)
    _wanted: trio.Event = attrs.field(factory=trio.Event)
    _looked: trio.Event = attrs.field(factory=trio.Event)
    _seq: float = math.inf
    """Up to where the listeners were told; infinite while nobody listens."""

    async def serve(self) -> None:
        """Tell listeners what is new until cancelled."""
        pace = Pace(interval_s=LOOK_INTERVAL_S, quiet_s=LOOK_INTERVAL_S)
        async for _ in Changes(self._reader.version, pace, wanted=self._somebody_listens):
            await self._tell_news()
            self._looked.set()
            self._looked = trio.Event()
            await trio.sleep(max(0.0, REST_S * len(self._listeners) - LOOK_INTERVAL_S))

    async def _somebody_listens(self) -> bool:
        """Wait until somebody does; whether nobody did."""
        if self._listeners:
            return False
        self._seq, self._wanted = math.inf, trio.Event()
        await self._wanted.wait()
        return True

    async def _tell_news(self) -> None:
        while math.isfinite(self._seq):
            with_rows = any(listener.with_rows for listener in self._listeners)
            batch = await self._reader.read(read_batch, int(self._seq), None, PAGE, with_rows=with_rows)
            if batch:
                self._seq = batch.last
                for listener in [*self._listeners]:
                    if listener.with_rows and not with_rows:
                        # It has joined while this was read, and has to read for itself once more.
                        self._listeners.discard(listener)
                        listener.part()
                    else:
                        listener.tell(batch)
            if len(batch) < PAGE and batch.size < batches.MOST_BYTES:
                return

    @asynccontextmanager
    async def listen(
        self, after: int, run: RunId | None = None, *, with_rows: bool = False
    ) -> AsyncIterator[Listener]:
        """Hear every event after a sequence number: first those of the past, then the new ones, in order."""
        listener = Listener(self, self._reader, after, run, with_rows)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)

    def join(self, listener: Listener) -> bool:
        """Tell one who has caught up from here on; False when there is more to catch up with."""
        if math.isfinite(self._seq) and listener.seq < self._seq:
            return False
        if not self._listeners:
            self._seq = listener.seq
        self._listeners.add(listener)
        self._wanted.set()
        self._looked.set()
        self._looked = trio.Event()
        return True

    async def wait_told(self, seq: int) -> None:
        """Return when all who listen were told of an event."""
        while self._seq < seq:
            await self._looked.wait()

    async def wait_for_listeners(self, count: int) -> None:
        """Return when so many have caught up with the present."""
        while len(self._listeners) < count:
            await self._looked.wait()

    async def newest(self) -> int:
        """The sequence number of the last event; 0 when there is none."""
        return await self._reader.read(last_seq)


@attrs.define(eq=False)
class Listener:
    """One who listens to the feed, at its own pace.

    Attributes:
        seq: up to where it was given its events.
        run: whose events it wants; None: those of all.
        with_rows: whether it wants the rows that the events changed, too.
    """

    _feed: Feed
    _reader: Reader
    seq: int
    run: RunId | None
    with_rows: bool = False
    _has_joined: bool = False
    _told: int = 0
    _count: int = 0
    _size: int = 0
    _is_behind: bool = False
    _waiting: deque[Batch] = attrs.field(factory=deque)
    _news: trio.Event = attrs.field(factory=trio.Event)

    def tell(self, batch: Batch) -> None:
        """Hand the listener a batch of new events."""
        if self.run is not None:
            batch = batch.of_run(self.run)
        new = batch.after(max(self.seq, self._told))
        taken = new.first(MOST_BEHIND - self._count if self._size < MOST_BEHIND_BYTES else 0)
        self._is_behind = self._is_behind or len(taken) < len(new)
        if taken:
            self._waiting.append(taken)
            self._count += len(taken)
            self._size += self._size_of(taken)
            self._told = taken.last
        if new:
            self._news.set()

    def part(self) -> None:
        """It is not told any more, and has to catch up once more by itself."""
        self._has_joined = False
        self._news.set()

    def _size_of(self, batch: Batch) -> int:
        return batch.size_with_rows if self.with_rows else batch.size

    async def next_batch(self) -> Batch:
        """The next events, at least one: each of them once, in order.

        Raises:
            FellBehindError: more than `MOST_BEHIND` events, or `MOST_BEHIND_BYTES`, were waiting.
        """
        while not self._waiting:
            if self._is_behind:
                raise FellBehindError
            if self._has_joined:
                await self._news.wait()
                self._news = trio.Event()
            elif page := await self._catch_up():
                return page
        batch = self._waiting.popleft()
        self._count -= len(batch)
        self._size -= self._size_of(batch)
        self.seq = batch.last
        return batch

    async def _catch_up(self) -> Batch | None:
        """The next page of the past; None when there is none."""
        # Of other runs' events this one is given none, so it has to ask how far the store has come.
        newest = await self._feed.newest() if self.run is not None else self.seq
        page = await self._reader.read(read_batch, self.seq, self.run, PAGE, with_rows=self.with_rows)
        if page:
            self.seq = page.last
            return page
        self.seq = max(self.seq, newest)
        self._has_joined = self._feed.join(self)
        return None
