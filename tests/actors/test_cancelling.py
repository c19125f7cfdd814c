"""Cancel: first the jobs end, then the run, and nothing of it is left in the cluster."""

from __future__ import annotations

import pytest
import trio

from matterstack.actors.run import GIVE_UP_S
from matterstack.actors.supervisor import RestartPolicy
from matterstack.core.run import facts as f
from matterstack.core.run.messages import Cancel, Pause
from matterstack.core.states import RunStatus, TaskStatus
from tests.support.engine import World, flat
from tests.support.fake_backend import Behaviour


@pytest.mark.parametrize("after_s", [0.0, 0.05, 0.5, 1.0, 1.1, 2.0, 3.3])
@pytest.mark.parametrize("cancel_s", [0.0, 7.0])
async def test_cancel_ends_the_jobs_and_then_the_run(world: World, after_s: float, cancel_s: float) -> None:
    world.campaign("w", flat(20))
    run = world.create("w", max_hpc_jobs_per_run=5)
    world.cluster.behave = lambda _: Behaviour(queue_s=1, duration_s=2)
    world.cluster.cancel_s = cancel_s
    async with world.serving():
        await world.until_status(run, RunStatus.RUNNING)
        await trio.sleep(after_s)
        await world.cancel(run)
        await world.until_status(run, RunStatus.CANCELLED, within_s=20)
        assert world.cluster.live() == []
        submitted = len(world.cluster.jobs)
        await trio.sleep(100)
        assert len(world.cluster.jobs) == submitted
    state = world.state(run)
    assert state.status_reason == "cancelled by eva"
    assert not {TaskStatus.WAITING, TaskStatus.READY, TaskStatus.ACTIVE} & {
        t.status for t in state.tasks.values()
    }
    world.check()


@pytest.mark.parametrize(("submit_s", "reply_s"), [(20, 0), (0, 20)])
async def test_cancel_during_a_submission_ends_the_jobs_that_it_makes(
    world: World, submit_s: float, reply_s: float
) -> None:
    world.campaign("w", flat(6))
    run = world.create("w", max_hpc_jobs_per_run=3)
    world.cluster.submit_s, world.cluster.reply_s = submit_s, reply_s
    world.cluster.behave = lambda _: Behaviour(duration_s=1e6)
    async with world.serving():
        await world.until(lambda: world.cluster.times("submit"), "a submission")
        await world.cancel(run)
        await world.until_status(run, RunStatus.CANCELLED, within_s=100)
        assert world.cluster.live() == []
    assert len(world.cluster.jobs) == 3
    world.check()


async def test_cancel_while_the_campaign_plans_does_not_wait_for_it(world: World) -> None:
    world.campaign("w", flat(3), plan_s=500)
    run = world.create("w")
    async with world.serving():
        await world.until_status(run, RunStatus.RUNNING)
        await world.cancel(run)
        await world.until_status(run, RunStatus.CANCELLED, within_s=1)
        await trio.sleep(1000)
    assert world.facts(run, f.IterationPlanned) == []
    world.check()


@pytest.mark.parametrize("takes_s", [1.0, 1e6])
async def test_cancel_while_outputs_are_collected_waits_for_them_for_a_moment_only(
    world: World, takes_s: float
) -> None:
    collecting = world.slow_files("_collect_each", takes_s)
    world.campaign("w", flat(2))
    run = world.create("w")
    async with world.serving():
        await collecting.wait()
        await world.cancel(run)
        await world.until_status(run, RunStatus.CANCELLED, within_s=5)
    done = TaskStatus.SUCCEEDED if takes_s < GIVE_UP_S else TaskStatus.CANCELLED
    assert world.state(run).counts[done] == 2
    world.check()


@pytest.mark.parametrize("takes_s", [1.0, 1e6])
async def test_cancel_while_files_are_copied_for_jobs_waits_for_them_for_a_moment_only(
    world: World, takes_s: float
) -> None:
    staging = world.slow_files("_stage_each", takes_s)
    world.campaign("w", flat(2))
    run = world.create("w")
    world.cluster.behave = lambda _: Behaviour(duration_s=1e6)
    async with world.serving():
        await staging.wait()
        await world.cancel(run)
        await world.until_status(run, RunStatus.CANCELLED, within_s=60 if takes_s < GIVE_UP_S else 5)
    assert world.state(run).counts[TaskStatus.CANCELLED] == 2
    assert world.cluster.live() == []
    assert len(world.facts(run, f.SubmissionWithdrawn)) == (0 if takes_s < GIVE_UP_S else 2)
    world.check()


@pytest.mark.parametrize("arrives", [True, False])
async def test_cancel_while_a_submission_is_unclear_leaves_no_job(world: World, arrives: bool) -> None:
    world.campaign("w", flat(3))
    run = world.create("w", backend={"grace_period_s": 30.0})
    world.cluster.behave = lambda _: Behaviour(duration_s=1e6, reply_lost=arrives, never_arrives=not arrives)
    async with world.serving():
        await world.until(lambda: world.cluster.times("submit"), "a submission")
        await world.cancel(run)
        await world.until_status(run, RunStatus.CANCELLED, within_s=60)
        assert world.cluster.live() == []
    withdrawn = world.facts(run, f.SubmissionWithdrawn)
    assert len(withdrawn) == (0 if arrives else 3)
    world.check()


