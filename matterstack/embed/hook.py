"""Tell a host's hook of every event, at its own pace."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Final

import attrs
import trio

from matterstack.core.errors import UsageError
from matterstack.embed.service import Event, Service

logger: Final = logging.getLogger(__name__)

FIRST_WAIT_S: Final = 0.5
LONGEST_WAIT_S: Final = 30.0
LAST_CALLS_S: Final = 5.0
"""How long a hook may take for what is left when the engine is closed."""

OnEvent = Callable[[Event], Awaitable[None]]


@attrs.define(eq=False)
class Hook:
    """Calls a hook for the events of all runs that are served, one at a time."""

    _service: Service
    _on_event: OnEvent
    _failures: int = 0
    _is_finishing: bool = False
    _all: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    _pause: trio.CancelScope = attrs.field(factory=trio.CancelScope)

    async def serve(self) -> None:
        """Tell of events until it is told to finish."""
        with self._all:
            is_last = False
            while not is_last:
                # Looked at before: what was stored meanwhile is told as well.
                is_last = self._is_finishing
                with trio.CancelScope() as self._pause:
                    if not is_last:
                        await self._service.wait_unheard()
                await self._tell_all()

    def finish(self) -> None:
        """Let it come to an end: with what is left and can be told within `LAST_CALLS_S`."""
        self._is_finishing = True
        self._pause.cancel()  # never a call that is under way: its event would be told twice
        self._all.deadline = trio.current_time() + LAST_CALLS_S

    async def _tell_all(self) -> None:
        while events := await self._service.unheard():
            for event in events:
                while not await self._call(event):
                    if self._is_finishing:
                        return
                    with trio.CancelScope() as self._pause:
                        await trio.sleep(min(FIRST_WAIT_S * 2 ** (self._failures - 1), LONGEST_WAIT_S))

    async def _call(self, event: Event) -> bool:
        try:
            await self._on_event(event)
        except Exception:
            self._failures = min(self._failures + 1, 20)
            if self._failures == 1:
                logger.exception(
                    "on_event failed with event %d of run %s: it is called again until it takes it",
                    event["seq"],
                    event["run"],
                )
            return False
        if self._failures:
            logger.warning("on_event takes events again, from event %d on", event["seq"])
        self._failures = 0
        self._service.note_heard(event)
        return True


def require_hook(hook: object) -> None:
    """Check what a host gave.

    Raises:
        UsageError: it is no async function.
    """
    call = getattr(hook, "__call__", None)  # noqa: B004  its kind matters, not only that it is there
    if not (inspect.iscoroutinefunction(hook) or inspect.iscoroutinefunction(call)):
        raise UsageError(f"on_event: must be an async function of one event, not {hook!r}")
