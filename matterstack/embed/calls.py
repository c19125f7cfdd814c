"""How a host's calls reach an engine: only while it is open, and only from where it lives."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import ParamSpec, Protocol, TypeVar

import attrs
import trio

from matterstack.actors.nurseries import plain_errors
from matterstack.core.errors import ClosedError, UsageError

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Calls(Protocol):
    """Carries the calls of a host to where an engine lives."""

    async def __call__(self, work: Callable[_P, Awaitable[_T]], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Do the work there; its result and its errors come back here.

        Raises:
            ClosedError: the engine is closed, or has stopped.
            UsageError: this is not where the engine may be used.
        """


@attrs.define(eq=False)
class TrioCalls:
    """Calls in the trio run in which an engine was opened, from any of its tasks.

    Attributes:
        what: what is called, for people.
        failure: what has stopped it.
    """

    what: str = "engine"
    failure: BaseException | None = None
    _is_open: bool = True
    _under_way: set[trio.CancelScope] = attrs.field(factory=set)
    _home: trio.lowlevel.TrioToken = attrs.field(factory=trio.lowlevel.current_trio_token)

    async def __call__(self, work: Callable[_P, Awaitable[_T]], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Do some work in the host's own trio loop; see `Calls`."""
        self._require_home()
        if not self._is_open:
            raise self._closed()
        with trio.CancelScope() as scope:
            self._under_way.add(scope)
            try:
                with plain_errors():
                    return await work(*args, **kwargs)
            finally:
                self._under_way.discard(scope)
        raise self._closed()  # only `close` cancels that scope

    def close(self, failure: BaseException | None = None) -> None:
        """Let nobody in any more, and end what is under way."""
        self._is_open = False
        self.failure = self.failure or failure
        for scope in self._under_way:
            scope.cancel()

    def _require_home(self) -> None:
        try:
            here = trio.lowlevel.current_trio_token()
        except RuntimeError:
            here = None
        if here is not self._home:
            raise UsageError(
                f"this {self.what} lives in another thread, or in a trio run that is over",
                hint="call it where it was opened (trio.from_thread.run leads there); "
                "for asyncio there is matterstack.aio",
            )

    def _closed(self) -> ClosedError:
        if self.failure is None:
            return ClosedError(f"this {self.what} is closed", hint="use it inside of its async with block")
        error = ClosedError(f"this {self.what} has stopped: {type(self.failure).__name__}: {self.failure}")
        error.__cause__ = self.failure
        return error
