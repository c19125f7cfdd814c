"""One engine on the virtual clock: a run from PENDING to its end."""

from __future__ import annotations

import pytest
import trio

from matterstack.backends.base import PreparedAttempt
from matterstack.core.ids import TaskId
from matterstack.core.model.workflow import Workflow
from matterstack.core.run import facts as f
from matterstack.core.run import messages as m
from matterstack.core.states import FailureKind, JobState, RunStatus, TaskStatus
from tests.support.engine import World, flat, task
from tests.support.fake_backend import Behaviour


async def test_a_run_goes_through_its_iterations_and_completes(world: World) -> None:
    campaign = world.campaign("w", flat(3, "a"), flat(2, "b"))
    run = world.create("w")
    world.cluster.behave = lambda attempt: Behaviour(data={"of": attempt.task_id})

    await world.serve_until_done()

    state = world.state(run)
    assert state.status is RunStatus.COMPLETED
    assert state.iteration == 2
    assert {t.status for t in state.tasks.values()} == {TaskStatus.SUCCEEDED}
    assert world.planner.asked == [("w", a) for a in ("plan", "analyze", "plan", "analyze", "plan")]
    assert campaign.seen[1]["a0001"]["data"] == {"of": "a0001"}
    assert set(campaign.seen[2]) == set(state.tasks)
    assert set(world.cluster.tasks_run().values()) == {1}
    world.check()


async def test_a_job_is_seen_queued_then_running_then_ended(world: World) -> None:
    world.campaign("w", flat(1))
    run = world.create("w")
    world.cluster.behave = lambda _: Behaviour(queue_s=5, duration_s=5)

    await world.serve_until_done()

    accepted, running, ended = world.facts(run, f.JobAccepted, f.JobStateChanged, f.JobEnded)
    assert (accepted.state, running.state, ended.state) == (
        JobState.QUEUED,
        JobState.RUNNING,
        JobState.COMPLETED_OK,
    )
    world.check()


async def test_dependents_start_after_what_they_depend_on(world: World) -> None:
    tasks = [task("left", depends_on=["top"]), task("top"), task("bottom", depends_on=["left"])]
    world.campaign("w", Workflow(tasks))
    world.create("w")

    await world.serve_until_done()

    assert [job.task_id for job in world.cluster.jobs] == ["top", "left", "bottom"]
    times = [(job.submitted_at, job.ends_at) for job in world.cluster.jobs]
    assert times[0][1] <= times[1][0]
    assert times[1][1] <= times[2][0]
    world.check()


@pytest.mark.parametrize(("per_run", "per_backend"), [(3, 100), (100, 4), (5, 4), (1, 1)])
async def test_caps_hold_at_every_moment_and_are_used_up(
    world: World, per_run: int, per_backend: int
) -> None:
    world.campaign("w", flat(23))
    world.create("w", max_hpc_jobs_per_run=per_run, max_jobs=per_backend)

    await world.serve_until_done()

    assert world.cluster.most_live == min(per_run, per_backend)
    assert len(world.cluster.jobs) == 23
    world.check()


async def test_runs_together_stay_below_the_cap_of_their_backend(world: World) -> None:
    world.campaign("w", flat(12))
    runs = [world.create("w", max_hpc_jobs_per_run=4, max_jobs=7) for _ in range(4)]

    await world.serve_until_done()

    assert {world.status(run) for run in runs} == {RunStatus.COMPLETED}
    assert world.cluster.most_live == 7
    world.check()


async def test_a_failing_task_fails_its_run_with_the_reason(world: World) -> None:
    world.campaign("w", Workflow([task("good"), task("bad"), task("after", depends_on=["bad"])]))
    run = world.create("w")
    world.cluster.behave = lambda attempt: Behaviour(exit_code=3 if attempt.task_id == "bad" else 0)

    await world.serve_until_done()

    state = world.state(run)
    assert state.status is RunStatus.FAILED
    assert state.status_reason == "task bad failed: its job ended with exit code 3"
    assert state.tasks[TaskId("good")].status is TaskStatus.SUCCEEDED
    assert state.tasks[TaskId("after")].status is TaskStatus.SKIPPED
    world.check()


async def test_a_task_that_may_fail_does_not_hold_its_dependents_up(world: World) -> None:
    world.campaign("w", Workflow([task("bad", allow_failure=True), task("after", depends_on=["bad"])]))
    run = world.create("w")
    world.cluster.behave = lambda attempt: Behaviour(exit_code=3 if attempt.task_id == "bad" else 0)

    await world.serve_until_done()

    state = world.state(run)
    assert state.status is RunStatus.COMPLETED
    assert state.tasks[TaskId("bad")].status is TaskStatus.FAILED
    world.check()


async def test_a_task_is_tried_again_for_the_reasons_that_it_names(world: World) -> None:
    world.campaign("w", flat(1, retries=2, retry_on=[FailureKind.TIMEOUT]))
    run = world.create("w")
    outcomes = {1: Behaviour(exit_code=1, raw_state="TIMEOUT"), 2: Behaviour()}
    world.cluster.behave = lambda attempt: outcomes[attempt.n]

    await world.serve_until_done()

    assert world.status(run) is RunStatus.COMPLETED
    assert [job.n for job in world.cluster.jobs] == [1, 2]
    world.check()


