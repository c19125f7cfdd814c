"""Cancel single tasks: their jobs end first, the others are left alone, and the run goes on."""

from __future__ import annotations

import pytest
import trio

from matterstack.actors.run import GIVE_UP_S
from matterstack.core.ids import RunId, TaskId
from matterstack.core.model.workflow import Workflow
from matterstack.core.run import facts as f
from matterstack.core.run.messages import Cancel, CancelTasks, Pause, Resume
from matterstack.core.states import RunStatus, TaskStatus
from tests.support.engine import World, flat, task
from tests.support.fake_backend import Behaviour

FIRST = TaskId("t0000")


def statuses(world: World, run: RunId) -> dict[str, str]:
    return {task_id: one.status.value for task_id, one in world.state(run).tasks.items()}


async def cancel(world: World, run: RunId, *tasks: str) -> None:
    assert await world.ask(run, CancelTasks(by="eva", tasks=tasks, reason="too hot")) == {"ok": True}


def is_cancelled(world: World, run: RunId, task_id: str = FIRST) -> bool:
    return world.state(run).tasks[TaskId(task_id)].status is TaskStatus.CANCELLED


@pytest.mark.parametrize("after_s", [0.0, 0.05, 0.5, 1.0, 1.1, 2.0, 3.3, 5.5])
@pytest.mark.parametrize("cancel_s", [0.0, 7.0])
async def test_the_jobs_of_cancelled_tasks_end_and_the_run_completes_with_the_others(
    world: World, after_s: float, cancel_s: float
) -> None:
    world.campaign("w", flat(12))
    run = world.create("w", max_hpc_jobs_per_run=5)
    world.cluster.behave = lambda _: Behaviour(queue_s=1, duration_s=2)
    world.cluster.cancel_s = cancel_s
    async with world.serving():
        await world.until(lambda: world.state(run).tasks, "tasks")
        await trio.sleep(after_s)
        await world.ask(run, CancelTasks(by="eva", tasks=("t000[0-3]", "t0011")))
        await world.until_status(run, RunStatus.COMPLETED, within_s=60)
        assert world.cluster.live() == []
    ended = statuses(world, run)
    assert ended["t0011"] == "CANCELLED"
    assert {ended[f"t{n:04}"] for n in range(4, 11)} == {"SUCCEEDED"}
    assert set(ended.values()) <= {"SUCCEEDED", "CANCELLED"}
    world.check()


async def test_its_seat_is_free_only_when_its_job_is_over_and_then_goes_to_another(world: World) -> None:
    world.campaign("w", flat(2))
    run = world.create("w", max_hpc_jobs_per_run=1)
    world.cluster.behave = lambda _: Behaviour(duration_s=1e6)
    world.cluster.cancel_s = 30.0
    async with world.serving():
        await world.until(world.cluster.live, "a job")
        await cancel(world, run, FIRST)
        await trio.sleep(20)
        assert statuses(world, run) == {"t0000": "ACTIVE", "t0001": "READY"}
        assert world.state(run).tasks[FIRST].reason == "its job is being ended: cancelled by eva: too hot"
        await world.until(lambda: is_cancelled(world, run), "the end of the job", within_s=30)
        await world.until(world.cluster.live, "the next job", within_s=30)
    assert statuses(world, run) == {"t0000": "CANCELLED", "t0001": "ACTIVE"}
    assert world.cluster.most_live == 1
    world.check()


@pytest.mark.parametrize(("submit_s", "reply_s"), [(20, 0), (0, 20)])
async def test_a_job_that_is_being_submitted_is_ended_when_it_is_there(
    world: World, submit_s: float, reply_s: float
) -> None:
    world.campaign("w", flat(3))
    run = world.create("w")
    world.cluster.submit_s, world.cluster.reply_s = submit_s, reply_s
    world.cluster.behave = lambda _: Behaviour(duration_s=100)
    async with world.serving():
        await world.until(lambda: world.cluster.times("submit"), "a submission")
        await cancel(world, run, FIRST)
        await world.until(lambda: is_cancelled(world, run), "its end", within_s=50)
        await world.until_status(run, RunStatus.COMPLETED)
    assert statuses(world, run) == {"t0000": "CANCELLED", "t0001": "SUCCEEDED", "t0002": "SUCCEEDED"}
    assert len(world.cluster.jobs) == 3
    world.check()


@pytest.mark.parametrize("arrives", [True, False])
async def test_of_a_submission_that_is_unclear_no_job_is_left_and_the_others_are_tried_again(
    world: World, arrives: bool
) -> None:
    world.campaign("w", flat(3))
    run = world.create("w", backend={"grace_period_s": 30.0})
    told: set[str] = set()

    def behave(attempt: object) -> Behaviour:
        token = str(attempt.token)  # type: ignore[attr-defined]
        is_first = token not in told
        told.add(token)
        return Behaviour(
            duration_s=100, reply_lost=is_first and arrives, never_arrives=is_first and not arrives
        )

    world.cluster.behave = behave
    async with world.serving():
        await world.until(lambda: world.cluster.times("submit"), "a submission")
        await cancel(world, run, FIRST)
        await world.until_status(run, RunStatus.COMPLETED)
    assert statuses(world, run) == {"t0000": "CANCELLED", "t0001": "SUCCEEDED", "t0002": "SUCCEEDED"}
    assert len(world.facts(run, f.SubmissionWithdrawn)) == (0 if arrives else 1)
    world.check()


