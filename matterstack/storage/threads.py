"""How blocking calls are run: in worker threads, or right here in tests on a virtual clock."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import ParamSpec, Protocol, TypeVar

import trio

_P = ParamSpec("_P")
_T = TypeVar("_T")


class RunBlocking(Protocol):
    """Runs a blocking call where it does no harm."""

    async def __call__(self, call: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Run it and return its result."""


class WorkerThreads:
    """Runs blocking calls in worker threads, a few at once.

    ``abandon_on_cancel``: one who is cancelled does not wait for a call that hangs, and such calls only read.
    """

    def __init__(self, at_once: int, *, abandon_on_cancel: bool = False) -> None:
        self._limiter = trio.CapacityLimiter(at_once)
        self._abandon_on_cancel = abandon_on_cancel

    async def __call__(self, call: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Run it and return its result."""
        return await trio.to_thread.run_sync(
            partial(call, *args, **kwargs), abandon_on_cancel=self._abandon_on_cancel, limiter=self._limiter
        )


async def run_inline(call: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Run a blocking call right here: a virtual clock does not see threads."""
    await trio.lowlevel.checkpoint()
    return call(*args, **kwargs)
