"""Changes of the store: who waits for them is woken by commits of whichever process.

`PRAGMA data_version` differs after a commit of any other connection, and costs 3 microseconds to ask
(measured with SQLite 3.40; sqlite.org/pragma.html).  Commits of the same connection do not show.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, TypeVar

import attrs
import trio

_T = TypeVar("_T")

AskVersion = Callable[[], Awaitable[int]]
"""Asks for `data_version`, always on the same connection."""


def data_version(connection: sqlite3.Connection) -> int:
    """A number that changes whenever another connection commits."""
    return int(connection.execute("PRAGMA data_version").fetchone()[0])


@attrs.frozen(kw_only=True)
class Pace:
    """How often the store is asked whether it has changed.

    Attributes:
        quiet_s: how often after nothing has changed for ``quiet_after_s``: to wait for days costs next to
            nothing.
    """

    interval_s: float = 0.1
    quiet_after_s: float = 10.0
    quiet_s: float = 1.0


USUAL: Final = Pace()


@attrs.define(eq=False)
class Changes(AsyncIterator[None]):
    """Changes, one after the other: comes back at once, then at each commit of another connection.

    No generator: one that is left before its end would have to be closed, and there is nothing to close.

    Attributes:
        at_least_every_s: comes back without a commit after so much time; None: never.
        wanted: awaited before the store is asked; it returns when somebody wants to know, and says whether
            nobody did in between: then what was seen before that counts for nothing.
    """

    _ask_version: AskVersion
    pace: Pace = USUAL
    at_least_every_s: float | None = attrs.field(default=None, kw_only=True)
    wanted: Callable[[], Awaitable[bool]] | None = attrs.field(default=None, kw_only=True)
    _seen: int | None = attrs.field(default=None, init=False)
    _due: float = attrs.field(default=-math.inf, init=False)
    _changed: float = attrs.field(default=-math.inf, init=False)
    _is_first: bool = attrs.field(default=True, init=False)

    async def __anext__(self) -> None:
        """Wait for the next one; there is always a next one."""
        if self._is_first:
            self._is_first = False
        else:
            await self._rest()
        while not await self._has_changed():
            await self._rest()

    async def _rest(self) -> None:
        is_quiet = trio.current_time() - self._changed >= self.pace.quiet_after_s
        await trio.sleep(self.pace.quiet_s if is_quiet else self.pace.interval_s)

    async def _has_changed(self) -> bool:
        if self.wanted is not None and await self.wanted():
            self._seen = None
        version = await self._ask_version()
        now = trio.current_time()
        if version != self._seen:
            self._seen, self._changed = version, now
        elif self.at_least_every_s is None or now < self._due:
            return False
        self._due = now + (self.at_least_every_s or 0)
        return True


@attrs.define(eq=False)
class StoreWatcher:
    """Wakes all who wait for changes of the store, which is asked once for all, and only while one waits."""

    _ask_version: AskVersion
    _pace: Pace = USUAL
    _waiting: int = 0
    _wanted: trio.Event = attrs.field(factory=trio.Event)
    _changed: trio.Event = attrs.field(factory=trio.Event)

    async def serve(self) -> None:
        """Watch the store until cancelled, while anybody waits."""
        async for _ in Changes(self._ask_version, self._pace, wanted=self._is_wanted):
            self._changed.set()
            self._changed = trio.Event()

    async def _is_wanted(self) -> bool:
        if not self._waiting:
            self._wanted = trio.Event()
            await self._wanted.wait()
        return False  # who comes has looked already: a change since then shows as one

    async def first(self, look: Callable[[], Awaitable[_T | None]]) -> _T:
        """Look, and again after each change, until there is something."""
        while True:
            # Taken before looking: a change during the look must not be slept through.
            changed = self._changed
            found = await look()
            if found is not None:
                return found
            self._waiting += 1
            self._wanted.set()
            try:
                await changed.wait()
            finally:
                self._waiting -= 1
