"""The two kinds of host programs, with what a test needs of each."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, Protocol

import pytest
import trio

import matterstack
from matterstack.embed.handles import Engine

PATIENCE_S: Final = 60.0
"""How long anything may take; nothing depends on it but the end of a test that has failed."""

Body = Callable[..., Coroutine[Any, Any, None]]
OpenEngine = Callable[..., AbstractAsyncContextManager[Engine]]


class Flag(Protocol):
    """An event of trio or asyncio."""

    def set(self) -> object: ...
    def is_set(self) -> bool: ...
    def wait(self) -> Awaitable[object]: ...


class Host(Protocol):
    """What a test needs of a host program."""

    @property
    def open_engine(self) -> OpenEngine: ...
    def run(self, body: Callable[[], Coroutine[Any, Any, None]]) -> None: ...
    def flag(self) -> Flag: ...
    def cancelled_when(self, flag: Flag) -> AbstractAsyncContextManager[None]:
        """Cancel the block when a flag is set; the test fails if that does not happen."""

    async def together(self, *works: Callable[[], Coroutine[Any, Any, object]]) -> None: ...
    async def pause(self) -> None:
        """Let others work."""


class TrioHost:
    """A trio program."""

    open_engine: OpenEngine = staticmethod(matterstack.open_engine)
    flag = trio.Event

    def __str__(self) -> str:
        return "trio"

    def run(self, body: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async def main() -> None:
            with trio.fail_after(PATIENCE_S):
                await body()

        trio.run(main)

    @asynccontextmanager
    async def cancelled_when(self, flag: Flag) -> AsyncIterator[None]:
        async def cancel(scope: trio.CancelScope) -> None:
            await flag.wait()
            scope.cancel()

        async with trio.open_nursery() as nursery:
            with trio.CancelScope() as scope:
                nursery.start_soon(cancel, scope)
                yield
        assert scope.cancelled_caught

    async def together(self, *works: Callable[[], Coroutine[Any, Any, object]]) -> None:
        async with trio.open_nursery() as nursery:
            for work in works:
                nursery.start_soon(work)

    async def pause(self) -> None:
        await trio.sleep(0.01)


class AsyncioHost:
    """An asyncio program."""

    open_engine: OpenEngine = staticmethod(matterstack.aio.open_engine)
    flag = asyncio.Event

    def __str__(self) -> str:
        return "asyncio"

    def run(self, body: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async def main() -> None:
            async with asyncio.timeout(PATIENCE_S):
                await body()

        asyncio.run(main(), debug=True)

    @asynccontextmanager
    async def cancelled_when(self, flag: Flag) -> AsyncIterator[None]:
        task = asyncio.current_task()
        assert task is not None

        async def cancel() -> None:
            await flag.wait()
            task.cancel()

        canceller = asyncio.create_task(cancel())
        try:
            yield
        except asyncio.CancelledError:
            task.uncancel()
        else:
            raise AssertionError("it was not cancelled")
        finally:
            canceller.cancel()

    async def together(self, *works: Callable[[], Coroutine[Any, Any, object]]) -> None:
        async with asyncio.TaskGroup() as group:
            for work in works:
                group.create_task(work())

    async def pause(self) -> None:
        await asyncio.sleep(0.01)


TRIO, ASYNCIO = TrioHost(), AsyncioHost()


def on_both(test: Body) -> Callable[..., None]:
    """The test runs in a trio program, and in an asyncio program."""

    @pytest.mark.parametrize("host", [TRIO, ASYNCIO], ids=str)
    @functools.wraps(test)
    def run(*, host: Host, **fixtures: object) -> None:
        host.run(lambda: test(host=host, **fixtures))

    return run


async def until(host: Host, predicate: Callable[[], object]) -> None:
    """Wait for something outside of the program."""
    while not predicate():
        await host.pause()
