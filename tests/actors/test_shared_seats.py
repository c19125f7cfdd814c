"""Two engines whose runs wait for the same seats: what is asked, what is refused, how long it takes."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio

from matterstack.core.errors import CapReachedError, MatterStackError
from matterstack.core.ids import RunId
from matterstack.core.states import RunStatus
from matterstack.engine import Engine
from matterstack.storage.journal import Append, commit
from tests.support.engine import World, flat, make_world
from tests.support.fake_backend import Behaviour

SEATS = 4
QUESTION = "SELECT run_id, count(*) FROM attempts WHERE backend"


def questions_of(engine: Engine) -> list[float]:
    """When an engine asks the store how many seats are taken, from here on."""
    asked: list[float] = []

    def note(statement: str) -> None:
        if statement.strip().startswith(QUESTION):
            asked.append(trio.current_time())

    engine._reader.set_trace_callback(note)
    return asked


@pytest.fixture
def refusals(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When the store refused seats that a run had been given."""
    noted: list[float] = []

    def noting(
        connection: sqlite3.Connection, path: Path, appends: Sequence[Append]
    ) -> list[int | MatterStackError]:
        outcomes = commit(connection, path, appends)
        noted.extend(trio.current_time() for one in outcomes if isinstance(one, CapReachedError))
        return outcomes

    monkeypatch.setattr("matterstack.actors.journal.commit", noting)
    return noted


async def serve_only(engine: Engine, runs: Sequence[RunId]) -> None:
    """Serve these runs and no others."""
    await engine.serve(list(runs))


@pytest.mark.parametrize("waiting", [1, 10])
async def test_an_engine_asks_once_for_all_runs_that_wait(world: World, waiting: int) -> None:
    world.campaign("w", flat(20))
    long, *short = [world.create("w", max_jobs=SEATS) for _ in range(1 + waiting)]
    world.cluster.behave = lambda _: Behaviour(duration_s=1e5)
    async with world.engine() as first, world.engine() as second, trio.open_nursery() as nursery:
        nursery.start_soon(serve_only, first, [long])
        await world.until(lambda: len(world.cluster.live()) == SEATS, "all seats to be taken")
        nursery.start_soon(serve_only, second, short)
        await trio.sleep(20)
        asked = questions_of(second)
        await trio.sleep(60)
        nursery.cancel_scope.cancel()
    assert 1 <= len(asked) <= 40
    world.check()


async def test_a_seat_that_another_engine_leaves_is_used_without_waiting_for_the_next_poll(
    world: World,
) -> None:
    world.campaign("w", flat(20))
    first_run, second_run = [
        world.create("w", max_jobs=1, backend={"poll_interval_s": 1.0}) for _ in range(2)
    ]
    world.cluster.behave = lambda _: Behaviour(duration_s=1e5)
    async with world.engine() as first, world.engine() as second, trio.open_nursery() as nursery:
        nursery.start_soon(serve_only, first, [first_run])
        await world.until(world.cluster.live, "the seat to be taken")
        nursery.start_soon(serve_only, second, [second_run])
        await trio.sleep(100)
        await world.cancel(first_run)
        await world.until_status(first_run, RunStatus.CANCELLED, within_s=30)
        await world.until(lambda: world.state(second_run).live, "the seat to be taken again", within_s=1)
        assert not world.state(first_run).live
        nursery.cancel_scope.cancel()
    world.check()


async def test_runs_of_the_engine_that_is_left_refuse_each_other_nothing(
    world: World, refusals: list[float]
) -> None:
    world.campaign("w", flat(20))
    runs = [world.create("w", max_jobs=SEATS) for _ in range(8)]
    world.cluster.behave = lambda _: Behaviour(duration_s=0.5)
    async with world.engine() as left, trio.open_nursery() as nursery:
        async with world.engine() as other, trio.open_nursery() as others:
            others.start_soon(serve_only, other, runs[4:])
            await world.until(lambda: len(world.cluster.jobs) > 8, "a busy cluster")
            nursery.start_soon(serve_only, left, runs)
            await world.until(lambda: any(world.state(run).live for run in runs[:4]), "both at work")
            others.cancel_scope.cancel()
        died_at, done = trio.current_time(), len(world.cluster.jobs)
        asked = questions_of(left)
        await world.until_ended(*runs)
        took_s = trio.current_time() - died_at
        nursery.cancel_scope.cancel()
    jobs = len(world.cluster.jobs) - done
    assert jobs > 80
    assert [at for at in refusals if at > died_at] == []
    assert len(asked) <= 2 * jobs, "for all runs together"
    assert took_s <= 1.2 * jobs / SEATS + 10, "one poll, a second, for each job of 0.5 s"
    assert world.cluster.most_live == SEATS
    assert set(world.cluster.tasks_run().values()) == {1}
    world.check()


@pytest.mark.parametrize("cap", [1, 3, SEATS])
@pytest.mark.parametrize(("duration_s", "poll_s"), [(0.1, 0.1), (0.1, 10.0), (5.0, 1.0), (5.0, 30.0)])
async def test_two_engines_take_no_longer_than_one(
    world: World, cap: int, duration_s: float, poll_s: float
) -> None:
    alone_s = await _time(make_world(world.root.path / "alone"), 1, cap, duration_s, poll_s)
    took_s = await _time(world, 2, cap, duration_s, poll_s)
    assert took_s <= 1.2 * alone_s


async def _time(world: World, engines: int, cap: int, duration_s: float, poll_s: float) -> float:
    world.campaign("w", flat(20))
    runs = [world.create("w", max_jobs=cap, backend={"poll_interval_s": poll_s}) for _ in range(6)]
    world.cluster.behave = lambda _: Behaviour(duration_s=duration_s)
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        for number in range(engines):
            nursery.start_soon(_serve, world, runs[number::engines])
        await world.until_ended(*runs)
        took_s = trio.current_time() - began
        nursery.cancel_scope.cancel()
    assert world.cluster.most_live == cap
    world.check()
    return took_s


async def _serve(world: World, runs: Sequence[RunId]) -> None:
    async with world.engine() as engine:
        await engine.serve(list(runs))