async def test_a_task_without_a_try_left_fails(world: World) -> None:
    world.campaign("w", flat(1, retries=2))
    run = world.create("w")
    world.cluster.behave = lambda _: Behaviour(exit_code=1)

    await world.serve_until_done()

    assert world.status(run) is RunStatus.FAILED
    assert [job.n for job in world.cluster.jobs] == [1, 2, 3]
    world.check()


async def test_a_job_that_vanishes_is_lost_and_its_task_is_tried_again(world: World) -> None:
    world.campaign("w", flat(1, retries=1, retry_on=[FailureKind.LOST]))
    run = world.create("w")
    world.cluster.behave = lambda attempt: Behaviour(vanishes=attempt.n == 1)

    await world.serve_until_done()

    assert world.status(run) is RunStatus.COMPLETED
    ends = [fact.state for fact in world.facts(run, f.JobEnded)]
    assert ends == [JobState.LOST, JobState.COMPLETED_OK]
    world.check()


async def test_a_refused_submission_fails_its_task_with_the_words_of_the_cluster(world: World) -> None:
    def behave(attempt: PreparedAttempt) -> Behaviour:
        return Behaviour(refused="Invalid account" if attempt.task_id == "t0001" else None)

    world.campaign("w", flat(3, retries=5))
    run = world.create("w")
    world.cluster.behave = behave

    await world.serve_until_done()

    state = world.state(run)
    assert state.status is RunStatus.FAILED
    assert state.status_reason == "task t0001 failed: Invalid account"
    assert len(state.tasks[TaskId("t0001")].attempts) == 1, "the same question would get the same answer"
    assert len(world.cluster.jobs) == 2
    world.check()


async def test_an_attempt_whose_folder_cannot_be_prepared_fails_and_gives_its_seat_back(
    world: World,
) -> None:
    broken = task("broken", files={"input.xyz": "there-is-no-such-file"})
    world.campaign("w", Workflow([broken, task("good")]))
    run = world.create("w", max_jobs=1)

    await world.serve_until_done()

    state = world.state(run)
    assert state.status is RunStatus.FAILED
    assert "there-is-no-such-file" in state.status_reason
    assert [job.task_id for job in world.cluster.jobs] == ["good"]
    world.check()


async def test_retry_gives_the_failed_tasks_new_attempts_and_keeps_the_others(world: World) -> None:
    world.campaign("w", Workflow([task("good"), task("bad"), task("after", depends_on=["bad"])]))
    run = world.create("w")
    world.cluster.behave = lambda attempt: Behaviour(exit_code=attempt.task_id == "bad" and attempt.n == 1)
    await world.serve_until_done()
    assert world.status(run) is RunStatus.FAILED

    async with world.engine() as engine:
        command = world.command(run, _retry())
        assert await engine.carry_out_commands(run)
    assert await world.outcome(command) == {"ok": True}
    await world.serve_until_done()

    assert world.status(run) is RunStatus.COMPLETED
    assert [(job.task_id, job.n) for job in world.cluster.jobs] == [
        ("good", 1),
        ("bad", 1),
        ("bad", 2),
        ("after", 1),
    ]
    world.check()


async def test_the_summary_file_tells_the_end(world: World) -> None:
    world.campaign("w", flat(2))
    run = world.create("w")

    await world.serve_until_done()

    text = world.root.run_folder("w", run).summary_file.read_text()
    assert '"status": "COMPLETED"' in text
    assert '"SUCCEEDED": 2' in text


async def test_a_run_made_while_the_engine_serves_is_taken_up_within_half_a_second(world: World) -> None:
    world.campaign("w", flat(1))
    async with world.serving():
        await trio.sleep(1000)
        run = world.create("w")
        await world.until_status(run, RunStatus.RUNNING, within_s=0.5)
        await world.until_ended(run)
    assert world.status(run) is RunStatus.COMPLETED
    world.check()


def _retry() -> m.Retry:
    return m.Retry(by="eva")


async def test_what_would_end_tasks_of_a_later_plan_is_told_when_it_is_planned(world: World) -> None:
    """As `run init` tells it of the first one: a file that is not there yet may be, until it is needed."""
    fragile = task("b", files={"relax.py": "gone.py"}, allow_failure=True)
    world.campaign("w", flat(1, "a"), Workflow([fragile, task("c")]))
    run = world.create("w")

    await world.serve_until_done()

    (warned,) = world.facts(run, f.PlanWarned)
    assert warned.iteration == 2
    (warning,) = warned.warnings
    assert "task b would fail: files: 'relax.py' cannot be copied from gone.py" in warning
    state = world.state(run)
    assert [state.tasks[TaskId(name)].status for name in "bc"] == [TaskStatus.FAILED, TaskStatus.SUCCEEDED]
    world.check()
