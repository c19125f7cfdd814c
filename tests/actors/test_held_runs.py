"""Runs whose tasks fail alike are held by their engine, and no job starts in them afterwards."""

from __future__ import annotations

import pytest
import trio

from matterstack.backends.base import PreparedAttempt
from matterstack.core.ids import RunId
from matterstack.core.run import facts as f
from matterstack.core.states import RunStatus, TaskStatus
from tests.support.engine import World, flat
from tests.support.fake_backend import Behaviour

TASKS = 60


async def is_held(world: World, run: RunId) -> None:
    await world.until(lambda: world.status(run) is RunStatus.PAUSED, "a run that is held")


def broken(world: World, duration_s: float = 1.0) -> None:
    world.cluster.behave = lambda _: Behaviour(duration_s=duration_s, exit_code=7)


def mended(world: World) -> None:
    world.cluster.behave = lambda _: Behaviour(duration_s=1)


@pytest.mark.parametrize("cap", [1, 4, 25])
async def test_ten_and_the_jobs_at_once_fail_and_the_others_run_when_all_is_mended(
    world: World, cap: int
) -> None:
    world.campaign("w", flat(TASKS))
    run = world.create("w", max_hpc_jobs_per_run=cap, hold_after_alike=10)
    broken(world)
    async with world.serving():
        await is_held(world, run)
        await world.until(lambda: not world.cluster.live(), "the last jobs")
        await trio.sleep(60)
        state = world.state(run)
        assert 10 <= state.counts[TaskStatus.FAILED] <= 10 + cap
        assert state.status is RunStatus.PAUSED
        assert state.counts[TaskStatus.READY] == TASKS - state.counts[TaskStatus.FAILED]

        mended(world)
        await world.retry(run)
        await world.resume(run)
        await world.until_ended(run)
    assert world.status(run) is RunStatus.COMPLETED
    assert world.state(run).counts[TaskStatus.SUCCEEDED] == TASKS
    world.check()


async def test_the_end_that_reaches_the_count_and_the_pause_are_one_commit(world: World) -> None:
    world.campaign("w", flat(TASKS))
    run = world.create("w", max_hpc_jobs_per_run=1, hold_after_alike=3)
    broken(world)
    async with world.serving():
        await is_held(world, run)
    events = world.events()
    pause = next(n for n, event in enumerate(events) if isinstance(event.fact, f.RunPaused))
    assert isinstance(events[pause - 1].fact, f.JobEnded)
    assert events[pause].at == events[pause - 1].at
    world.check()


async def test_a_hold_waits_for_a_submission_that_is_under_way_and_none_begins(world: World) -> None:
    fails_after_s = {"t0000": 3, "t0001": 6, "t0002": 6}

    def behave(attempt: PreparedAttempt) -> Behaviour:
        duration_s = fails_after_s.get(attempt.task_id)
        return Behaviour(duration_s=duration_s or 200, exit_code=int(duration_s is not None))

    world.campaign("w", flat(TASKS))
    run = world.create("w", max_hpc_jobs_per_run=4, hold_after_alike=3)
    world.cluster.behave = behave
    world.cluster.submit_s = 5
    async with world.serving():
        await is_held(world, run)
        submitted = len(world.cluster.jobs)
        await trio.sleep(100)
        assert len(world.cluster.jobs) == submitted
    facts = world.facts(run)
    reached = [n for n, fact in enumerate(facts) if isinstance(fact, f.JobEnded)][2]
    pause = next(n for n, fact in enumerate(facts) if isinstance(fact, f.RunPaused))
    landed = [fact for fact in facts[reached:pause] if isinstance(fact, f.JobAccepted)]
    assert len(landed) == 1, "the submission that it waited for"
    assert not any(isinstance(fact, f.AttemptPrepared) for fact in facts[reached:])
    world.check()


@pytest.mark.parametrize("failures", [1, 2])
async def test_the_count_survives_the_engine(world: World, failures: int) -> None:
    world.campaign("w", flat(TASKS))
    run = world.create("w", max_hpc_jobs_per_run=1, hold_after_alike=3)
    broken(world)
    async with world.serving():
        await world.until(lambda: world.state(run).counts[TaskStatus.FAILED] == failures, "a failure")
    async with world.serving():
        await is_held(world, run)
    assert world.state(run).counts[TaskStatus.FAILED] == 3
    world.check()
