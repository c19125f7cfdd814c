"""Runs that share a cap advance fairly: in one engine, and in several."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from zlib import crc32

import pytest
import trio

from matterstack.core.ids import RunId
from matterstack.core.states import RunStatus
from matterstack.engine import Engine
from tests.support.engine import World, flat, on_virtual_clock
from tests.support.fake_backend import Behaviour, FakeJob

DURATIONS_S = (7.0, 11.0, 13.0, 17.0)


@pytest.fixture
def world(world: World) -> World:
    """Its jobs take differently long."""
    world.cluster.behave = lambda a: Behaviour(duration_s=DURATIONS_S[crc32(a.token.encode()) % 4])
    return world


def jain(shares: Sequence[float]) -> float:
    """Jain's index: 1 when all have the same, 1/n when one has it all."""
    return sum(shares) ** 2 / (len(shares) * sum(share**2 for share in shares))


def completed(world: World, runs: Sequence[RunId]) -> list[int]:
    """How many tasks of each run have succeeded."""
    rows = world.connection.execute(
        "SELECT run_id, count(*) FROM tasks WHERE status = 'SUCCEEDED' GROUP BY run_id"
    )
    counts = Counter(dict(rows))
    return [counts[run] for run in runs]


async def serve_only(engine: Engine, runs: Sequence[RunId]) -> None:
    """Serve these runs and no others."""
    await engine.serve(list(runs))


@on_virtual_clock
async def test_twenty_runs_under_one_cap_complete_their_tasks_side_by_side(world: World) -> None:
    world.cluster.batch_limit = 1000
    world.campaign("w", flat(50))
    runs = [world.create("w", max_jobs=8) for _ in range(20)]
    samples: list[list[int]] = []
    async with world.serving():
        # The first one that had a plan took all seats, since it waited alone.
        await world.until(
            lambda: {job.run_id for job in world.cluster.jobs} == set(runs), "a job of each run"
        )
        begun = completed(world, runs)
        while all(world.status(run) is not RunStatus.COMPLETED for run in runs):
            await trio.sleep(60)
            samples.append(completed(world, runs))
        await world.until_ended(*runs)
    assert {world.status(run) for run in runs} == {RunStatus.COMPLETED}
    while_all_were_active = [counts for counts in samples if max(counts) < 50]
    since_then = [
        [now - then for then, now in zip(begun, counts, strict=True)] for counts in while_all_were_active
    ]
    # Where each has but a few, one more or less is much for the index: there the difference has to do.
    assert min(jain(counts) for counts in since_then if min(counts) >= 5) >= 0.95
    assert max(max(counts) - min(counts) for counts in since_then) <= 3
    assert min(jain(counts) for counts in while_all_were_active if min(counts) >= 10) >= 0.95
    assert len(while_all_were_active) >= 15
    assert_started_alike(world, runs)
    assert world.cluster.most_live == 8
    world.check()


def assert_started_alike(world: World, runs: Sequence[RunId]) -> None:
    """As many jobs of each were started, after each job but for the first hundred, while all were active."""
    by_run = {run: [job.submitted_at for job in world.cluster.jobs if job.run_id == run] for run in runs}
    all_active = max(times[0] for times in by_run.values())
    first_done = min(times[-1] for times in by_run.values())
    while_active = [job for job in world.cluster.jobs if all_active < job.submitted_at < first_done]
    got: Counter[RunId] = Counter()
    for job in while_active:
        got[job.run_id] += 1
        if got.total() >= 100:
            index = jain([got[run] for run in runs])
            assert index >= 0.95, f"{index:.3f} after {got.total()} jobs: {sorted(got.values())}"
    assert got.total() >= 500, "too few of the jobs were started while all runs were active"


@on_virtual_clock
@pytest.mark.parametrize("batch_limit", [1, 1000])
async def test_a_run_of_priority_three_gets_three_times_the_seats(world: World, batch_limit: int) -> None:
    world.cluster.batch_limit = batch_limit
    world.campaign("w", flat(400))
    runs = [world.create("w", max_jobs=8, priority=priority) for priority in (3, 1, 1)]
    async with world.serving():
        await world.until(lambda: max(completed(world, runs)) >= 240, "much of the work")
    high, *low = completed(world, runs)
    for one in low:
        assert high / one == pytest.approx(3, rel=0.15), (high, low)
    firsts = {job.run_id: job.submitted_at for job in reversed(world.cluster.jobs)}
    all_active = max(firsts.values())
    started = Counter(job.run_id for job in world.cluster.jobs if job.submitted_at > all_active)
    for run in runs[1:]:
        assert 2.7 <= started[runs[0]] / started[run] <= 3.3
    world.check()


