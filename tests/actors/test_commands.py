"""Commands: written durably by anybody, carried out once by the engine that holds the run."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio

from matterstack.core.errors import IllegalTransitionError, NotFoundError, RefusedError
from matterstack.core.ids import RunId, TaskId
from matterstack.core.run import facts as f
from matterstack.core.run.messages import Cancel, Command, Pause, Resume, Retry
from matterstack.core.states import RunStatus
from matterstack.storage.commands import command_outcome, insert_command
from matterstack.usecases.commands import send_command
from tests.support.engine import World, flat
from tests.support.fake_backend import Behaviour


async def test_commands_are_answered_within_half_a_second_whatever_else_goes_on(world: World) -> None:
    world.campaign("w", flat(100))
    runs = [world.create("w", max_hpc_jobs_per_run=5) for _ in range(6)]
    async with world.serving():
        await world.until(world.cluster.live, "jobs")
        for second in range(10):
            await trio.sleep(0.37 * second % 1)
            for run in runs[:3]:
                before = trio.current_time()
                await world.pause(run)
                assert trio.current_time() - before <= 0.5
                await world.resume(run)
    world.check()


async def test_a_command_is_carried_out_once_however_often_it_is_handed_in(world: World) -> None:
    world.campaign("w", flat(100))
    run = world.create("w", max_hpc_jobs_per_run=1)
    async with world.serving():
        await world.until(world.cluster.live, "a job")
        for _ in range(3):
            insert_command(world.connection, run, Pause(by="eva"), world.runtime.now(), "the same id")
        assert await world.outcome("the same id") == {"ok": True}
        await world.resume(run)
        insert_command(world.connection, run, Pause(by="eva"), world.runtime.now(), "the same id")
        await trio.sleep(10)
        assert world.status(run) is RunStatus.RUNNING
    assert len(world.facts(run, f.RunPaused)) == 1
    world.check()


async def test_commands_of_one_sender_are_carried_out_in_their_order(world: World) -> None:
    world.campaign("w", flat(100))
    run = world.create("w", max_hpc_jobs_per_run=1)
    async with world.serving():
        await world.until(world.cluster.live, "a job")
        ids = []
        for number in range(10):
            request = Pause(by="eva") if number % 2 == 0 else Resume(by="eva")
            ids.append(world.command(run, request))
            await trio.sleep(0.001)
        assert [await world.outcome(id_) for id_ in ids] == [{"ok": True}] * 10
    kinds = [type(fact) for fact in world.facts(run, f.RunPaused, f.RunResumed)]
    assert kinds == [f.RunPaused, f.RunResumed] * 5
    world.check()


async def test_a_refusal_is_recorded_as_the_outcome_and_the_run_goes_on(world: World) -> None:
    world.campaign("w", flat(3))
    run = world.create("w")
    world.cluster.behave = lambda _: Behaviour(duration_s=10)
    async with world.serving():
        await world.until(world.cluster.live, "jobs")
        resume = await world.ask(run, Resume(by="eva"))
        retry = await world.ask(run, Retry(by="eva"))
        unknown = await world.ask(run, Retry(by="eva", tasks=[TaskId("nobody")]))
        await world.until_status(run, RunStatus.COMPLETED)
    assert [o["ok"] for o in (resume, retry, unknown)] == [False] * 3
    assert resume["code"] == "illegal_transition"
    assert "RUNNING" in resume["message"]
    assert "no failed task" in retry["message"]
    assert unknown["code"] == "not_found"
    assert "nobody" in unknown["message"]
    world.check()


async def test_a_command_that_waited_while_no_engine_ran_is_carried_out_by_the_next(world: World) -> None:
    world.campaign("w", flat(3))
    run = world.create("w")
    command = world.command(run, Cancel(by="eva"))
    await trio.sleep(1000)
    assert command_outcome(world.connection, command) is None

    await world.serve_until_done()

    assert await world.outcome(command) == {"ok": True}
    assert world.status(run) is RunStatus.CANCELLED
    world.check()


@pytest.mark.parametrize("request_", [Cancel(by="eva"), Pause(by="eva")])
async def test_a_command_that_waited_comes_before_any_job_however_long_other_runs_take_to_be_taken_up(
    world: World, request_: Command
) -> None:
    async def slowly(call: str, _args: Sequence[object]) -> None:
        if call == "acquire":
            await trio.sleep(50)

    world.campaign("w", flat(3))
    commands = [world.command(world.create("w"), request_) for _ in range(2)]
    world.before_journal(slowly)
    async with world.serving():
        await trio.sleep(200)
        assert world.cluster.jobs == []
        assert [await world.outcome(command) for command in commands] == [{"ok": True}] * 2
    world.check()


async def test_commands_of_a_run_that_crashes_are_not_lost(world: World) -> None:
    campaign = world.campaign("w", flat(5), plan_s=0.2, crashes=[RuntimeError("a bug")])
    run = world.create("w")
    async with world.serving():
        await world.until(lambda: world.planner.asked, "the first plan")
        command = world.command(run, Pause(by="eva"))
        assert await world.outcome(command) == {"ok": True}
        await trio.sleep(100)
        assert world.status(run) is RunStatus.PAUSED
        assert world.cluster.jobs == []
    assert campaign.crashes == []
    world.check()


async def test_a_command_after_the_end_of_the_run_is_refused_and_answered(world: World) -> None:
    world.campaign("w", flat(1))
    run = world.create("w")
    async with world.serving() as engine:
        await world.until_ended(run)
        await world.until(lambda: run not in engine._served, "the run to be let go")
        with pytest.raises(IllegalTransitionError, match="COMPLETED"):
            await send_command(world.root, run, Pause(by="eva"), world.runtime)
    world.check()


async def test_asking_a_run_that_an_engine_holds_waits_for_its_outcome(world: World) -> None:
    world.campaign("w", flat(50))
    run = world.create("w", max_hpc_jobs_per_run=1)
    async with world.serving():
        await world.until(world.cluster.live, "a job")
        answer = await send_command(world.root, run, Pause(by="eva"), world.runtime)
        assert answer.by_engine
        assert world.status(run) is RunStatus.PAUSED
        with pytest.raises(RefusedError, match="PAUSED"):
            await send_command(world.root, run, Pause(by="eva"), world.runtime)
    world.check()


async def test_asking_a_run_that_no_engine_holds_carries_the_request_out_right_there(world: World) -> None:
    world.campaign("w", flat(5))
    run = world.create("w")
    async with world.serving():
        await world.until(world.cluster.live, "jobs")
    answer = await send_command(world.root, run, Pause(by="eva"), world.runtime)

    assert not answer.by_engine
    assert world.status(run) is RunStatus.PAUSED
    before = len(world.cluster.jobs)
    async with world.serving():
        await trio.sleep(100)
        assert len(world.cluster.jobs) == before
    world.check()


async def test_a_pending_run_that_no_engine_holds_is_cancelled_right_there(world: World) -> None:
    world.campaign("w", flat(5))
    run = world.create("w")

    answer = await send_command(world.root, run, Cancel(by="eva", reason="wrong input"), world.runtime)

    assert not answer.by_engine
    assert world.status(run) is RunStatus.CANCELLED
    assert world.state(run).status_reason == "cancelled by eva: wrong input"
    assert world.planner.asked == []
    world.check()


async def test_a_run_that_is_not_there_can_be_asked_nothing(world: World) -> None:
    with pytest.raises(NotFoundError, match="20260101T000000-aaaaaa"):
        await send_command(world.root, RunId("20260101T000000-aaaaaa"), Pause(by="eva"), world.runtime)


async def test_a_retry_while_the_engine_serves_is_taken_up_again(world: World) -> None:
    world.campaign("w", flat(2))
    run = world.create("w")
    world.cluster.behave = lambda a: Behaviour(exit_code=a.n == 1 and a.task_id == "t0001")
    async with world.serving():
        await world.until_status(run, RunStatus.FAILED)
        await send_command(world.root, run, Retry(by="eva"), world.runtime)
        await world.until_status(run, RunStatus.COMPLETED, within_s=30)
    assert [(job.task_id, job.n) for job in world.cluster.jobs] == [("t0000", 1), ("t0001", 1), ("t0001", 2)]
    world.check()


@pytest.mark.parametrize("at", ["plan", "analyze"])
@pytest.mark.parametrize("fault", [None, "a broken campaign"])
async def test_a_task_that_is_retried_while_the_campaign_thinks_has_ended_before_its_run_does(
    world: World, at: str, fault: str | None
) -> None:
    campaign = world.campaign("w", flat(2, allow_failure=True))
    run = world.create("w")
    world.cluster.behave = lambda a: Behaviour(
        duration_s=1 if a.n == 1 else 100, exit_code=a.n == 1 and a.task_id == "t0001"
    )
    async with world.serving():
        await world.until(lambda: world.cluster.jobs, "jobs")
        campaign.plan_s = campaign.analyze_s = 20
        count = 2 if at == "plan" else 1
        await world.until(lambda: world.planner.asked.count(("w", at)) == count, f"the last {at}")
        campaign.fault = campaign.analysis_fault = fault
        await world.retry(run, TaskId("t0001"))
        await trio.sleep(50)
        assert world.status(run) is RunStatus.RUNNING
        campaign.fault = campaign.analysis_fault = None
        await world.until_ended(run)
    assert world.status(run) is RunStatus.COMPLETED
    world.check()
