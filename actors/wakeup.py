"""Wakeups: a sign that there is something to look at, however often it was given."""

from __future__ import annotations

import attrs
import trio


@attrs.define
class Wakeup:
    """A sign for one task, which may come before anybody waits for it.  It is kept until it was seen."""

    _given: trio.Event = attrs.field(factory=trio.Event)

    def give(self) -> None:
        """Let the task look, now or when it waits next."""
        self._given.set()

    async def wait(self) -> None:
        """Return when the sign was given since it was seen last."""
        await self._given.wait()
        self._given = trio.Event()