@on_virtual_clock
@pytest.mark.parametrize("batch_limit", [1, 1000])
async def test_a_run_with_two_thousand_tasks_does_not_delay_one_with_five(
    world: World, batch_limit: int
) -> None:
    world.cluster.batch_limit = batch_limit
    world.cluster.behave = lambda _: Behaviour(duration_s=2)
    world.campaign("large", flat(2000))
    world.campaign("small", flat(5))
    large = world.create("large", max_jobs=10)
    async with world.serving():
        await world.until(lambda: len(world.cluster.jobs) >= 200, "the large run to be at it")
        begun = trio.current_time()
        small = world.create("small", max_jobs=10)
        await world.until_status(small, RunStatus.COMPLETED, within_s=20)
        mine = [job for job in world.cluster.jobs if job.run_id == small]
        # A seat is free at each second poll at the latest; half of the ten are for the small run then.
        assert max(job.submitted_at for job in mine) - begun <= 4
        if batch_limit == 1:
            await world.until_status(large, RunStatus.COMPLETED, within_s=2000)
            assert len(world.cluster.jobs) == 2005
            assert idle_seats(world.cluster.jobs, 10) <= 0.35
    world.check()


def idle_seats(jobs: Sequence[FakeJob], cap: int) -> float:
    """Share of all seats, from the first submission to the last end, that nobody had."""
    length = max(job.ends_at for job in jobs) - min(job.submitted_at for job in jobs)
    return 1 - sum(job.ends_at - job.submitted_at for job in jobs) / (cap * length)


@on_virtual_clock
@pytest.mark.parametrize("cap", [1, 3, 8])
async def test_an_engine_with_endless_work_leaves_seats_to_another_engine(world: World, cap: int) -> None:
    world.campaign("endless", flat(1000))
    world.campaign("small", flat(5))
    endless = [world.create("endless", max_jobs=cap) for _ in range(2)]
    async with world.engine() as busy, world.engine() as other, trio.open_nursery() as nursery:
        nursery.start_soon(serve_only, busy, endless)
        await world.until(lambda: len(world.cluster.jobs) > 3 * cap, "a busy cluster")
        begun = trio.current_time()
        small = world.create("small", max_jobs=cap)
        nursery.start_soon(serve_only, other, [small])
        await world.until_status(small, RunStatus.COMPLETED, within_s=5000)
        took_s = trio.current_time() - begun
        assert all(world.status(run) is RunStatus.RUNNING for run in endless)
        before = len(world.cluster.jobs)
        await trio.sleep(100)
        assert len(world.cluster.jobs) - before >= 0.7 * cap * 100 / 12, "seats lie idle afterwards"
        nursery.cancel_scope.cancel()
    mean_s = sum(DURATIONS_S) / len(DURATIONS_S)
    # A third of the seats is its own, and each seat is looked for within a second.
    assert took_s <= 5 * 3 / cap * (mean_s + 2) + 3 * max(DURATIONS_S)
    assert world.cluster.most_live == cap
    world.check()


@on_virtual_clock
async def test_two_busy_engines_share_the_seats_evenly(world: World) -> None:
    world.campaign("w", flat(400))
    runs = [world.create("w", max_jobs=8) for _ in range(2)]
    async with world.engine() as first, world.engine() as second, trio.open_nursery() as nursery:
        nursery.start_soon(serve_only, first, runs[:1])
        await world.until(lambda: len(world.cluster.jobs) > 20, "a busy cluster")
        before = completed(world, runs)
        nursery.start_soon(serve_only, second, runs[1:])
        await trio.sleep(600)
        gained = [after - b for b, after in zip(before, completed(world, runs), strict=True)]
        nursery.cancel_scope.cancel()
    assert jain(gained) >= 0.98, gained
    assert sum(gained) >= 0.85 * 8 * 600 / 12, "the seats were used"
    assert world.cluster.most_live == 8
    world.check()


@on_virtual_clock
async def test_priority_counts_between_engines_too(world: World) -> None:
    world.campaign("w", flat(600))
    runs = [world.create("w", max_jobs=8, priority=priority) for priority in (3, 1)]
    async with world.engine() as first, world.engine() as second, trio.open_nursery() as nursery:
        nursery.start_soon(serve_only, second, runs[1:])
        await world.until(lambda: len(world.cluster.jobs) > 20, "a busy cluster")
        nursery.start_soon(serve_only, first, runs[:1])
        await trio.sleep(100)
        before = completed(world, runs)
        await trio.sleep(800)
        high, low = (after - b for b, after in zip(before, completed(world, runs), strict=True))
        nursery.cancel_scope.cancel()
    assert high / low == pytest.approx(3, rel=0.15), (high, low)
    world.check()


@on_virtual_clock
async def test_seats_left_for_an_engine_that_has_died_are_taken_again(world: World) -> None:
    world.campaign("w", flat(500))
    runs = [world.create("w", max_jobs=8) for _ in range(2)]
    async with world.engine() as busy, trio.open_nursery() as nursery:
        nursery.start_soon(serve_only, busy, runs[:1])
        await world.until(lambda: len(world.cluster.jobs) > 20, "a busy cluster")
        async with world.engine() as other, trio.open_nursery() as others:
            others.start_soon(serve_only, other, runs[1:])
            await world.until(lambda: len(world.state(runs[1]).live) == 4, "its share")
            others.cancel_scope.cancel()
        claims = world.connection.execute("SELECT run_id FROM claims").fetchall()
        assert (runs[1],) in claims, "it left its claim behind"
        await world.until(lambda: len(world.state(runs[0]).live) == 8, "all seats", within_s=120)
        nursery.cancel_scope.cancel()
    world.check()
