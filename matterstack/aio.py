"""MatterStack for programs on asyncio, and for Jupyter.

    async with matterstack.aio.open_engine(root) as engine:
        run = await engine.start("battery_screening")
        async for event in run.events():
            print(event["type"])

In a notebook, without a block: ``engine = await matterstack.aio.open_engine(root)``, and in the end
``await engine.aclose()``.

The engine runs on trio, in a thread of its own.  What can be done with it, and what is raised, is as on trio
(`matterstack.embed.handles`).  A call that is cancelled is cancelled there too, and its end is waited for.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Generic, ParamSpec, Protocol, TypeVar

import attrs
import trio

from matterstack.client import Client as TrioClient
from matterstack.client import Link, Site, open_link
from matterstack.client.token_file import given_token
from matterstack.core.errors import ClosedError
from matterstack.embed.bridge import TrioThread
from matterstack.embed.calls import Calls
from matterstack.embed.handles import Engine as TrioEngine
from matterstack.embed.hook import OnEvent, require_hook
from matterstack.embed.opening import Parts, open_parts

_P = ParamSpec("_P")
_T = TypeVar("_T")
_V = TypeVar("_V")
_H = TypeVar("_H", bound="_Closable")

__all__: Final = ["Client", "Engine", "connect", "open_engine"]


class _Closable(Protocol):
    async def aclose(self) -> None: ...


@attrs.define(eq=False)
class Engine(TrioEngine):
    """An engine for asyncio; see `matterstack.embed.handles.Engine`."""

    _thread: TrioThread[Parts]

    async def aclose(self) -> None:
        """Stop in order; once more does nothing.  Not needed where the engine was opened for a block.

        Raises:
            StoreError: the engine had stopped, since the store failed.
        """
        await self._thread.close()


@attrs.define(eq=False)
class Client(TrioClient):
    """A client for asyncio; see `matterstack.client.Client`."""

    _thread: TrioThread[Link]

    async def aclose(self) -> None:
        """Let go of the connection; once more does nothing."""
        await self._thread.close()


@attrs.define(eq=False)
class Opening(Generic[_V, _H]):
    """Something to be opened: for a block, with ``async with``; or until its ``aclose``, with ``await``."""

    _what: str
    _open: Callable[[TrioThread[_V]], AbstractAsyncContextManager[_V]]
    _handle: Callable[[TrioThread[_V]], _H]
    _threads: list[TrioThread[_V]] = attrs.field(factory=list)

    def __await__(self) -> Generator[Any, None, _H]:
        """Open it; who holds it closes it."""
        return self._opened().__await__()

    async def __aenter__(self) -> _H:
        """Open it for a block, which is cancelled if it fails."""
        handle = await self._opened()
        self._threads[0].interrupt_me()
        return handle

    async def __aexit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Close in order what was opened for the block."""
        await self._threads[0].close(error)

    async def _opened(self) -> _H:
        if self._threads:
            raise ClosedError(f"this {self._what} was opened before", hint=f"make a new {self._what}")
        thread = TrioThread(self._open, self._what)
        self._threads.append(thread)
        return self._handle(await thread.open())


def open_engine(
    root: str | Path, *, on_event: OnEvent | None = None, after: int | None = None
) -> Opening[Parts, Engine]:
    """As `matterstack.open_engine`; ``on_event`` is called in this event loop."""
    if on_event is not None:
        require_hook(on_event)

    def open_in(thread: TrioThread[Parts]) -> AbstractAsyncContextManager[Parts]:
        hook = None
        if on_event is not None:

            async def hook(event: dict[str, Any]) -> None:
                await thread.call_host(on_event, event)

        return open_parts(root, on_event=hook, after=after)

    def handle(thread: TrioThread[Parts]) -> Engine:
        return Engine(thread.value.service, _Bridged(thread, thread.value.calls), thread)

    return Opening("engine", open_in, handle)


def connect(
    url: str,
    token: str | None = None,
    *,
    token_file: str | Path | None = None,
    after: int | None = None,
    run: str | None = None,
    tls: ssl.SSLContext | None = None,
) -> Opening[Link, Client]:
    """Connect to a monitor, as `matterstack.connect` does."""

    def handle(thread: TrioThread[Link]) -> Client:
        return Client(thread.value, _Bridged(thread, thread.value.calls), thread)

    @asynccontextmanager
    async def opened() -> AsyncIterator[Link]:
        given = await trio.to_thread.run_sync(given_token, token, token_file, abandon_on_cancel=True)
        async with open_link(Site.parse(url, given, tls), after=after, run=run) as link:
            yield link

    def open_in(_thread: TrioThread[Link]) -> AbstractAsyncContextManager[Link]:
        return opened()

    return Opening("client", open_in, handle)


@attrs.frozen
class _Bridged:
    """Calls from an event loop into the thread, and there as any other."""

    _thread: TrioThread[Any]
    _there: Calls

    async def __call__(self, work: Callable[_P, Awaitable[_T]], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Let the engine's thread do some work; see `matterstack.embed.calls.Calls`."""
        return await self._thread.call(partial(self._there, work, *args, **kwargs))
