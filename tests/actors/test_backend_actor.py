"""The actor of a backend: one question per interval, outages, and crashes of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
import trio

from matterstack.core.ids import RunId
from matterstack.core.run import facts as f
from matterstack.core.states import RunStatus
from tests.support.engine import World, flat
from tests.support.fake_backend import Behaviour


def gaps(times: list[float]) -> list[float]:
    """Seconds between one time and the next."""
    return [later - earlier for earlier, later in pairwise(times)]


@pytest.mark.parametrize(("runs", "tasks"), [(1, 1), (1, 60), (10, 1), (10, 30)])
async def test_there_is_one_question_per_interval_whatever_the_number_of_runs_and_jobs(
    world: World, runs: int, tasks: int
) -> None:
    world.campaign("w", flat(tasks))
    for _ in range(runs):
        world.create("w", max_jobs=1000, backend={"poll_interval_s": 10.0})
    # Something changes in every interval, so that the interval stays short.
    world.cluster.behave = lambda a: Behaviour(
        queue_s=15 if a.task_id == "t0000" else 5, duration_s=30 if a.task_id == "t0000" else 200
    )
    async with world.serving():
        await world.until(lambda: len(world.cluster.live()) == runs * tasks, "all jobs")
        await trio.sleep(45)
        polls = world.cluster.times("poll")
    assert len(polls) == 4
    assert all(gap == pytest.approx(10, abs=0.2) for gap in gaps(polls))
    assert world.cluster.asked[0] == runs * tasks
    world.check()


async def test_the_interval_grows_fourfold_at_most_while_nothing_changes_and_is_short_after_a_change(
    world: World,
) -> None:
    world.campaign("w", flat(1), flat(1, "b"))
    run = world.create("w", backend={"poll_interval_s": 10.0})
    world.cluster.behave = lambda a: Behaviour(duration_s=1000 if a.task_id == "t0000" else 5)

    await world.serve_until_done()

    polls = world.cluster.times("poll")
    ended = next(e for e in world.cluster.jobs if e.task_id == "t0000").ends_at
    quiet = gaps([t for t in polls if t < ended])
    assert quiet[0] == pytest.approx(10)
    assert quiet == sorted(quiet)
    assert quiet[-1] == pytest.approx(40)
    after = [t for t in polls if t > ended]
    second = next(job for job in world.cluster.jobs if job.task_id == "b0000")
    assert after[1] - second.submitted_at == pytest.approx(10, abs=0.5)
    assert world.status(run) is RunStatus.COMPLETED


async def test_a_cluster_that_is_slow_to_answer_is_asked_less_often_until_it_is_fast_again(
    world: World,
) -> None:
    world.campaign("w", flat(100))
    world.create("w", max_hpc_jobs_per_run=3, backend={"poll_interval_s": 10.0})
    world.cluster.behave = lambda _: Behaviour(duration_s=15)
    async with world.serving():
        await world.until(world.cluster.live, "jobs")
        await trio.sleep(25)
        world.cluster.poll_s = 4.0
        await trio.sleep(15)
        begun = len(world.cluster.times("poll"))
        await trio.sleep(300)
        slow = world.cluster.times("poll")[begun:]
        world.cluster.poll_s = 0.0
        await trio.sleep(60)
        begun = len(world.cluster.times("poll"))
        await trio.sleep(60)
        fast = world.cluster.times("poll")[begun:]
    between = gaps(slow)
    assert len(between) >= 4
    assert min(between) >= 4 + 4 * 4
    assert max(between) <= 4 + 4 * 4 * 1.1 + 0.1
    assert len(set(between)) > 1, "engines would come back all at once"
    assert max(gaps(fast)) <= 15
    world.check()


async def test_a_job_submitted_in_a_quiet_time_is_asked_about_after_one_interval(world: World) -> None:
    world.campaign("long", flat(1))
    world.campaign("short", flat(1))
    first = world.create("long", backend={"poll_interval_s": 10.0})
    world.cluster.behave = lambda a: Behaviour(duration_s=1e5 if a.run_id == first else 1)
    async with world.serving():
        await trio.sleep(1003)
        second = world.create("short", backend={"poll_interval_s": 10.0})
        await world.until_status(second, RunStatus.COMPLETED, within_s=12)
        assert world.status(first) is RunStatus.RUNNING, "the quiet time is over by itself"
    world.check()


async def test_without_a_job_nothing_is_asked(world: World) -> None:
    world.campaign("w", flat(1), plan_s=500)
    world.create("w")

    await world.serve_until_done()

    job = world.cluster.jobs[0]
    assert all(job.submitted_at <= t <= job.ends_at + 5 for t in world.cluster.times("poll"))
    assert world.cluster.times("find") == []


async def test_an_outage_of_an_hour_changes_no_state_and_all_goes_on_afterwards(world: World) -> None:
    world.campaign("w", flat(12))
    run = world.create("w", max_hpc_jobs_per_run=4, backend={"poll_interval_s": 10.0})
    world.cluster.behave = lambda _: Behaviour(duration_s=100)
    async with world.serving():
        await world.until(world.cluster.live, "jobs")
        await trio.sleep(20)
        world.cluster.outage = "Unable to contact slurm controller"
        events = world.event_count()
        begun = len(world.cluster.times("poll"))
        await trio.sleep(3600)
        assert world.event_count() == events
        during = world.cluster.times("poll")[begun:]
        world.cluster.outage = None
        await world.until_status(run, RunStatus.COMPLETED, within_s=1500)
    between = gaps(during)
    assert between[0] >= 20, "it was not asked less often"
    assert max(between) <= 120 * 1.1 + 0.1
    assert between[-1] >= 120
    assert set(world.cluster.tasks_run().values()) == {1}
    world.check()


async def test_a_cancel_that_the_cluster_did_not_hear_is_asked_again(world: World) -> None:
    world.campaign("w", flat(3))
    run = world.create("w")
    world.cluster.behave = lambda _: Behaviour(duration_s=1e6)
    async with world.serving():
        await world.until(world.cluster.live, "jobs")
        await trio.sleep(3)
        world.cluster.outage = "no route to host"
        await world.cancel(run)
        await trio.sleep(1)
        world.cluster.outage = None
        await world.until_status(run, RunStatus.CANCELLED, within_s=60)
    assert len(world.cluster.times("cancel")) == 2
    world.check()


async def test_jobs_that_take_long_to_end_are_not_cancelled_at_every_poll(world: World) -> None:
    world.campaign("w", flat(3))
    run = world.create("w")
    world.cluster.behave = lambda _: Behaviour(duration_s=1e6)
    world.cluster.cancel_s = 95
    async with world.serving():
        await world.until(world.cluster.live, "jobs")
        await world.cancel(run)
        await world.until_status(run, RunStatus.CANCELLED, within_s=120)
    assert 2 <= len(world.cluster.times("cancel")) <= 12
    world.check()


@pytest.mark.parametrize("operation", ["poll", "submit", "find"])
async def test_a_crash_of_the_actor_loses_nothing_and_does_nothing_twice(
    world: World, operation: str
) -> None:
    world.campaign("w", flat(12), flat(5, "b"))
    runs = [world.create("w", max_hpc_jobs_per_run=3, max_jobs=5) for _ in range(3)]
    # The answer of some submissions is lost, so that they are looked for.
    world.cluster.behave = lambda a: Behaviour(
        queue_s=0.6, duration_s=1.1, reply_lost=a.task_id in {"t0001", "t0004", "b0002"}
    )
    world.cluster.submit_s = world.cluster.reply_s = 0.3
    bugs: list[Exception] = [RuntimeError(f"bug {i}") for i in range(5)]
    async with world.serving():
        for bug in bugs:
            world.cluster.faults.setdefault(operation, []).append(bug)
            await trio.sleep(2.3)
        await world.until_ended(*runs, within_s=1000)
    assert [world.status(run) for run in runs] == [RunStatus.COMPLETED] * 3
    assert set(world.cluster.tasks_run().values()) == {1}
    assert not any(world.cluster.faults.values()), "a fault was never met"
    world.check()


async def test_a_backend_that_crashes_for_hours_is_started_again_forever(world: World) -> None:
    world.campaign("w", flat(2))
    run = world.create("w")
    world.cluster.behave = lambda _: Behaviour(duration_s=5)
    async with world.serving():
        await world.until(world.cluster.live, "jobs")
        world.cluster.faults["poll"] = [RuntimeError("a bug")] * 30
        await world.until(lambda: not world.cluster.faults["poll"], "the last crash", within_s=3600)
        polls = world.cluster.times("poll")
        assert max(gaps(polls)) <= 62
        assert min(gaps(polls)[-15:]) >= 59.9, "the backoff began anew although nothing got better"
        await world.until_status(run, RunStatus.COMPLETED, within_s=100)
    assert world.facts(run, f.RunFailureRequested) == []
    world.check()


async def test_a_pause_is_acknowledged_while_the_backend_is_waiting_for_its_restart(world: World) -> None:
    world.campaign("w", flat(30))
    runs = [world.create("w", max_hpc_jobs_per_run=3) for _ in range(3)]
    world.cluster.behave = lambda _: Behaviour(duration_s=3)
    async with world.serving():
        await world.until(lambda: len(world.cluster.live()) == 9, "jobs")
        await trio.sleep(1)
        world.cluster.faults["poll"] = [RuntimeError("a bug")] * 12
        await trio.sleep(60)
        for run in runs:
            before = trio.current_time()
            await world.pause(run)
            assert trio.current_time() - before <= 0.5
    world.check()


async def test_a_job_under_submission_when_its_actor_crashes_is_not_submitted_twice(world: World) -> None:
    world.campaign("w", flat(3))
    world.campaign("other", flat(1))
    world.create("other")
    run = world.create("w")
    world.cluster.behave = lambda _: Behaviour(duration_s=10)
    world.cluster.reply_s = 4
    async with world.serving():
        await world.until(lambda: len(world.cluster.jobs) == 4, "jobs")
        world.cluster.faults["poll"] = [RuntimeError("a bug")]
        await world.until_ended(run)
    assert world.status(run) is RunStatus.COMPLETED
    world.check()


@asynccontextmanager
async def serving_until_it_crashes_while_it_prepares(world: World) -> AsyncIterator[RunId]:
    """Serve a run whose backend crashes while the files of its four attempts are written."""
    world.campaign("long", flat(1))
    world.campaign("w", flat(4))
    other = world.create("long")
    world.cluster.behave = lambda a: Behaviour(duration_s=1000 if a.run_id == other else 30)
    async with world.serving():
        await world.until(world.cluster.live, "a job that is polled")
    world.slow_files("_stage_each", 10)
    run = world.create("w")
    async with world.serving():
        await world.until(lambda: len(world.state(run).live) == 4, "prepared attempts")
        await trio.sleep(2)
        world.cluster.faults["poll"] = [RuntimeError("a bug")]
        yield run


async def test_attempts_that_are_still_prepared_when_the_actor_crashes_are_submitted_once(
    world: World,
) -> None:
    async with serving_until_it_crashes_while_it_prepares(world) as run:
        await world.until_ended(run, within_s=500)
    assert world.status(run) is RunStatus.COMPLETED
    world.check()


async def test_a_pause_is_not_acknowledged_while_attempts_are_still_prepared_after_a_crash(
    world: World,
) -> None:
    async with serving_until_it_crashes_while_it_prepares(world) as run:
        await trio.sleep(3)
        await world.pause(run)
        acknowledged = len(world.cluster.jobs)
        await trio.sleep(100)
        assert len(world.cluster.jobs) == acknowledged
    world.check()
