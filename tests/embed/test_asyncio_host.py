"""What is of concern to asyncio programs alone: the bridge to trio."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from matterstack import aio
from matterstack.core.errors import ClosedError, MonitorError, NotFoundError, StoreError, UsageError
from matterstack.core.states import RunStatus
from matterstack.embed.bridge import TrioThread
from tests.embed.conftest import Home
from tests.embed.hosts import ASYNCIO, PATIENCE_S


def in_asyncio(test: Callable[..., Coroutine[Any, Any, None]], *args: object) -> None:
    ASYNCIO.run(lambda: test(*args))


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("matterstack ")}


@asynccontextmanager
async def _nothing(_thread: TrioThread[str]) -> AsyncIterator[str]:
    yield "it"


def test_a_notebook_opens_an_engine_without_a_block(home: Home) -> None:
    home.write("one", home.diary.task("a"))

    async def main() -> None:
        engine = await aio.open_engine(home.root)
        run = await engine.start("one")
        assert (await run.wait()).status is RunStatus.COMPLETED
        await engine.aclose()
        await engine.aclose()
        with pytest.raises(ClosedError):
            await run.status()
        with pytest.raises(NotFoundError):
            await aio.open_engine(home.root / "nowhere")
        opening = aio.open_engine(home.root)
        async with opening:
            with pytest.raises(ClosedError, match="was opened before"):
                await opening

    in_asyncio(main)
    assert threads() == set()


def test_a_call_that_is_cancelled_is_cancelled_in_the_thread_and_its_end_is_waited_for() -> None:
    seen: list[str] = []

    async def main() -> None:
        thread = await TrioThread(_nothing, "thing").open()
        begun, may_end = asyncio.Event(), threading.Event()
        loop = asyncio.get_running_loop()

        async def work() -> None:
            loop.call_soon_threadsafe(begun.set)
            try:
                await trio.sleep_forever()
            except trio.Cancelled:
                seen.append("cancelled")
                with trio.CancelScope(shield=True):
                    await trio.to_thread.run_sync(may_end.wait)
                seen.append("cleaned up")
                raise

        task = asyncio.create_task(thread.call(work))
        await begun.wait()
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()  # once more does not make it leave earlier
        for _ in range(10):
            await asyncio.sleep(0)
        assert not task.done()
        may_end.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert seen == ["cancelled", "cleaned up"]
        await thread.close()

    in_asyncio(main)
    assert threads() == set()


def test_calls_under_way_are_told_when_the_thread_stops() -> None:
    async def main() -> None:
        thread = await TrioThread(_nothing, "thing").open()
        calls = [asyncio.create_task(thread.call(trio.sleep_forever)) for _ in range(20)]
        await thread.call(trio.lowlevel.checkpoint)
        await thread.close()
        for call in calls:
            with pytest.raises(ClosedError, match="this thing is closed"):
                await call

    in_asyncio(main)


def test_a_call_that_comes_while_the_thread_stops_is_refused() -> None:
    async def main() -> None:
        leaving, may_end = asyncio.Event(), threading.Event()
        loop = asyncio.get_running_loop()

        @asynccontextmanager
        async def slow(_thread: TrioThread[None]) -> AsyncIterator[None]:
            yield
            loop.call_soon_threadsafe(leaving.set)
            await trio.to_thread.run_sync(may_end.wait)

        thread = await TrioThread(slow, "thing").open()
        closing = asyncio.create_task(thread.close())
        await leaving.wait()
        with pytest.raises(ClosedError, match="this thing is closed"):
            await thread.call(trio.lowlevel.checkpoint)
        may_end.set()
        await closing

    in_asyncio(main)


def test_results_and_errors_come_back_as_they_are() -> None:
    async def fail() -> None:
        raise StoreError("the disk is gone", hint="buy one")

    async def main() -> None:
        async with asyncio.timeout(30):
            thread = await TrioThread(_nothing, "thing").open()
            assert thread.value == "it"

            async def double(number: int) -> int:
                await trio.lowlevel.checkpoint()
                return 2 * number

            assert await asyncio.gather(*(thread.call(double, n) for n in range(200))) == list(
                range(0, 400, 2)
            )
            with pytest.raises(StoreError) as failed:
                await thread.call(fail)
            assert failed.value.hint == "buy one"
            await thread.close()

    in_asyncio(main)


def test_a_thread_that_fails_interrupts_its_host_and_nobody_else_does() -> None:
    async def main() -> None:
        fail = trio.Event()

        @asynccontextmanager
        async def fragile(_thread: TrioThread[trio.Event]) -> AsyncIterator[trio.Event]:
            async def break_down() -> None:
                await fail.wait()
                raise StoreError("the disk is gone")

            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(break_down)
                    yield fail
                    nursery.cancel_scope.cancel()
            finally:
                with trio.CancelScope(shield=True):
                    await trio.sleep(0.05)  # it is not known at once why it stops

        thread = await TrioThread(fragile, "thing").open()
        thread.interrupt_me()

        async def trigger() -> None:
            fail.set()

        caught: BaseException | None = None
        waiting = asyncio.create_task(thread.call(trio.sleep_forever))
        try:
            await thread.call(trigger)
            await asyncio.sleep(3600)
        except asyncio.CancelledError as error:
            caught = error
        assert caught is not None
        with pytest.raises(ClosedError, match="this thing has stopped: ExceptionGroup"):
            await waiting
        with pytest.raises(ExceptionGroup, match="nursery"):
            await thread.close(caught)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0, "a host that is cancelled by somebody else is still known to be"
        await thread.close()

    in_asyncio(main)


class EndsLate(threading.Thread):
    """Ends only when somebody waits for that."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.is_awaited = threading.Event()

    def run(self) -> None:
        super().run()
        self.is_awaited.wait(PATIENCE_S)

    def join(self, timeout: float | None = None) -> None:
        self.is_awaited.set()
        super().join(timeout)


