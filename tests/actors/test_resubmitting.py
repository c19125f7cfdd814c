"""Jobs that wait are cancelled and submitted anew on a person's word; what has begun goes on."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from matterstack.core.errors import BackendError
from matterstack.core.ids import RunId, TaskId
from matterstack.core.run import facts as f
from matterstack.core.run.messages import AmendTasks, Cancel, CancelTasks, Pause, Resume
from matterstack.core.states import JobState, RunStatus
from tests.support.engine import World, flat
from tests.support.fake_backend import Behaviour

FIRST = TaskId("t0000")
CHANGES = {"env.X": "1"}


async def resubmit(world: World, run: RunId, *tasks: str, changes: Any = None) -> None:
    command = AmendTasks(
        by="eva",
        tasks=[TaskId(t) for t in tasks],
        changes=CHANGES if changes is None else changes,
        reason="forgotten",
        resubmit=True,
    )
    assert await world.ask(run, command) == {"ok": True}


def attempts(world: World, run: RunId, task: str = FIRST) -> list[tuple[JobState | None, int]]:
    """State and version of each attempt."""
    known = world.state(run).tasks.get(TaskId(task))
    return [(a.state, a.version) for a in known.attempts] if known else []


def is_given_up(world: World, run: RunId) -> bool:
    return bool(world.facts(run, f.TaskResubmitted))


def first_waits(attempt: Any) -> Behaviour:
    """The first job of each task waits for ever; the later ones run at once."""
    return Behaviour(queue_s=1e6 if attempt.n == 1 else 0, duration_s=5)


async def test_a_job_that_waits_is_cancelled_and_the_next_one_starts_at_once(world: World) -> None:
    world.campaign("w", flat(2))
    run = world.create("w", max_hpc_jobs_per_run=2)
    world.cluster.behave = first_waits
    async with world.serving():
        await world.until(lambda: len(world.cluster.live()) == 2, "jobs")
        await resubmit(world, run, "t0000", "t0001")
        await world.until_status(run, RunStatus.COMPLETED, within_s=60)
    for name in ("t0000", "t0001"):
        assert attempts(world, run, name) == [(JobState.CANCELLED, 1), (JobState.COMPLETED_OK, 2)]
        assert world.state(run).tasks[TaskId(name)].tries == 1
    assert world.cluster.most_live == 2
    world.check()


async def test_one_that_runs_is_not_touched(world: World) -> None:
    world.campaign("w", flat(1))
    run = world.create("w")
    world.cluster.behave = lambda _: Behaviour(duration_s=50)
    async with world.serving():
        await world.until(lambda: attempts(world, run) == [(JobState.RUNNING, 1)], "a job")
        await resubmit(world, run, FIRST)
        await world.until_status(run, RunStatus.COMPLETED)
    assert attempts(world, run) == [(JobState.COMPLETED_OK, 1)]
    assert not world.cluster.times("cancel")
    world.check()


async def test_one_that_has_begun_before_its_engine_saw_that_is_not_touched(world: World) -> None:
    world.campaign("w", flat(1))
    run = world.create("w")
    world.cluster.behave = lambda _: Behaviour(queue_s=10, duration_s=100)
    async with world.serving():
        await world.until(world.cluster.live, "a job")
        await trio.sleep_until(world.cluster.jobs[0].starts_at + 0.01)
        assert attempts(world, run) == [(JobState.QUEUED, 1)], "as the engine has it"
        await resubmit(world, run, FIRST)
        await world.until_status(run, RunStatus.COMPLETED)
    assert [type(event.fact) for event in world.events() if "Resubmit" in type(event.fact).__name__] == [
        f.TaskResubmitRequested,
        f.TaskResubmitMissed,
    ]
    assert attempts(world, run) == [(JobState.COMPLETED_OK, 1)]
    world.check()


async def test_one_that_has_begun_and_waits_again_is_not_touched(world: World) -> None:
    world.campaign("w", flat(1))
    run = world.create("w")
    world.cluster.behave = lambda _: Behaviour(queue_s=10, duration_s=100)
    async with world.serving():
        await world.until(world.cluster.live, "a job")
        (job,) = world.cluster.jobs
        await trio.sleep_until(job.starts_at + 0.01)
        await resubmit(world, run, FIRST)
        await world.until(lambda: world.facts(run, f.TaskResubmitMissed), "that it is too late", within_s=60)
        job.starts_at = trio.current_time() + 200  # its node failed: the scheduler puts it in the queue again
        await world.until(lambda: attempts(world, run) == [(JobState.QUEUED, 1)], "it waits again")
        await world.until_status(run, RunStatus.COMPLETED)
    assert attempts(world, run) == [(JobState.COMPLETED_OK, 1)]
    world.check()


@pytest.mark.parametrize("poll_s", [0.0, 3.0])
async def test_one_that_begins_in_between_goes_on_and_its_run_is_told(world: World, poll_s: float) -> None:
    world.campaign("w", flat(1))
    run = world.create("w")
    world.cluster.poll_s = poll_s
    world.cluster.behave = lambda _: Behaviour(queue_s=10, duration_s=100)
    async with world.serving():
        await world.until(lambda: attempts(world, run) == [(JobState.QUEUED, 1)], "a job")
        world.cluster.faults["cancel"] = [BackendError("no route to host")]
        await resubmit(world, run, FIRST)
        await world.until(lambda: world.facts(run, f.TaskResubmitMissed), "that it is too late", within_s=60)
        await world.until_status(run, RunStatus.COMPLETED)
    assert attempts(world, run) == [(JobState.COMPLETED_OK, 1)]
    assert not world.facts(run, f.TaskResubmitted)
    world.check()


@pytest.mark.parametrize(("submit_s", "reply_s"), [(20, 0), (0, 20)])
async def test_a_job_that_is_being_submitted_is_given_up_when_it_is_there(
    world: World, submit_s: float, reply_s: float
) -> None:
    world.campaign("w", flat(2))
    run = world.create("w")
    world.cluster.submit_s, world.cluster.reply_s = submit_s, reply_s
    world.cluster.behave = first_waits
    async with world.serving():
        await world.until(lambda: world.cluster.times("submit"), "a submission")
        await resubmit(world, run, "t0000", "t0001")
        await world.until_status(run, RunStatus.COMPLETED)
    assert attempts(world, run) == [(JobState.CANCELLED, 1), (JobState.COMPLETED_OK, 2)]
    assert len(world.cluster.jobs) == 4
    world.check()


@pytest.mark.parametrize("arrives", [True, False])
async def test_of_a_submission_that_is_unclear_no_job_is_left(world: World, arrives: bool) -> None:
    world.campaign("w", flat(1))
    run = world.create("w", backend={"grace_period_s": 30.0})

    def behave(attempt: Any) -> Behaviour:
        is_first = attempt.n == 1
        return Behaviour(
            queue_s=1e6 if is_first else 0,
            reply_lost=is_first and arrives,
            never_arrives=is_first and not arrives,
        )

    world.cluster.behave = behave
    async with world.serving():
        await world.until(lambda: world.cluster.times("submit"), "a submission")
        await resubmit(world, run, FIRST)
        await world.until_status(run, RunStatus.COMPLETED)
    assert attempts(world, run) == [(JobState.CANCELLED, 1), (JobState.COMPLETED_OK, 2)]
    assert len(world.facts(run, f.SubmissionWithdrawn)) == (0 if arrives else 1)
    world.check()


async def test_a_task_whose_folder_is_being_written_is_prepared_anew(world: World) -> None:
    staging, go_on = trio.Event(), trio.Event()

    async def slow_files(name: str, _arguments: object) -> None:
        if name == "_stage_each":
            staging.set()
            await go_on.wait()

    world.before_files(slow_files)
    world.campaign("w", flat(1))
    run = world.create("w")
    async with world.serving():
        await staging.wait()
        await resubmit(world, run, FIRST)
        go_on.set()
        await world.until_status(run, RunStatus.COMPLETED)
    assert attempts(world, run) == [(JobState.CANCELLED, 1), (JobState.COMPLETED_OK, 2)]
    assert len(world.cluster.jobs) == 1
    world.check()


async def test_what_a_full_cluster_keeps_out_is_prepared_anew(world: World) -> None:
    world.campaign("w", flat(2))
    run = world.create("w")
    world.cluster.submit_limit = 1
    world.cluster.behave = lambda _: Behaviour(duration_s=100)
    async with world.serving():
        await world.until(world.cluster.live, "a job")
        await trio.sleep(5)
        await resubmit(world, run, "t0001")
        await world.until_status(run, RunStatus.COMPLETED)
    assert attempts(world, run, "t0001") == [(JobState.CANCELLED, 1), (JobState.COMPLETED_OK, 2)]
    world.check()


async def test_what_a_backend_would_not_take_is_tried_as_it_is_amended(world: World) -> None:
    world.campaign("w", flat(1))
    run = world.create("w")
    world.cluster.submit_s = 5
    world.cluster.behave = lambda a: Behaviour(refused="no such partition" if a.n == 1 else None)
    async with world.serving():
        await world.until(lambda: world.cluster.times("submit"), "a submission")
        await resubmit(world, run, FIRST)
        await world.until_status(run, RunStatus.COMPLETED)
    assert [version for _, version in attempts(world, run)] == [1, 2]
    world.check()


async def test_through_an_outage_and_a_new_engine_it_stays_asked(world: World) -> None:
    world.campaign("w", flat(2))
    run = world.create("w")
    world.cluster.behave = first_waits
    async with world.serving():
        await world.until(lambda: len(world.cluster.live()) == 2, "jobs")
        world.cluster.outage = "no route to host"
        await resubmit(world, run, FIRST)
        await trio.sleep(100)
        assert len(world.cluster.live()) == 2
    world.cluster.outage = None
    async with world.serving():
        await world.until(lambda: len(attempts(world, run)) == 2, "the next attempt", within_s=60)
    assert attempts(world, run, "t0001") == [(JobState.QUEUED, 1)]
    world.check()


async def test_in_a_paused_run_it_is_given_up_and_submitted_when_the_run_goes_on(world: World) -> None:
    world.campaign("w", flat(1))
    run = world.create("w")
    world.cluster.behave = first_waits
    async with world.serving():
        await world.until(world.cluster.live, "a job")
        await world.ask(run, Pause(by="eva"))
        await resubmit(world, run, FIRST)
        await world.until(lambda: is_given_up(world, run), "its end", within_s=60)
        await trio.sleep(100)
        assert len(world.cluster.jobs) == 1
        await world.ask(run, Resume(by="eva"))
        await world.until_status(run, RunStatus.COMPLETED)
    world.check()


async def test_without_an_engine_the_one_who_asks_waits_for_the_job_and_submits_nothing(world: World) -> None:
    world.campaign("w", flat(2))
    run = world.create("w", max_hpc_jobs_per_run=1)
    world.cluster.behave = first_waits
    world.cluster.cancel_s = 5.0
    async with world.serving():
        await world.until(world.cluster.live, "a job")
    command = AmendTasks(by="eva", tasks=[FIRST], changes=CHANGES, resubmit=True)
    world.command(run, command)
    async with world.engine() as engine:
        await engine.carry_out_commands(run)
    assert is_given_up(world, run)
    assert world.cluster.live() == []
    assert len(world.cluster.jobs) == 1
    world.check()


@pytest.mark.parametrize("whole", [True, False])
async def test_who_cancels_meanwhile_ends_it(world: World, whole: bool) -> None:
    world.campaign("w", flat(2))
    run = world.create("w")
    world.cluster.behave = first_waits
    world.cluster.cancel_s = 20.0
    async with world.serving():
        await world.until(lambda: len(world.cluster.live()) == 2, "jobs")
        await resubmit(world, run, "t0000", "t0001")
        await world.ask(run, Cancel(by="bob") if whole else CancelTasks(by="bob", tasks=(FIRST,)))
        await world.until_status(run, RunStatus.CANCELLED if whole else RunStatus.COMPLETED, within_s=60)
        assert world.cluster.live() == []
    assert len(attempts(world, run)) == 1
    world.check()
