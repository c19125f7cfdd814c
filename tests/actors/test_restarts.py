"""An engine may stop at any moment: the next one finishes the run, and no task runs twice."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio

from matterstack.actors.protocol import Resolved
from matterstack.backends.base import PreparedAttempt
from matterstack.core.ids import BackendName, RunId
from matterstack.core.model.workflow import Workflow
from matterstack.core.run.facts import SubmissionWithdrawn
from matterstack.core.states import ENDED_RUNS, RunStatus
from matterstack.engine import Engine
from tests.support.engine import World, flat, task
from tests.support.fake_backend import Behaviour


def diamond() -> Workflow:
    """One task, three behind it, one behind those."""
    middle = [task(f"m{i}", depends_on=["top"]) for i in range(3)]
    return Workflow([task("top"), *middle, task("end", depends_on=[t.id for t in middle])])


async def serve_until_event(world: World, run: RunId, count: int, stop: Callable[[Engine], None]) -> bool:
    """Serve until the store has so many events, then stop at once; whether the run had ended before."""
    async with world.engine() as engine, trio.open_nursery() as nursery:

        async def watch() -> None:
            await world.until(
                lambda: world.event_count() >= count or world.status(run) in ENDED_RUNS, f"event {count}"
            )
            stop(engine)
            nursery.cancel_scope.cancel()

        nursery.start_soon(engine.serve)
        nursery.start_soon(watch)
    return world.status(run) in ENDED_RUNS


@pytest.mark.parametrize("grace_period_s", [0.0, 3.0])
async def test_stopped_after_any_event_the_run_is_finished_without_a_task_run_twice(
    world: World, grace_period_s: float
) -> None:
    world.campaign("w", diamond(), flat(3))
    world.cluster.submit_s, world.cluster.reply_s = 0.4, 0.4
    world.cluster.behave = lambda _: Behaviour(queue_s=0.7, duration_s=0.9)
    ended, stops = False, 0
    while not ended:
        stops += 1
        run = world.create("w", max_hpc_jobs_per_run=2, backend={"grace_period_s": grace_period_s})
        events = world.event_count()
        ended = await serve_until_event(world, run, events + stops, Engine.stop)
        await world.serve_until_done()
        assert world.status(run) is RunStatus.COMPLETED, f"stopped after event {stops}"
        assert set(world.cluster.tasks_run().values()) == {1}, f"stopped after event {stops}"
    assert stops > 30
    world.check()


async def test_stopped_at_any_time_over_and_over_the_run_is_finished_without_a_task_run_twice(
    world: World,
) -> None:
    world.campaign("w", diamond(), flat(4))
    world.cluster.submit_s, world.cluster.reply_s = 0.3, 0.3
    world.cluster.behave = lambda _: Behaviour(queue_s=0.5, duration_s=0.5)
    runs = [world.create("w", max_hpc_jobs_per_run=2, max_jobs=3) for _ in range(2)]
    for step in range(400):
        if all(world.status(run) is RunStatus.COMPLETED for run in runs):
            break
        async with world.serving():
            # Lives between 0.2 and 3 s: some too short to get anything done.
            await trio.sleep(0.2 + step * 0.37 % 2.8)
    assert [world.status(run) for run in runs] == [RunStatus.COMPLETED] * 2
    assert set(world.cluster.tasks_run().values()) == {1}
    assert world.cluster.most_live <= 3
    world.check()


async def test_jobs_that_end_while_no_engine_runs_are_noted_by_the_next_one(world: World) -> None:
    world.campaign("w", flat(5))
    run = world.create("w")
    async with world.serving():
        await world.until(world.cluster.live, "jobs")
        await trio.sleep(0.01)
    await trio.sleep(1000)
    assert world.cluster.live() == []

    await world.serve_until_done()

    assert world.status(run) is RunStatus.COMPLETED
    assert set(world.cluster.tasks_run().values()) == {1}
    world.check()


async def test_seats_of_running_jobs_are_taken_from_the_start_in_the_next_engine(world: World) -> None:
    world.campaign("w", flat(6))
    old = world.create("w", max_jobs=4)
    world.cluster.behave = lambda a: Behaviour(duration_s=500 if a.run_id == old else 1)
    async with world.serving():
        await world.until(lambda: len(world.cluster.live()) == 4, "a full cluster")
    world.create("w", max_jobs=4)

    await world.serve_until_done()

    assert world.cluster.most_live == 4
    world.check()


async def test_a_submission_cut_off_before_it_reached_the_cluster_is_done_again_with_its_token(
    world: World,
) -> None:
    world.campaign("w", flat(2))
    run = world.create("w")
    world.cluster.submit_s = 10
    async with world.serving():
        await world.until(lambda: world.cluster.times("submit"), "a submission")
    assert world.cluster.jobs == []
    prepared = set(world.state(run).live)
    assert len(prepared) == 2
    world.cluster.submit_s = 0

    await world.serve_until_done()

    assert {job.token for job in world.cluster.jobs} == prepared
    assert world.status(run) is RunStatus.COMPLETED
    world.check()


async def test_a_submission_cut_off_before_its_answer_is_found_again(world: World) -> None:
    world.campaign("w", flat(2))
    run = world.create("w")
    world.cluster.reply_s = 10
    async with world.serving():
        await world.until(lambda: world.cluster.jobs, "jobs")
    assert all(attempt.job_id is None for attempt in world.state(run).live.values())

    await world.serve_until_done()

    assert world.status(run) is RunStatus.COMPLETED
    assert len(world.cluster.jobs) == 2
    assert len(world.cluster.times("submit")) == 1
    world.check()


async def test_the_next_engine_decides_nothing_about_a_cut_off_submission_while_the_cluster_is_down(
    world: World,
) -> None:
    world.campaign("w", flat(2))
    run = world.create("w")
    world.cluster.reply_s = 10
    async with world.serving():
        await world.until(lambda: world.cluster.jobs, "jobs")
    world.cluster.outage = "no route to host"
    async with world.serving():
        events = world.event_count()
        await trio.sleep(2000)
        assert world.event_count() == events
        world.cluster.outage = None
        await world.until_status(run, RunStatus.COMPLETED, within_s=400)
    assert len(world.cluster.jobs) == 2
    world.check()


@pytest.mark.parametrize("arrives", [True, False])
async def test_an_unclear_submission_is_found_or_done_again_after_the_grace_period(
    world: World, arrives: bool
) -> None:
    def behave(attempt: PreparedAttempt) -> Behaviour:
        unclear = attempt.task_id == "t0001" and len(world.cluster.times("submit")) == 1
        return Behaviour(reply_lost=unclear and arrives, never_arrives=unclear and not arrives)

    world.campaign("w", flat(3))
    run = world.create("w", backend={"grace_period_s": 30.0})
    world.cluster.behave = behave

    await world.serve_until_done()

    assert world.status(run) is RunStatus.COMPLETED
    assert [t.tries for t in world.state(run).tasks.values()] == [1, 1, 1]
    late = next(job for job in world.cluster.jobs if job.task_id == "t0001")
    if arrives:
        assert late.submitted_at < 1
        assert len(world.cluster.times("submit")) == 1
    else:
        assert 30 <= late.submitted_at <= 40
        assert len(world.cluster.times("submit")) == 2
    world.check()


async def test_a_submission_that_raises_backend_error_is_unclear_and_not_done_twice(world: World) -> None:
    world.campaign("w", flat(4))
    run = world.create("w", max_hpc_jobs_per_run=2)
    world.cluster.behave = lambda _: Behaviour(duration_s=3)
    async with world.serving():
        world.cluster.outage = "no route to host"
        await world.until(lambda: world.cluster.times("submit"), "a submission")
        await trio.sleep(500)
        assert len(world.cluster.times("submit")) == 1, "submitted on and on while nothing is clear"
        assert len(world.state(run).live) == 2
        world.cluster.outage = None
        await world.until_status(run, RunStatus.COMPLETED, within_s=500)
    assert set(world.cluster.tasks_run().values()) == {1}
    world.check()


@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_a_late_answer_that_there_is_no_job_does_not_touch_a_submission_under_way(
    world: World, is_cancelled: bool
) -> None:
    world.campaign("w", flat(2))
    run = world.create("w")
    world.cluster.submit_s = 10
    async with world.serving() as engine:
        await world.until(lambda: world.cluster.times("submit"), "a submission")
        late = Resolved(BackendName("fake"), found={}, absent=list(world.state(run).live))
        if is_cancelled:
            await world.cancel(run)
        engine._served[run].mailbox.tell(late)
        await world.until_ended(run)
    assert world.cluster.live() == []
    assert len(world.cluster.times("submit")) == 1
    assert world.status(run) is (RunStatus.CANCELLED if is_cancelled else RunStatus.COMPLETED)
    assert world.facts(run, SubmissionWithdrawn) == []
    world.check()
