"""Changes of the store: how often it is asked, and who is woken by what."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import attrs
import trio
from trio.testing import MockClock

from matterstack.storage.read.changes import Changes, Pace

PACE = Pace(interval_s=1, quiet_after_s=10, quiet_s=5)


@attrs.define
class Store:
    """Its version changes at these times (s)."""

    commits: tuple[float, ...] = ()
    asked: list[float] = attrs.field(factory=list)

    async def version(self) -> int:
        await trio.lowlevel.checkpoint()
        now = trio.current_time()
        self.asked.append(now)
        return sum(at <= now for at in self.commits)


async def seen(store: Store, until_s: float, at_least_every_s: float | None = None) -> list[float]:
    """When somebody who waits for changes is woken."""
    woken: list[float] = []
    with trio.move_on_after(until_s):
        async for _ in Changes(store.version, PACE, at_least_every_s=at_least_every_s):
            woken.append(trio.current_time())  # noqa: PERF401  what came before the end counts
    return woken


def steps(times: list[float]) -> Iterator[float]:
    return (after - before for before, after in pairwise(times))


async def test_who_waits_is_woken_at_once_and_by_each_commit(autojump_clock: MockClock) -> None:
    start = autojump_clock.current_time()
    store = Store((start + 2.5, start + 7.5))
    assert [at - start for at in await seen(store, 9.5)] == [0, 3, 8]


async def test_a_store_where_nothing_happens_is_asked_less_often(autojump_clock: MockClock) -> None:
    start = autojump_clock.current_time()
    store = Store((start + 32,))
    woken = await seen(store, 60)
    assert [at - start for at in woken] == [0, 35]
    assert set(steps(store.asked)) == {1, 5}
    assert len(store.asked) < 33, "asked every second all the time, it would have been 60 times"


async def test_some_look_now_and_then_without_any_commit(autojump_clock: MockClock) -> None:
    start = autojump_clock.current_time()
    woken = await seen(Store(), 9.5, at_least_every_s=3)
    assert [at - start for at in woken] == [0, 3, 6, 9]


async def test_what_was_seen_before_nobody_wanted_to_know_counts_for_nothing(
    autojump_clock: MockClock,  # noqa: ARG001
) -> None:
    store = Store()
    wanted = trio.Event()
    wanted.set()
    woken = 0

    async def is_wanted() -> bool:
        has_paused = not wanted.is_set()
        await wanted.wait()
        return has_paused

    async def watch() -> None:
        nonlocal woken
        async for _ in Changes(store.version, PACE, wanted=is_wanted):
            woken += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        await trio.sleep(3.5)
        assert woken == 1
        wanted = trio.Event()
        await trio.sleep(100)
        asked = len(store.asked)
        assert asked <= 5, "nobody wants to know"
        wanted.set()
        await trio.sleep(0.5)
        assert (woken, len(store.asked)) == (2, asked + 1)
        nursery.cancel_scope.cancel()
