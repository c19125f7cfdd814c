"""Pause: once acknowledged, nothing new is submitted; what runs is followed."""

from __future__ import annotations

import pytest
import trio

from matterstack.backends.base import PreparedAttempt
from matterstack.core.ids import RunId
from matterstack.core.model.workflow import Workflow
from matterstack.core.run import facts as f
from matterstack.core.run.messages import Pause, Resume
from matterstack.core.states import RunStatus
from tests.support.engine import World, flat, task
from tests.support.fake_backend import Behaviour


def facts_while_paused(world: World, run: RunId) -> list[f.Fact]:
    """What happened between RunPaused and RunResumed."""
    facts = world.facts(run)
    start = next(i for i, fact in enumerate(facts) if isinstance(fact, f.RunPaused))
    end = next((i for i, fact in enumerate(facts) if isinstance(fact, f.RunResumed)), len(facts))
    return facts[start + 1 : end]


@pytest.mark.parametrize("after_s", [0.0, 0.3, 1.0, 1.7, 2.4, 3.1])
async def test_nothing_is_submitted_while_paused_and_running_jobs_are_followed(
    world: World, after_s: float
) -> None:
    world.campaign("w", flat(20))
    run = world.create("w", max_hpc_jobs_per_run=4)
    world.cluster.behave = lambda _: Behaviour(duration_s=5)
    async with world.serving():
        await world.until(world.cluster.live, "a job")
        await trio.sleep(after_s)
        await world.pause(run)
        acknowledged = len(world.cluster.jobs)
        await trio.sleep(100)

        assert len(world.cluster.jobs) == acknowledged
        assert world.cluster.live() == []
        assert world.state(run).live == {}, "the ends of its jobs were not noted"
        happened = {type(fact) for fact in facts_while_paused(world, run)}
        assert happened.isdisjoint({f.AttemptPrepared, f.JobAccepted})

        await world.resume(run)
        await world.until_ended(run)
    assert world.status(run) is RunStatus.COMPLETED
    assert set(world.cluster.tasks_run().values()) == {1}
    world.check()


async def test_a_pause_is_acknowledged_within_half_a_second(world: World) -> None:
    world.campaign("w", flat(5))
    run = world.create("w")
    world.cluster.behave = lambda _: Behaviour(duration_s=1000)
    async with world.serving():
        await world.until(world.cluster.live, "a job")
        for _ in range(5):
            await trio.sleep(100)
            before = trio.current_time()
            await world.pause(run)
            assert trio.current_time() - before <= 0.5
            before = trio.current_time()
            await world.resume(run)
            assert trio.current_time() - before <= 0.5
    world.check()


@pytest.mark.parametrize(("submit_s", "reply_s"), [(30, 0), (0, 30), (15, 15)])
async def test_a_pause_during_a_submission_is_acknowledged_when_that_is_over(
    world: World, submit_s: float, reply_s: float
) -> None:
    world.campaign("w", flat(9))
    run = world.create("w", max_hpc_jobs_per_run=3)
    world.cluster.submit_s, world.cluster.reply_s = submit_s, reply_s
    world.cluster.behave = lambda _: Behaviour(duration_s=100)
    async with world.serving():
        await world.until(lambda: world.cluster.times("submit"), "a submission")
        begun = trio.current_time()
        await world.pause(run)

        assert 29 <= trio.current_time() - begun <= 31
        assert len(world.state(run).live) == 3
        assert all(attempt.job_id is not None for attempt in world.state(run).live.values())
        await trio.sleep(500)
        assert len(world.cluster.jobs) == 3
        assert not {f.AttemptPrepared, f.JobAccepted} & {type(x) for x in facts_while_paused(world, run)}
        await world.resume(run)
        await world.until_ended(run)
    assert world.status(run) is RunStatus.COMPLETED
    world.check()


@pytest.mark.parametrize("who", ["run", "backend"])
async def test_a_pause_waits_for_a_submission_that_outlived_a_crash(world: World, who: str) -> None:
    chains = [task("q"), task("slow", depends_on=["q"]), task("q2"), task("bad", depends_on=["q2"])]
    world.campaign("w", Workflow(chains))
    run = world.create("w")
    world.cluster.behave = lambda a: Behaviour(duration_s=5 if a.task_id == "q2" else 1)
    async with world.serving():
        await world.until(world.cluster.live, "the first jobs")
        world.cluster.submit_s = 20
        if who == "run":
            world.cluster.faults["script of bad"] = [RuntimeError("a bug")]
        else:  # what is submitted while it is away waits in its mailbox
            world.cluster.faults["poll"] = [RuntimeError("a bug")]
        await world.until(lambda: len(world.cluster.times("submit")) == 2, "the second submission")
        await trio.sleep(8)
        before = len(world.cluster.jobs)
        await world.pause(run)
        acknowledged = len(world.cluster.jobs)
        await trio.sleep(100)
        assert len(world.cluster.jobs) == acknowledged > before
        await world.resume(run)
        await world.until_ended(run)
    assert world.status(run) is RunStatus.COMPLETED
    assert set(world.cluster.tasks_run().values()) == {1}
    world.check()


