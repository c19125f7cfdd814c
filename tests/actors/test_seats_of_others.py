"""Seats that somebody else has: runs that nobody serves, and other engines."""

from __future__ import annotations

from functools import partial

import pytest
import trio

from matterstack.core.ids import RunId
from matterstack.core.run import facts as f
from matterstack.core.states import RunStatus
from tests.support.engine import World, flat
from tests.support.fake_backend import Behaviour


async def one_left_and_one_named(world: World, jobs: int) -> tuple[RunId, RunId]:
    """Two runs of so many long jobs on two seats; the first one was served until all of its jobs ran."""
    world.campaign("left", flat(jobs))
    world.campaign("named", flat(jobs))
    world.cluster.behave = lambda _: Behaviour(duration_s=600)
    left = world.create("left", max_jobs=2)
    async with world.serving():
        await world.until(lambda: len(world.cluster.live()) == jobs, "the jobs of the run that is left")
    return left, world.create("named", max_jobs=2)


async def test_jobs_of_a_run_that_nobody_serves_give_their_seats_back_when_they_end(world: World) -> None:
    left, named = await one_left_and_one_named(world, jobs=2)

    await world.serve_until_done(named)

    assert world.status(named) is RunStatus.COMPLETED
    assert world.status(left) is RunStatus.RUNNING, "it is looked after, not driven"
    assert len(world.facts(left, f.JobEnded)) == 2
    assert not world.facts(left, f.TaskSucceeded, f.IterationAnalyzed)
    await world.serve_until_done(left)
    assert world.status(left) is RunStatus.COMPLETED
    world.check()


async def test_a_run_that_is_swept_can_be_served_soon_by_another_engine(world: World) -> None:
    left, named = await one_left_and_one_named(world, jobs=1)
    async with world.engine() as first, trio.open_nursery() as nursery:
        nursery.start_soon(first.serve, [named])
        await world.until(lambda: len(world.cluster.live()) == 2, "a job of the other run")
        start = trio.current_time()
        await world.serve_until_done(left)
        assert trio.current_time() - start < 650
        nursery.cancel_scope.cancel()
    assert world.status(left) is RunStatus.COMPLETED
    world.check()


async def test_the_seat_of_an_ended_job_is_used_in_the_commit_that_stores_the_end(world: World) -> None:
    world.campaign("w", flat(3))
    run = world.create("w", max_jobs=1)
    await world.serve_until_done(run)

    pairs = [(e.fact, e.at) for e in world.events() if isinstance(e.fact, f.JobEnded | f.AttemptPrepared)]
    kinds = [type(fact).__name__ for fact, _ in pairs]
    assert kinds == ["AttemptPrepared", "JobEnded"] * 3
    for (_, ended), (_, prepared) in zip(pairs[1::2], pairs[2::2], strict=False):
        assert ended == prepared, "both were decided at once"
    world.check()


async def test_seats_of_a_swept_run_come_free_when_another_engine_ends_its_jobs(world: World) -> None:
    left, named = await one_left_and_one_named(world, jobs=2)
    async with world.engine() as first, trio.open_nursery() as nursery:
        nursery.start_soon(first.serve, [named])
        await trio.sleep(35)  # it has looked after the jobs that were left, and let go of them
        await world.serve_until_done(left)
        await world.until_status(named, RunStatus.COMPLETED, within_s=700)
        assert world.status(left) is RunStatus.COMPLETED
        nursery.cancel_scope.cancel()
    world.check()


@pytest.mark.parametrize("turn", range(12))
async def test_a_run_whose_jobs_ended_while_no_engine_was_there_goes_on(world: World, turn: int) -> None:
    # What the run says that it could use, and what the backend sees by itself, may cross: in any order.
    world.campaign("a", flat(8))
    world.campaign("b", flat(8))
    world.cluster.behave = lambda _: Behaviour(duration_s=1 + turn % 3)
    runs = [world.create(name, max_jobs=6, max_hpc_jobs_per_run=2) for name in ("a", "b")]
    for _ in range(3):
        async with world.serving():
            await world.until(partial(_has_jobs, world, len(world.cluster.jobs) + 3), "more jobs")
        await trio.sleep(60)

    await world.serve_until_done(*runs)

    assert [world.status(run) for run in runs] == [RunStatus.COMPLETED] * 2
    assert set(world.cluster.tasks_run().values()) == {1}
    world.check()


def _has_jobs(world: World, count: int) -> bool:
    return len(world.cluster.jobs) >= count
