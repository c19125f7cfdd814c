"""What is of concern to trio programs alone, or to the process that an engine is in."""

from __future__ import annotations

import asyncio
import logging
import signal
import subprocess
import sys
import threading
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import matterstack
from matterstack.actors.nurseries import open_plain_nursery, plain_errors
from matterstack.core.errors import LeaseLostError, StoreError, UsageError
from matterstack.core.states import RunStatus
from matterstack.embed.handles import Run
from matterstack.storage.read.changes import StoreWatcher
from tests.embed.conftest import Home


async def test_calls_from_elsewhere_are_refused_in_words(home: Home) -> None:
    home.write("one", home.diary.task("a"))
    async with matterstack.open_engine(home.root) as engine:
        run = await engine.start("one")
        await run.wait()

        def from_asyncio() -> None:
            with pytest.raises(UsageError, match="lives in another thread"):
                asyncio.run(engine.runs())

        def from_another_trio() -> None:
            with pytest.raises(UsageError, match="lives in another thread"):
                trio.run(run.status)

        await trio.to_thread.run_sync(from_asyncio)
        await trio.to_thread.run_sync(from_another_trio)

        def the_way_that_the_hint_names() -> RunStatus:
            return trio.from_thread.run(run.status).status

        assert await trio.to_thread.run_sync(the_way_that_the_hint_names) is RunStatus.COMPLETED


def test_an_engine_works_in_any_thread_and_leaves_signals_and_logging_alone(home: Home) -> None:
    home.write("one", home.diary.task("a"))
    loggers = [logging.getLogger(), *map(logging.getLogger, sorted(logging.root.manager.loggerDict))]
    known = {log.name: (list(log.handlers), log.level, log.propagate) for log in loggers}
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
    statuses: list[RunStatus] = []

    async def serve() -> None:
        async with matterstack.open_engine(home.root) as engine:
            statuses.append((await (await engine.start("one")).wait()).status)

    thread = threading.Thread(target=trio.run, args=(serve,))
    thread.start()
    thread.join()
    trio.run(serve)
    assert statuses == ["COMPLETED", "COMPLETED"]
    assert {number: signal.getsignal(number) for number in signal.valid_signals()} == handlers
    for name, was in known.items():
        log = logging.getLogger(name)
        assert (list(log.handlers), log.level, log.propagate) == was, name


@pytest.mark.usefixtures("processes")
def test_the_package_is_imported_in_no_time_and_without_what_hosts_may_not_have() -> None:
    code = (
        "import sys, matterstack; assert matterstack.Task\n"
        "heavy = {'trio', 'asyncclick', 'pydantic', 'sqlite3'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert callable(matterstack.open_engine) and callable(matterstack.aio.connect)\n"
        "assert 'open_engine' in dir(matterstack)\n"
        "assert 'fastapi' not in sys.modules and 'matplotlib' not in sys.modules\n"
        "try: matterstack.nothing\n"
        "except AttributeError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "module 'matterstack' has no attribute 'nothing'\n"


async def test_nobody_asks_the_store_while_nobody_waits_and_no_change_is_slept_through() -> None:
    version, asked = 1, 0

    class Reader:
        async def read(self) -> int:
            nonlocal asked
            asked += 1
            await trio.lowlevel.checkpoint()
            return version

    watcher = StoreWatcher(Reader().read)
    found: list[int] = []

    async def look() -> int | None:
        await trio.lowlevel.checkpoint()
        return version if version > 1 else None

    async def wait() -> None:
        found.append(await watcher.first(look))
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watcher.serve)
        await wait_all_tasks_blocked()
        assert asked == 0
        nursery.start_soon(wait)
        while asked < 2:
            await trio.lowlevel.checkpoint()
        version = 2
        nursery.cancel_scope.deadline = trio.current_time() + 10
    assert found == [2]


async def test_a_change_while_somebody_looks_is_not_slept_through() -> None:
    version, asked = 1, trio.Event()

    class Reader:
        async def read(self) -> int:
            await trio.lowlevel.checkpoint()
            if version == 2:
                asked.set()
            return version

    watcher = StoreWatcher(Reader().read)

    async def never() -> int | None:
        await trio.lowlevel.checkpoint()
        return None

    async def look() -> int | None:
        nonlocal version
        seen, version = version, 2
        await asked.wait()  # and by now all who wait were woken
        await wait_all_tasks_blocked()
        return seen if seen == 2 else None

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watcher.serve)
        nursery.start_soon(watcher.first, never)
        with trio.fail_after(10):
            assert await watcher.first(look) == 2
        nursery.cancel_scope.cancel()


# ---- which error comes out ----


async def _fail_with(*errors: BaseException, own: BaseException | None = None) -> Any:
    """What comes out of a nursery whose tasks, and whose own block, raise at once."""

    async def fail(error: BaseException) -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise error

    async with open_plain_nursery() as nursery:
        for error in errors:
            nursery.start_soon(fail, error)
        await wait_all_tasks_blocked()
        if own is not None:
            raise own
        nursery.cancel_scope.cancel()


STORE, LEASE, VALUE, KEY = StoreError("disk"), LeaseLostError("run"), ValueError("v"), KeyError("k")


@pytest.mark.parametrize(
    ("tasks", "own", "out"),
    [
        ([STORE], None, STORE),
        ([STORE, VALUE], None, STORE),
        ([STORE], KEY, KEY),
        ([VALUE, KeyboardInterrupt("x")], KEY, KeyboardInterrupt),
        ([VALUE], STORE, STORE),
    ],
)
async def test_of_several_errors_one_comes_out_and_names_the_others(
    tasks: list[BaseException], own: BaseException | None, out: Any
) -> None:
    everything = [*tasks, *([own] if own else [])]
    for error in everything:
        vars(error).pop("__notes__", None)
    with pytest.raises(out if isinstance(out, type) else type(out)) as raised:  # noqa: PT012
        await _fail_with(*tasks, own=own)
        raise AssertionError
    assert len(getattr(raised.value, "__notes__", [])) == len(everything) - 1
    assert all(
        any(str(error) in note for note in raised.value.__notes__)
        for error in everything
        if error is not raised.value
    )


async def test_strangers_stay_together_and_a_hosts_own_group_stays_what_it_is() -> None:
    with pytest.raises(ExceptionGroup):
        await _fail_with(VALUE, KEY)
    with pytest.raises(LeaseLostError), plain_errors():
        raise ExceptionGroup("g", [ExceptionGroup("h", [LEASE])])
    with pytest.raises(ExceptionGroup) as raised:
        await _fail_with(own=ExceptionGroup("mine", [ValueError("a"), ValueError("b")]))
    assert raised.value.message == "mine"


async def test_a_cancelled_host_is_cancelled_and_nothing_else(home: Home) -> None:
    runs: list[Run] = []
    home.write("slow", home.diary.task("a", home.diary.gate()))
    with trio.CancelScope() as scope:
        async with matterstack.open_engine(home.root) as engine:
            runs.append(await engine.start("slow"))
            scope.cancel()
            await runs[0].wait()
    assert scope.cancelled_caught
    home.diary.open()
