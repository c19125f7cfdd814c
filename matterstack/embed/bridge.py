"""Trio in a thread of its own, for programs on asyncio."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Generic, ParamSpec, Self, TypeVar

import attrs
import trio

from matterstack.actors.nurseries import open_plain_nursery
from matterstack.core.errors import ClosedError, UsageError

_P = ParamSpec("_P")
_T = TypeVar("_T")
_V = TypeVar("_V")

LAST_CALL_S: Final = 5.0
"""How long a hook of the host that was cancelled is waited for."""


@attrs.define(eq=False)
class TrioThread(Generic[_V]):
    """Holds a trio context manager open, for tasks of one event loop.

    The thread does not keep the program alive: what it does may end at any time, and is found again.
    """

    _open: Callable[[TrioThread[_V]], AbstractAsyncContextManager[_V]]
    what: str
    _loop: asyncio.AbstractEventLoop = attrs.field(factory=asyncio.get_running_loop)
    _opened: asyncio.Event = attrs.field(factory=asyncio.Event)
    _ended: asyncio.Event = attrs.field(factory=asyncio.Event)
    _stop: trio.Event = attrs.field(factory=trio.Event)
    _thread: threading.Thread = attrs.field(init=False)
    _is_stopping: bool = False
    _token: trio.lowlevel.TrioToken | None = None
    _calls: trio.Nursery | None = None
    _values: list[_V] = attrs.field(factory=list)
    _error: BaseException | None = None
    _is_told: bool = False
    _host: asyncio.Task[Any] | None = None
    _has_interrupted: bool = False

    def __attrs_post_init__(self) -> None:
        name = f"matterstack {self.what}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def value(self) -> _V:
        """What the context manager gave."""
        return self._values[0]

    # ---- the asyncio side ----

    async def open(self) -> Self:
        """Start; returns when the context manager is open.

        Raises:
            MatterStackError: what opening it raised.
        """
        self._thread.start()
        try:
            await self._opened.wait()
        except asyncio.CancelledError:
            self._tell_to_stop()
            await self._wait_end()
            raise
        if not self._values:
            await self._wait_end()
            self._raise_error()
        return self

    def interrupt_me(self) -> None:
        """Cancel the current task when the thread fails; `close` turns that into its error."""
        self._host = asyncio.current_task()

    async def close(self, error: BaseException | None = None) -> None:
        """Stop the thread and what runs in it, in order.

        Args:
            error: what the host's block raised.

        Raises:
            MatterStackError: what went wrong in the thread, unless the host has an error of its own.
        """
        self._require_home()
        host, self._host = self._host, None
        self._tell_to_stop()
        await self._wait_end()
        if self._has_interrupted and host is not None:
            self._has_interrupted = False
            if host.uncancel() > 0 and isinstance(error, asyncio.CancelledError):
                return  # somebody else has cancelled it too
            if isinstance(error, asyncio.CancelledError):
                error = None
        if error is None or (isinstance(error, ClosedError) and error.__cause__ is self._error):
            self._raise_error()

    async def call(self, work: Callable[_P, Awaitable[_T]], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Await something in the thread.  When the caller is cancelled, so is that, and its end waited for.

        Raises:
            ClosedError: the thread has ended.
            UsageError: this is another event loop.
        """
        self._require_home()
        reply = _Reply[_T](self._loop)

        def start() -> None:
            if self._calls is None:
                reply.send(closed=True)
            else:
                self._calls.start_soon(reply.work, work, args, kwargs)

        if not self._soon(start):
            raise self._closed()
        try:
            await reply.sent.wait()
        except asyncio.CancelledError:
            self._soon(reply.scope.cancel)
            await _through_cancellations(reply.sent.wait)
            raise
        if reply.error is not None:
            raise reply.error
        if not reply.results:
            if not self._is_stopping:
                await self._ended.wait()  # it has stopped by itself: soon it is known why
            raise self._closed()
        return reply.results[0]

    async def _wait_end(self) -> None:
        try:
            await _through_cancellations(self._ended.wait)
        finally:
            self._thread.join()  # that was the last thing it did

    def _require_home(self) -> None:
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        if here is not self._loop:
            raise UsageError(
                f"this {self.what} lives in another event loop",
                hint="call it where it was opened (asyncio.run_coroutine_threadsafe leads there)",
            )

    def _closed(self) -> ClosedError:
        if self._error is None:
            return ClosedError(f"this {self.what} is closed")
        error = ClosedError(f"this {self.what} has stopped: {type(self._error).__name__}: {self._error}")
        error.__cause__ = self._error
        return error

    def _raise_error(self) -> None:
        if self._error is not None and not self._is_told:
            self._is_told = True
            raise self._error

    def _tell_to_stop(self) -> None:
        self._is_stopping = True
        self._soon(self._stop.set)

    def _soon(self, what: Callable[[], None]) -> bool:
        """Have something done in the thread, which then is done for certain; False when it has ended."""
        if self._token is None:
            return False
        try:
            self._token.run_sync_soon(what)
        except trio.RunFinishedError:
            return False
        return True

    def _note_end(self) -> None:
        self._opened.set()
        self._ended.set()
        if self._error is not None and self._host is not None:
            self._has_interrupted = True
            self._host.cancel()

    # ---- the trio side ----

    async def call_host(self, hook: Callable[[_T], Awaitable[None]], argument: _T) -> None:
        """Await something in the host's event loop, from the thread."""
        done = trio.Event()
        errors: list[BaseException] = []
        tasks: list[asyncio.Task[None]] = []

        async def in_host() -> None:
            await hook(argument)

        def note_end(task: asyncio.Task[None]) -> None:
            if task.cancelled():
                errors.append(RuntimeError("it was cancelled"))
            elif (error := task.exception()) is not None:
                errors.append(error)
            self._soon(done.set)

        def start() -> None:
            tasks.append(self._loop.create_task(in_host()))
            tasks[0].add_done_callback(note_end)

        self._loop.call_soon_threadsafe(start)
        try:
            await done.wait()
        except trio.Cancelled:
            if _tell(self._loop, lambda: tasks[0].cancel()):  # noqa: PLW0108  it may not be there yet
                with trio.move_on_after(LAST_CALL_S, shield=True):
                    await done.wait()
            raise
        if errors:
            raise errors[0]

    def _run(self) -> None:
        try:
            trio.run(self._main)
        except BaseException as error:  # noqa: BLE001  it is raised where the host waits
            self._error = error
        finally:
            _tell(self._loop, self._note_end)

    async def _main(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        if self._is_stopping:  # told before there was a token
            return
        async with self._open(self) as value, open_plain_nursery() as calls:
            self._calls = calls
            try:
                self._values.append(value)
                _tell(self._loop, self._opened.set)
                await self._stop.wait()
            finally:
                self._calls = None  # a nursery that is closed takes no more
            calls.cancel_scope.cancel()


@attrs.define(eq=False)
class _Reply(Generic[_T]):
    """What comes back from the thread."""

    _loop: asyncio.AbstractEventLoop
    results: list[_T] = attrs.field(factory=list)
    error: BaseException | None = None
    sent: asyncio.Event = attrs.field(factory=asyncio.Event)
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)

    async def work(self, work: Callable[..., Awaitable[_T]], args: Any, kwargs: Any) -> None:  # noqa: ANN401
        """Do it, and reply; without a result if it was cancelled."""
        try:
            with self.scope:
                self.results.append(await work(*args, **kwargs))
        except Exception as error:  # noqa: BLE001  it is raised where the host waits
            self.error = error
        finally:
            self.send()

    def send(self, *, closed: bool = False) -> None:
        """Wake the caller; ``closed``: nothing was done."""
        if closed:
            self.results.clear()
        _tell(self._loop, self.sent.set)


def _tell(loop: asyncio.AbstractEventLoop, what: Callable[[], object]) -> bool:
    try:
        loop.call_soon_threadsafe(what)
    except RuntimeError:
        return False  # the host's loop was closed: nobody is left to be told
    return True


async def _through_cancellations(wait: Callable[[], Awaitable[object]]) -> None:
    """Wait for what comes soon, also when the task is cancelled meanwhile; that is raised afterwards."""
    waiting = asyncio.ensure_future(_awaited(wait))
    is_cancelled = False
    while not waiting.done():
        try:
            await asyncio.shield(waiting)
        except asyncio.CancelledError:
            is_cancelled = True
    if is_cancelled:
        raise asyncio.CancelledError


async def _awaited(wait: Callable[[], Awaitable[object]]) -> None:
    await wait()
