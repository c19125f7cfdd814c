"""What actors need from the world around them, so that tests can give them another one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import ParamSpec, Protocol, TypeVar

import attrs
import trio

from matterstack.core.ids import UtcTime, utc_text

_P = ParamSpec("_P")
_T = TypeVar("_T")


class RunBlocking(Protocol):
    """Runs a blocking call where it does no harm."""

    async def __call__(self, call: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Run it and return its result."""


class WorkerThreads:
    """Runs blocking calls in worker threads, a few at once."""

    def __init__(self, at_once: int) -> None:
        self._limiter = trio.CapacityLimiter(at_once)

    async def __call__(self, call: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Run it and return its result."""
        return await trio.to_thread.run_sync(partial(call, *args, **kwargs), limiter=self._limiter)


async def run_inline(call: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Run a blocking call right here: for tests on a virtual clock, which does not see threads."""
    await trio.lowlevel.checkpoint()
    return call(*args, **kwargs)


def wall_clock() -> datetime:
    """The time of day."""
    return datetime.now(UTC)


@attrs.frozen(kw_only=True)
class Runtime:
    """Clock and threads.

    Attributes:
        clock: the time of day, aware.
        store: for calls on the database connection that reads; one at a time.
        files: for calls on files.
    """

    clock: Callable[[], datetime] = wall_clock
    journal: RunBlocking = attrs.field(factory=lambda: WorkerThreads(1))
    store: RunBlocking = attrs.field(factory=lambda: WorkerThreads(1))
    files: RunBlocking = attrs.field(factory=lambda: WorkerThreads(4))

    def now(self) -> UtcTime:
        """The time of day, as facts have it."""
        return utc_text(self.clock())
