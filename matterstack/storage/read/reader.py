"""A read connection for programs that only look."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Concatenate, ParamSpec, TypeVar

import attrs
import trio

from matterstack.storage.layout import Root
from matterstack.storage.read.changes import USUAL, Changes, Pace, data_version
from matterstack.storage.schema import open_database, reading

_P = ParamSpec("_P")
_T = TypeVar("_T")


@attrs.frozen
class Reader:
    """Runs queries in a worker thread, one at a time."""

    root: Root
    _connection: sqlite3.Connection
    _limiter: trio.CapacityLimiter

    async def read(
        self, query: Callable[Concatenate[sqlite3.Connection, _P], _T], *args: _P.args, **kwargs: _P.kwargs
    ) -> _T:
        """Run a query of `matterstack.storage.read`.

        Raises:
            StoreError: the store cannot be read, or holds what was never written into it.
        """

        def ask() -> _T:
            with reading(self.root.database, self._connection):
                return query(self._connection, *args, **kwargs)

        return await trio.to_thread.run_sync(ask, limiter=self._limiter)

    def version(self) -> Awaitable[int]:
        """What differs whenever another connection has committed."""
        return self.read(data_version)

    def changes(self, pace: Pace = USUAL, *, at_least_every_s: float | None = None) -> Changes:
        """Come back at once, then whenever another process has committed, or so much time has passed."""
        return Changes(self.version, pace, at_least_every_s=at_least_every_s)


@asynccontextmanager
async def open_reader(root: Root) -> AsyncIterator[Reader]:
    """Open the store for looking."""
    limiter = trio.CapacityLimiter(1)
    connection = await trio.to_thread.run_sync(open_database, root.database, limiter=limiter)
    try:
        yield Reader(root, connection, limiter)
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(connection.close, limiter=limiter)
