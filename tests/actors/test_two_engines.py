"""Two engines on one root: each run has one of them, and caps hold over both."""

from __future__ import annotations

from collections import Counter

import trio

from matterstack.actors.supervisor import root_cause
from matterstack.core.errors import LeaseLostError
from matterstack.core.ids import RunId
from matterstack.core.run import facts as f
from matterstack.core.states import RunStatus
from matterstack.engine import Engine
from matterstack.storage.leases import is_held
from tests.support.engine import World, flat
from tests.support.fake_backend import Behaviour


async def test_every_run_is_served_by_exactly_one_of_them(world: World) -> None:
    world.campaign("w", flat(6))
    runs = [world.create("w", max_jobs=1000) for _ in range(8)]
    async with world.serving() as first, world.serving() as second:
        await world.until(lambda: all(is_held(world.root, run) for run in runs), "all runs to be held")
        while not all(world.status(run) is RunStatus.COMPLETED for run in runs):
            assert not set(first._served) & set(second._served)
            await trio.sleep(0.1)
    assert set(world.cluster.tasks_run().values()) == {1}
    assert Counter(world.planner.asked) == Counter(
        {("w", "plan"): 2 * len(runs), ("w", "analyze"): len(runs)}
    )
    world.check()


async def serve_one(engine: Engine, run: RunId) -> None:
    """Serve one run and no other."""
    await engine.serve([run])


async def test_caps_hold_over_both_and_no_run_is_left_behind(world: World) -> None:
    world.campaign("w", flat(30))
    runs = [world.create("w", max_jobs=4) for _ in range(2)]
    world.cluster.behave = lambda a: Behaviour(duration_s=1 + int(a.task_id[1:]) % 3)
    async with world.engine() as first, world.engine() as second, trio.open_nursery() as nursery:
        for engine, run in zip((first, second), runs, strict=True):
            nursery.start_soon(serve_one, engine, run)
        await world.until_ended(*runs, within_s=1000)
        nursery.cancel_scope.cancel()
    assert world.cluster.most_live == 4
    assert [world.status(run) for run in runs] == [RunStatus.COMPLETED] * 2
    world.check()


async def test_a_run_that_wants_many_seats_gets_the_few_that_the_other_engine_leaves(world: World) -> None:
    world.campaign("long", flat(3))
    world.campaign("w", flat(20))
    long, short = world.create("long", max_jobs=4), world.create("w", max_jobs=4)
    world.cluster.behave = lambda a: Behaviour(duration_s=1e5 if a.run_id == long else 1)
    async with world.engine() as first, world.engine() as second, trio.open_nursery() as nursery:
        nursery.start_soon(serve_one, first, long)
        await world.until(lambda: len(world.cluster.live()) == 3, "three of four seats to be taken")
        nursery.start_soon(serve_one, second, short)
        await world.until_ended(short, within_s=200)
        nursery.cancel_scope.cancel()
    assert world.cluster.most_live == 4
    world.check()


async def test_the_other_engine_takes_a_run_over_when_its_engine_stops(world: World) -> None:
    world.campaign("w", flat(10))
    run = world.create("w", max_hpc_jobs_per_run=2)
    world.cluster.behave = lambda _: Behaviour(duration_s=2)
    stop = trio.Event()

    async def serve_until_stopped() -> None:
        async with world.serving():
            await stop.wait()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_until_stopped)
        await world.until(world.cluster.live, "jobs")
        async with world.serving() as spare:
            await trio.sleep(5)
            assert spare._served == {}
            stop.set()
            await world.until(lambda: run in spare._served, "the run to be taken over", within_s=3)
            await world.until_ended(run)
    assert world.status(run) is RunStatus.COMPLETED
    assert set(world.cluster.tasks_run().values()) == {1}
    world.check()


async def test_a_command_reaches_the_engine_that_holds_the_run(world: World) -> None:
    world.campaign("w", flat(20))
    runs = [world.create("w", max_hpc_jobs_per_run=1) for _ in range(4)]
    async with world.serving(), world.serving():
        await world.until(lambda: len(world.cluster.live()) == 4, "jobs of all runs")
        for run in runs:
            before = trio.current_time()
            await world.pause(run)
            assert trio.current_time() - before <= 0.5
            assert len(world.facts(run, f.RunPaused)) == 1
    world.check()


async def test_an_engine_that_lost_its_lease_writes_nothing_any_more_and_stops(world: World) -> None:
    world.campaign("w", flat(5))
    run = world.create("w")
    world.cluster.behave = lambda _: Behaviour(duration_s=10)
    events = 0
    reasons: list[str] = []
    try:
        async with world.serving():
            await world.until(world.cluster.live, "jobs")
            await trio.sleep(3)
            world.connection.execute("UPDATE runs SET lease_epoch = lease_epoch + 1")
            events = world.event_count()
            await trio.sleep(100)
    except* LeaseLostError as group:
        reasons.append(str(root_cause(group)))
    assert reasons == [f"run {run} was taken over by another engine"]
    assert world.event_count() == events
    world.check()
