"""Facts that end a failed attempt have its last words; those of one that ended well have none."""

from __future__ import annotations

from matterstack.backends.base import PreparedAttempt
from matterstack.core.ids import TaskId
from matterstack.core.run import facts as f
from matterstack.core.states import RunStatus
from tests.actors.test_secrets_of_runs import NAME, VALUE, give, take_back
from tests.support.engine import World, flat
from tests.support.fake_backend import Behaviour


async def test_a_failed_attempt_has_its_last_words_without_secrets(world: World) -> None:
    give(world)

    def behave(attempt: PreparedAttempt) -> Behaviour:
        (attempt.folder / "stderr.log").write_text(f"key {VALUE}\nno licence\n")
        return Behaviour(exit_code=3 if attempt.task_id == "t0000" else 0)

    world.campaign("w", flat(2))
    world.cluster.behave = behave
    run = world.create("w", secrets=[NAME])
    async with world.serving():
        await world.until_ended(run, within_s=60)
    assert sorted(fact.last_words for fact in world.facts(run, f.JobEnded)) == [
        "",
        f"key [secret {NAME}]\nno licence",
    ]
    (attempt,) = world.state(run).tasks[TaskId("t0000")].attempts
    assert attempt.last_words == f"key [secret {NAME}]\nno licence"
    assert VALUE not in repr(world.events())
    world.check()


async def test_a_job_that_ended_well_and_left_too_little_says_its_last_words_with_its_failure(
    world: World,
) -> None:
    def behave(attempt: PreparedAttempt) -> Behaviour:
        (attempt.folder / "stdout.log").write_text(f"did not converge, try {attempt.n}\n")
        return Behaviour()

    world.campaign("w", flat(1, outputs=["*.xyz"], retries=1))
    world.cluster.behave = behave
    run = world.create("w")
    async with world.serving():
        await world.until_status(run, RunStatus.FAILED, within_s=60)
    assert [fact.last_words for fact in world.facts(run, f.JobEnded)] == ["", ""]
    assert [fact.last_words for fact in world.facts(run, f.TaskRetried)] == ["did not converge, try 1"]
    assert [fact.last_words for fact in world.facts(run, f.TaskFailed)] == ["did not converge, try 2"]
    (task,) = world.state(run).tasks.values()
    assert [attempt.last_words for attempt in task.attempts] == [
        "did not converge, try 1",
        "did not converge, try 2",
    ]
    world.check()


async def test_what_nobody_can_look_through_for_a_secret_has_no_last_words(world: World) -> None:
    def behave(attempt: PreparedAttempt) -> Behaviour:
        (attempt.folder / "stderr.log").write_text(f"key {VALUE}\n")
        return Behaviour(duration_s=100, exit_code=3)

    give(world)
    world.campaign("w", flat(1))
    world.cluster.behave = behave
    run = world.create("w", secrets=[NAME])
    async with world.serving():
        await world.until(lambda: len(world.facts(run, f.JobAccepted)) == 1, "a job")
    take_back(world)
    async with world.serving():
        await world.until(lambda: len(world.facts(run, f.JobEnded)) == 1, "its end")
    assert [fact.last_words for fact in world.facts(run, f.JobEnded)] == [""]
    assert VALUE not in repr(world.events())
    world.check()