async def test_a_second_batch_does_not_begin_while_a_pause_waits_for_the_first(world: World) -> None:
    world.campaign("w", flat(8))
    run = world.create("w", max_hpc_jobs_per_run=8, max_jobs=4)
    world.cluster.behave = lambda _: Behaviour(duration_s=1)
    world.cluster.submit_s = 10
    async with world.serving():
        await world.until(lambda: world.cluster.times("submit"), "a submission")
        await world.pause(run)
        await trio.sleep(100)

        assert len(world.cluster.times("submit")) == 1
        assert len(world.cluster.jobs) == 4
    world.check()


async def test_a_paused_run_that_is_being_planned_keeps_the_plan_and_submits_nothing(world: World) -> None:
    world.campaign("w", flat(3), plan_s=50)
    run = world.create("w")
    async with world.serving():
        await world.until_status(run, RunStatus.RUNNING)
        await world.pause(run)
        await trio.sleep(200)

        assert world.cluster.jobs == []
        assert world.state(run).iteration == 1
        await world.resume(run)
        await world.until_ended(run)
    assert world.status(run) is RunStatus.COMPLETED
    assert world.planner.asked.count(("w", "plan")) == 2, "the plan that was made while paused was lost"
    world.check()


async def test_a_paused_run_does_not_complete_behind_the_back_of_who_paused_it(world: World) -> None:
    campaign = world.campaign("w", flat(1))
    campaign.plan_s = 10
    run = world.create("w")
    async with world.serving():
        await world.until(lambda: world.planner.asked.count(("w", "plan")) == 2, "the last plan")
        await world.pause(run)
        await trio.sleep(100)
        assert world.status(run) is RunStatus.PAUSED
        await world.resume(run)
        await world.until_status(run, RunStatus.COMPLETED)
    world.check()


async def test_a_paused_run_stays_paused_in_the_next_engine(world: World) -> None:
    world.campaign("w", flat(10))
    run = world.create("w", max_hpc_jobs_per_run=2)
    async with world.serving():
        await world.until(world.cluster.live, "a job")
        await world.pause(run)
    before = len(world.cluster.jobs)
    async with world.serving():
        await trio.sleep(100)
        assert len(world.cluster.jobs) == before
        assert world.state(run).live == {}
        await world.resume(run)
        await world.until_ended(run)
    assert set(world.cluster.tasks_run().values()) == {1}
    world.check()


async def test_a_failed_task_of_a_paused_run_is_retried_only_after_resume(world: World) -> None:
    world.campaign("w", flat(1, retries=1))
    run = world.create("w")
    world.cluster.behave = lambda attempt: Behaviour(duration_s=10, exit_code=attempt.n == 1)
    async with world.serving():
        await world.until(world.cluster.live, "a job")
        await world.pause(run)
        await trio.sleep(100)
        assert len(world.facts(run, f.TaskRetried)) == 1
        assert len(world.cluster.jobs) == 1
        await world.resume(run)
        await world.until_status(run, RunStatus.COMPLETED)
    world.check()


async def test_an_attempt_without_a_job_is_submitted_again_only_after_resume(world: World) -> None:
    def behave(attempt: PreparedAttempt) -> Behaviour:
        return Behaviour(never_arrives=len(world.cluster.times("submit")) == 1 and attempt.n == 1)

    world.campaign("w", flat(2))
    run = world.create("w", backend={"grace_period_s": 20.0})
    world.cluster.behave = behave
    async with world.serving():
        await world.until(lambda: world.cluster.times("submit"), "a submission")
        await world.pause(run)
        await trio.sleep(200)
        assert world.cluster.jobs == []
        await world.resume(run)
        await world.until_status(run, RunStatus.COMPLETED)
    assert set(world.cluster.tasks_run().values()) == {1}
    world.check()


@pytest.mark.parametrize("request_", [Pause(by="eva"), Resume(by="eva")])
async def test_what_is_not_possible_is_refused_with_both_states_named(
    world: World, request_: Pause | Resume
) -> None:
    world.campaign("w", flat(1))
    run = world.create("w")
    await world.serve_until_done()

    async with world.engine() as engine:
        command = world.command(run, request_)
        assert await engine.carry_out_commands(run)

    outcome = await world.outcome(command)
    assert outcome["ok"] is False
    assert outcome["code"] == "illegal_transition"
    assert "COMPLETED" in outcome["message"]
    assert ("PAUSED" if isinstance(request_, Pause) else "RUNNING") in outcome["message"]
    assert not world.facts(run, f.RunPaused, f.RunResumed)
    world.check()


async def test_pausing_twice_is_refused_and_the_run_stays_paused(world: World) -> None:
    world.campaign("w", flat(50))
    run = world.create("w", max_hpc_jobs_per_run=1)
    async with world.serving():
        await world.until(world.cluster.live, "a job")
        first, second = world.command(run, Pause(by="a")), world.command(run, Pause(by="b"))
        outcomes = [(await world.outcome(c))["ok"] for c in (first, second)]
        assert sorted(outcomes) == [False, True]
    assert len(world.facts(run, f.RunPaused)) == 1
    world.check()