async def test_a_cancelled_run_waits_for_a_cluster_that_is_down_and_then_ends(world: World) -> None:
    world.campaign("w", flat(3))
    run = world.create("w")
    world.cluster.behave = lambda _: Behaviour(duration_s=1e6)
    async with world.serving():
        await world.until(world.cluster.live, "jobs")
        await trio.sleep(5)
        world.cluster.outage = "no route to host"
        await world.cancel(run)
        await trio.sleep(1000)
        assert world.status(run) is RunStatus.RUNNING, "nothing may be concluded while nobody answers"
        world.cluster.outage = None
        await world.until_status(run, RunStatus.CANCELLED, within_s=300)
        assert world.cluster.live() == []
    world.check()


async def test_a_paused_run_can_be_cancelled(world: World) -> None:
    world.campaign("w", flat(10))
    run = world.create("w", max_hpc_jobs_per_run=2)
    world.cluster.behave = lambda _: Behaviour(duration_s=1e6)
    async with world.serving():
        await world.until(world.cluster.live, "a job")
        await world.pause(run)
        await world.cancel(run)
        await world.until_status(run, RunStatus.CANCELLED, within_s=20)
        assert world.cluster.live() == []
    world.check()


async def test_a_pause_that_waits_for_a_submission_is_refused_when_a_cancel_overtakes_it(
    world: World,
) -> None:
    world.campaign("w", flat(3))
    run = world.create("w")
    world.cluster.submit_s = 20
    async with world.serving():
        await world.until(lambda: world.cluster.times("submit"), "a submission")
        pause = world.command(run, Pause(by="eva"))
        await trio.sleep(5)
        await world.cancel(run)
        assert (await world.outcome(pause))["ok"] is False
        await world.until_status(run, RunStatus.CANCELLED, within_s=60)
    assert world.cluster.live() == []
    world.check()


async def test_cancelling_twice_is_one_cancellation(world: World) -> None:
    world.campaign("w", flat(3))
    run = world.create("w")
    world.cluster.behave = lambda _: Behaviour(duration_s=1e6)
    world.cluster.cancel_s = 30
    async with world.serving():
        await world.until(world.cluster.live, "a job")
        await world.cancel(run)
        await world.cancel(run)
        await world.until_ended(run)
    assert len(world.facts(run, f.RunCancelRequested)) == 1
    world.check()


async def test_a_run_that_is_being_cancelled_is_cancelled_in_the_next_engine(world: World) -> None:
    world.campaign("w", flat(3))
    run = world.create("w")
    world.cluster.behave = lambda _: Behaviour(duration_s=1e6)
    async with world.serving():
        await world.until(world.cluster.live, "a job")
        world.cluster.outage = "no route to host"
        await world.cancel(run)
    world.cluster.outage = None
    await world.serve_until_done()
    assert world.status(run) is RunStatus.CANCELLED
    assert world.cluster.live() == []
    world.check()


async def test_a_run_that_no_engine_serves_is_cancelled_with_its_jobs(world: World) -> None:
    world.campaign("w", flat(5))
    run = world.create("w")
    world.cluster.behave = lambda _: Behaviour(duration_s=1e6)
    async with world.serving():
        await world.until(world.cluster.live, "jobs")
    assert len(world.cluster.live()) == 5

    async with world.engine() as engine:
        command = world.command(run, Cancel(by="eva"))
        assert await engine.carry_out_commands(run)

    assert await world.outcome(command) == {"ok": True}
    assert world.status(run) is RunStatus.CANCELLED
    assert world.cluster.live() == []
    world.check()


async def test_a_cancelled_run_gives_its_seats_to_the_others(world: World) -> None:
    world.campaign("w", flat(5))
    doomed = world.create("w", max_jobs=3)
    world.cluster.behave = lambda a: Behaviour(duration_s=1e6 if a.run_id == doomed else 1)
    async with world.serving():
        await world.until(lambda: len(world.cluster.live()) == 3, "a full cluster")
        other = world.create("w", max_jobs=3)
        await trio.sleep(100)
        assert not any(job.run_id == other for job in world.cluster.jobs)
        await world.cancel(doomed)
        await world.until_ended(doomed, other, within_s=100)
    assert world.status(other) is RunStatus.COMPLETED
    world.check()


async def test_a_cancellation_outlives_a_crash_of_the_actor_that_carries_it_out(world: World) -> None:
    world.campaign("w", flat(3))
    run = world.create("w")
    world.cluster.behave = lambda _: Behaviour(duration_s=1e6)
    world.cluster.cancel_s = 30
    async with world.serving(RestartPolicy(max_crashes=10)):
        await world.until(world.cluster.live, "a job")
        await trio.sleep(3)
        world.cluster.faults["cancel"] = [RuntimeError("a bug")]
        await world.cancel(run)
        await world.until_status(run, RunStatus.CANCELLED, within_s=100)
    assert world.cluster.live() == []
    world.check()
