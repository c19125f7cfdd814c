"""When the store has changed: asked once for all who wait, and only while somebody does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import attrs
import trio

from matterstack.storage.queries import data_version
from matterstack.storage.reader import Reader

LOOK_INTERVAL_S: Final = 0.04

_T = TypeVar("_T")


@attrs.define(eq=False)
class Pulse:
    """Wakes those who wait for changes of the store, by whichever process."""

    _reader: Reader
    _waiting: int = 0
    _wanted: trio.Event = attrs.field(factory=trio.Event)
    _changed: trio.Event = attrs.field(factory=trio.Event)

    async def serve(self) -> None:
        """Look until cancelled."""
        seen: int | None = None
        while True:
            if not self._waiting:
                self._wanted = trio.Event()
                await self._wanted.wait()
            version = await self._reader.read(data_version)
            if version != seen:
                seen = version
                self._wake()
            await trio.sleep(LOOK_INTERVAL_S)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

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