async def test_a_task_whose_folder_is_being_written_gets_no_job(world: World) -> None:
    staging, go_on = trio.Event(), trio.Event()

    async def slow_files(name: str, _arguments: object) -> None:
        if name == "_stage_each":
            staging.set()
            await go_on.wait()

    world.before_files(slow_files)
    world.campaign("w", flat(2))
    run = world.create("w")
    async with world.serving():
        await staging.wait()
        await cancel(world, run, FIRST)
        go_on.set()
        await world.until_status(run, RunStatus.COMPLETED)
    assert statuses(world, run) == {"t0000": "CANCELLED", "t0001": "SUCCEEDED"}
    assert len(world.cluster.jobs) == 1
    assert len(world.facts(run, f.SubmissionWithdrawn)) == 1
    world.check()


@pytest.mark.parametrize("takes_s", [1.0, 1e5])
async def test_what_it_left_is_kept_if_that_is_known_in_a_moment(world: World, takes_s: float) -> None:
    collecting = world.slow_files("_collect_each", takes_s)
    world.campaign("w", flat(2))
    run = world.create("w")
    async with world.serving():
        await collecting.wait()
        await cancel(world, run, FIRST)
        done = "SUCCEEDED" if takes_s < GIVE_UP_S else "CANCELLED"
        await world.until(lambda: statuses(world, run)["t0000"] == done, "its end", within_s=5)
        await world.until_status(run, RunStatus.COMPLETED, within_s=1e6)
    assert statuses(world, run) == {"t0000": done, "t0001": "SUCCEEDED"}
    world.check()


async def test_a_task_that_a_full_cluster_keeps_waiting_is_given_up(world: World) -> None:
    world.campaign("w", flat(3))
    run = world.create("w")
    world.cluster.submit_limit = 1
    world.cluster.behave = lambda _: Behaviour(duration_s=100)
    async with world.serving():
        await world.until(world.cluster.live, "a job")
        await trio.sleep(5)
        await cancel(world, run, "t0002")
        await world.until(lambda: is_cancelled(world, run, "t0002"), "its end", within_s=5)
        await world.until_status(run, RunStatus.COMPLETED)
    assert statuses(world, run) == {"t0000": "SUCCEEDED", "t0001": "SUCCEEDED", "t0002": "CANCELLED"}
    world.check()


async def test_without_an_engine_the_one_who_asks_waits_for_the_job_and_submits_nothing(world: World) -> None:
    world.campaign("w", Workflow([task("a"), task("b", depends_on=["a"]), task("c"), task("d")]))
    run = world.create("w", max_hpc_jobs_per_run=2)
    world.cluster.behave = lambda _: Behaviour(duration_s=1e6)
    world.cluster.cancel_s = 5.0
    async with world.serving():
        await world.until(lambda: len(world.cluster.live()) == 2, "jobs")
    world.command(run, CancelTasks(by="eva", tasks=("a",)))
    async with world.engine() as engine:
        await engine.carry_out_commands(run)
    assert statuses(world, run) == {"a": "CANCELLED", "b": "CANCELLED", "c": "ACTIVE", "d": "READY"}
    assert len(world.cluster.live()) == 1
    assert len(world.cluster.jobs) == 2
    world.check()


async def test_what_one_engine_was_told_the_next_one_does(world: World) -> None:
    world.campaign("w", flat(2))
    run = world.create("w")
    world.cluster.behave = lambda _: Behaviour(duration_s=500)
    async with world.serving():
        await world.until(lambda: len(world.cluster.live()) == 2, "jobs")
        world.cluster.outage = "no route to host"
        await cancel(world, run, FIRST)
    world.cluster.outage = None
    async with world.serving():
        await world.until(lambda: is_cancelled(world, run), "its end", within_s=60)
        await world.until_status(run, RunStatus.COMPLETED)
    assert statuses(world, run) == {"t0000": "CANCELLED", "t0001": "SUCCEEDED"}
    world.check()


async def test_in_a_paused_run_jobs_of_cancelled_tasks_end_and_nothing_is_submitted(world: World) -> None:
    world.campaign("w", flat(4))
    run = world.create("w", max_hpc_jobs_per_run=2)
    world.cluster.behave = lambda _: Behaviour(duration_s=500)
    async with world.serving():
        await world.until(lambda: len(world.cluster.live()) == 2, "jobs")
        await world.ask(run, Pause(by="eva"))
        await cancel(world, run, FIRST, "t0003")
        await world.until(lambda: is_cancelled(world, run), "its end", within_s=60)
        await trio.sleep(600)
        assert len(world.cluster.jobs) == 2
        assert world.status(run) is RunStatus.PAUSED
        await world.ask(run, Resume(by="eva"))
        await world.until_status(run, RunStatus.COMPLETED)
    assert sorted(statuses(world, run).values()) == ["CANCELLED", "CANCELLED", "SUCCEEDED", "SUCCEEDED"]
    world.check()


async def test_the_whole_run_is_cancelled_while_a_task_of_it_is(world: World) -> None:
    world.campaign("w", flat(3))
    run = world.create("w")
    world.cluster.behave = lambda _: Behaviour(duration_s=1e6)
    world.cluster.cancel_s = 20.0
    async with world.serving():
        await world.until(lambda: len(world.cluster.live()) == 3, "jobs")
        await cancel(world, run, FIRST)
        assert await world.ask(run, Cancel(by="bob")) == {"ok": True}
        await world.until_status(run, RunStatus.CANCELLED, within_s=60)
        assert world.cluster.live() == []
    world.check()


async def test_a_refusal_is_told_and_changes_nothing(world: World) -> None:
    world.campaign("w", flat(1))
    run = world.create("w")
    world.cluster.behave = lambda _: Behaviour(duration_s=500)
    async with world.serving():
        await world.until(world.cluster.live, "a job")
        unknown = await world.ask(run, CancelTasks(by="eva", tasks=("t000",)))
    assert (unknown["ok"], unknown["code"]) == (False, "not_found")
    assert unknown["hint"] == "did you mean 't0000'?"
    assert not world.facts(run, f.TaskCancelRequested)