def test_a_host_that_is_cancelled_while_it_opens_leaves_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        begun, may_open = asyncio.Event(), threading.Event()

        @asynccontextmanager
        async def slow(_thread: TrioThread[None]) -> AsyncIterator[None]:
            loop.call_soon_threadsafe(begun.set)
            await trio.to_thread.run_sync(may_open.wait)
            yield

        with monkeypatch.context() as patch:
            patch.setattr(threading, "Thread", EndsLate)
            thread = TrioThread(slow, "thing")
        task = asyncio.create_task(thread.open())
        await begun.wait()
        task.cancel()
        loop.call_soon(task.cancel)  # once more, while it waits for the end of the thread
        loop.call_soon(may_open.set)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert threads() == set()

    in_asyncio(main)


def test_other_event_loops_are_refused_in_words(home: Home) -> None:
    async def main() -> None:
        async with aio.open_engine(home.root) as engine:

            def elsewhere() -> None:
                with pytest.raises(UsageError, match="another event loop"):
                    asyncio.run(engine.runs())
                with pytest.raises(UsageError, match="another event loop"):
                    trio.run(engine.runs)

            await asyncio.to_thread(elsewhere)
            assert await engine.runs() == []

    in_asyncio(main)


def test_a_loop_that_is_closed_without_a_word_leaves_an_engine_that_harms_nobody(home: Home) -> None:
    home.write("one", home.diary.task("a"))
    kept: list[aio.Engine] = []

    async def main() -> None:
        kept.append(await aio.open_engine(home.root))
        await kept[0].start("one")

    asyncio.run(main())
    names = threads()
    assert names == {"matterstack engine"}
    kept[0]._thread._tell_to_stop()
    for thread in threading.enumerate():
        if thread.name in names:
            thread.join()
    kept.clear()
    gc.collect()


def test_a_client_of_a_monitor_on_asyncio() -> None:
    async def main() -> None:
        async with aio.connect("http://127.0.0.1:9", "token") as client:
            with pytest.raises(MonitorError, match="cannot be reached"):
                await client.runs()
            assert not client.connection.is_live
        with pytest.raises(UsageError):
            await aio.connect("ftp://x", "token")
        with pytest.raises(ClosedError, match="this client is closed"):
            await client.runs()

    in_asyncio(main)
    assert threads() == set()
