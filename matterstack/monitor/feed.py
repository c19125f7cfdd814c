"""Events, as they come to be in the store: told to many, each at its own pace."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import attrs
import trio

from matterstack.core.ids import RunId
from matterstack.storage.queries import data_version, event_lines, last_seq
from matterstack.storage.reader import Reader

LOOK_INTERVAL_S: Final = 0.04
"""How often the store is asked for news, while anybody listens: a third of what an event may take."""
PAGE: Final = 500
MOST_BEHIND: Final = 2000
"""How many events a listener may be behind before it is dropped."""

Line = Mapping[str, Any]
"""An event as JSON: seq, at, run, type, data."""


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
        seen: int | None = None
        while True:
            if not self._listeners:
                self._seq, seen, self._wanted = math.inf, None, trio.Event()
                await self._wanted.wait()
            version = await self._reader.read(data_version)
            if version != seen and self._listeners:
                seen = version
                await self._tell_news()
                self._looked.set()
                self._looked = trio.Event()
            await trio.sleep(LOOK_INTERVAL_S)

    async def _tell_news(self) -> None:
        while math.isfinite(self._seq):
            page = await self._reader.read(event_lines, int(self._seq), None, PAGE)
            for seq, line in page:
                self._seq = seq
                for listener in self._listeners:
                    listener.tell(seq, line)
            if len(page) < PAGE:
                return

    @asynccontextmanager
    async def listen(self, after: int, run: RunId | None = None) -> AsyncIterator[Listener]:
        """Hear every event after a sequence number: first those of the past, then the new ones, in order."""
        listener = Listener(self, self._reader, after, run)
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
    """One who listens.

    Attributes:
        seq: up to where it was given its events.
        run: whose events it wants; None: those of all.
    """

    _feed: Feed
    _reader: Reader
    seq: int
    run: RunId | None
    _has_joined: bool = False
    _told: int = 0
    _is_behind: bool = False
    _waiting: list[tuple[int, Line]] = attrs.field(factory=list)
    _news: trio.Event = attrs.field(factory=trio.Event)

    def tell(self, seq: int, line: Line) -> None:
        """Something is new."""
        if seq <= max(self.seq, self._told) or (self.run is not None and line["run"] != self.run):
            return
        if len(self._waiting) >= MOST_BEHIND:
            self._is_behind = True
        else:
            self._waiting.append((seq, line))
            self._told = seq
        self._news.set()

    async def next_lines(self) -> Sequence[tuple[int, Line]]:
        """The next events, at least one: each of them once, in order, with its sequence number.

        Raises:
            FellBehindError: more than `MOST_BEHIND` events were waiting.
        """
        while not self._has_joined:
            # Of other runs' events this one is given none, so it has to ask how far the store has come.
            newest = await self._feed.newest() if self.run is not None else self.seq
            page = await self._reader.read(event_lines, self.seq, self.run, PAGE)
            if page:
                self.seq = page[-1][0]
                return page
            self.seq = max(self.seq, newest)
            self._has_joined = self._feed.join(self)
        while not self._waiting:
            if self._is_behind:
                raise FellBehindError
            await self._news.wait()
            self._news = trio.Event()
        told, self._waiting = self._waiting, []
        self.seq = told[-1][0]
        return told
