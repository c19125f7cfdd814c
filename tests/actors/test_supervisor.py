"""Supervision: who crashes is started again, alone, later and later, up to a limit."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest
import trio
from trio.testing import MockClock

from matterstack.actors.supervisor import FOREVER, RestartPolicy, root_cause, supervise
from matterstack.core.errors import LeaseLostError, StoreError

BUG = "a bug"


def crashing(times: int | None, starts: list[float], after_s: float = 0) -> Callable[[], Awaitable[None]]:
    """An actor that crashes so many times (None: for ever) after a while, then returns."""

    async def start() -> None:
        starts.append(trio.current_time())
        await trio.sleep(after_s)
        if times is None or len(starts) <= times:
            raise RuntimeError(BUG)

    return start


async def test_an_actor_that_returns_is_not_started_again() -> None:
    starts: list[float] = []
    await supervise("a", crashing(0, starts), policy=RestartPolicy())
    assert len(starts) == 1


async def test_restarts_come_later_and_later(autojump_clock: MockClock) -> None:
    starts: list[float] = []
    policy = RestartPolicy(max_crashes=10, window_s=600, first_delay_s=0.5, max_delay_s=6)

    await supervise("a", crashing(7, starts), policy=policy)

    waits = [later - earlier for earlier, later in pairwise(starts)]
    assert waits == pytest.approx([0.5, 1, 2, 4, 6, 6, 6])
    assert autojump_clock.current_time() == pytest.approx(25.5)


async def test_three_crashes_are_survived_and_the_fourth_is_given_up_once(autojump_clock: MockClock) -> None:
    starts: list[float] = []
    given_up: list[tuple[float, Exception]] = []

    async def give_up(error: Exception) -> None:
        given_up.append((trio.current_time(), error))

    await supervise("a", crashing(None, starts), policy=RestartPolicy(), give_up=give_up)

    assert starts == pytest.approx([0, 0.1, 0.3, 0.7])
    ((when, error),) = given_up
    assert when == pytest.approx(0.7)
    assert str(error) == BUG
    assert autojump_clock.current_time() == pytest.approx(0.7), "it waited although it had given up"


async def test_without_anybody_to_tell_it_just_ends(autojump_clock: MockClock) -> None:
    starts: list[float] = []
    await supervise("a", crashing(None, starts), policy=RestartPolicy(max_crashes=0))
    assert starts == [autojump_clock.current_time()]


async def test_only_crashes_within_the_window_count(autojump_clock: MockClock) -> None:
    starts: list[float] = []
    # A crash every 21 s or so: never more than three in any 60 s.
    await supervise(
        "a", crashing(20, starts, after_s=20.5), policy=RestartPolicy(first_delay_s=0.5, max_delay_s=0.5)
    )
    assert len(starts) == 21
    assert autojump_clock.current_time() == pytest.approx(20 * 21 + 20.5)


async def test_one_crash_more_often_than_the_window_allows_is_given_up(autojump_clock: MockClock) -> None:
    starts: list[float] = []
    await supervise(
        "a", crashing(20, starts, after_s=19), policy=RestartPolicy(first_delay_s=0.5, max_delay_s=0.5)
    )
    assert len(starts) == 4
    assert autojump_clock.current_time() == pytest.approx(4 * 19 + 3 * 0.5)


async def test_forever_never_gives_up_and_waits_a_minute_at_most(autojump_clock: MockClock) -> None:
    starts: list[float] = []

    async def give_up(error: Exception) -> None:
        raise AssertionError(f"it was given up: {error}")

    await supervise("a", crashing(40, starts), policy=FOREVER, give_up=give_up)

    waits = [later - earlier for earlier, later in pairwise(starts)]
    assert waits[:4] == pytest.approx([0.1, 0.2, 0.4, 0.8])
    assert waits[10:] == pytest.approx([60.0] * 30)
    assert autojump_clock.current_time() > 1800


async def test_an_actor_that_stayed_up_for_a_while_is_started_again_soon(autojump_clock: MockClock) -> None:
    starts: list[float] = []

    async def start() -> None:
        starts.append(trio.current_time())
        if len(starts) == 8:
            await trio.sleep(3600)
        if len(starts) < 10:
            raise RuntimeError(BUG)

    await supervise("a", start, policy=FOREVER)

    assert starts[8] - starts[7] == pytest.approx(3600.1)
    assert starts[9] - starts[8] == pytest.approx(0.2)
    assert autojump_clock.current_time() == starts[9]


@pytest.mark.parametrize(
    "error",
    [
        StoreError("the disk is gone"),
        ExceptionGroup("a nursery", [StoreError("the disk is gone")]),
        ExceptionGroup("a", [RuntimeError(BUG), ExceptionGroup("b", [LeaseLostError("taken over")])]),
    ],
    ids=["alone", "in a group", "deep among others"],
)
async def test_fatal_errors_are_raised_on_at_once(error: Exception) -> None:
    starts = 0

    async def start() -> None:
        nonlocal starts
        starts += 1
        raise error

    async def give_up(_error: Exception) -> None:
        raise AssertionError("this is not the actor's own error")

    with pytest.raises(type(error)) as raised:
        await supervise(
            "a", start, policy=RestartPolicy(), fatal=(StoreError, LeaseLostError), give_up=give_up
        )
    assert raised.value is error
    assert starts == 1


async def test_a_crash_inside_a_nursery_is_a_crash_like_any_other(autojump_clock: MockClock) -> None:
    starts: list[float] = []

    async def start() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(crashing(2, starts))

    await supervise("a", start, policy=RestartPolicy())

    assert starts == pytest.approx([0, 0.1, 0.3])
    assert autojump_clock.current_time() == pytest.approx(0.3)


async def test_cancellation_is_no_crash(autojump_clock: MockClock) -> None:
    starts: list[float] = []
    with trio.move_on_after(10) as scope:
        await supervise("a", crashing(0, starts, after_s=1000), policy=FOREVER)
    assert scope.cancelled_caught
    assert starts == [0]
    assert autojump_clock.current_time() == 10


async def test_cancellation_ends_the_wait_for_a_restart(autojump_clock: MockClock) -> None:
    starts: list[float] = []
    policy = RestartPolicy(first_delay_s=1000, max_delay_s=1000)
    with trio.move_on_after(10) as scope:
        await supervise("a", crashing(1, starts), policy=policy)
    assert scope.cancelled_caught
    assert starts == [0]
    assert autojump_clock.current_time() == 10


async def test_siblings_go_on_as_if_nothing_had_happened(autojump_clock: MockClock) -> None:
    starts: list[float] = []
    ticks: list[float] = []

    async def sibling() -> None:
        for _ in range(20):
            ticks.append(trio.current_time())
            await trio.sleep(1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(sibling)
        await supervise("a", crashing(None, starts), policy=RestartPolicy())
        assert autojump_clock.current_time() < 1
    assert ticks == [float(tick) for tick in range(20)]


def test_the_root_cause_is_the_first_error_in_the_groups() -> None:
    cause = ValueError("this one")
    group = ExceptionGroup("a", [ExceptionGroup("b", [cause, KeyError("x")]), OSError("y")])
    assert root_cause(group) is cause
    assert root_cause(cause) is cause
