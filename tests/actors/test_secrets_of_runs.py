"""Runs with secrets on the virtual clock: what waits for a value, and what is told without it."""

from __future__ import annotations

import trio

from matterstack.core.ids import RunId
from matterstack.core.run import facts as f
from matterstack.core.states import RunStatus, TaskStatus
from matterstack.storage.backend_reports import read_reports
from matterstack.storage.secret_reports import missing_secrets
from tests.support.engine import World, flat
from tests.support.fake_backend import Behaviour

NAME = "WORLD_TOKEN"
VALUE = "hush, not a word"


def give(world: World) -> None:
    world.root.secrets.mkdir()
    path = world.root.secrets / NAME
    path.write_text(VALUE)
    path.chmod(0o600)


def take_back(world: World) -> None:
    (world.root.secrets / NAME).unlink()
    world.root.secrets.rmdir()


async def run_whose_value_is_taken_back(world: World) -> RunId:
    """Its two jobs write the value of its secret, which no engine knows any more when they end."""
    give(world)
    world.campaign("w", flat(2))
    world.cluster.behave = lambda _: Behaviour(duration_s=100, data={"said": VALUE})
    run = world.create("w", secrets=[NAME])
    async with world.serving():
        await world.until(lambda: len(world.facts(run, f.JobAccepted)) == 2, "jobs")
    take_back(world)
    return run


async def test_a_run_whose_secret_has_no_value_submits_nothing_until_it_has_one(world: World) -> None:
    world.campaign("w", flat(3))
    run = world.create("w", secrets=[NAME])
    async with world.serving():
        await world.until(lambda: missing_secrets(world.root, run) is not None, "that it is missed")
        await world.until(lambda: world.state(run).iteration == 1, "the plan")
        await trio.sleep(3600)
        assert {task.status for task in world.state(run).tasks.values()} == {TaskStatus.READY}
        assert world.cluster.jobs == []
        give(world)
        await world.until_status(run, RunStatus.COMPLETED, within_s=60)
        assert missing_secrets(world.root, run) is None
    assert len(world.cluster.jobs) == 3
    world.check()


async def test_other_runs_do_not_wait_for_it(world: World) -> None:
    world.campaign("w", flat(2))
    waiting, other = world.create("w", secrets=[NAME]), world.create("w")
    async with world.serving():
        await world.until_status(other, RunStatus.COMPLETED, within_s=60)
        assert world.status(waiting) is RunStatus.RUNNING
    assert {job.run_id for job in world.cluster.jobs} == {other}


async def test_what_nobody_can_look_through_is_not_concluded_before_the_value_is_given(world: World) -> None:
    run = await run_whose_value_is_taken_back(world)
    async with world.serving():
        await world.until(lambda: len(world.facts(run, f.JobEnded)) == 2, "their ends")
        await trio.sleep(3600)
        assert {task.status for task in world.state(run).tasks.values()} == {TaskStatus.ACTIVE}
        give(world)
        await world.until_ended(run, within_s=60)

    reasons = {task.reason for task in world.state(run).tasks.values()}
    assert reasons == {f"result.json: holds the value of the secret {NAME}, and is not kept"}
    sought = world.facts(run, f.SecretsSought)
    assert [fact.found for fact in sought] == [{"result.json": (NAME,)}] * 2
    assert VALUE not in repr(world.events())
    world.check()


async def test_a_run_that_is_cancelled_waits_for_no_value_and_keeps_no_data(world: World) -> None:
    run = await run_whose_value_is_taken_back(world)
    async with world.serving():
        await world.until(lambda: len(world.facts(run, f.JobEnded)) == 2, "their ends")
        await world.cancel(run)
        await world.until_status(run, RunStatus.CANCELLED, within_s=60)
    assert VALUE not in repr(world.events())
    world.check()


async def test_no_word_of_a_backend_brings_a_value_into_a_fact_or_a_report(world: World) -> None:
    give(world)
    world.campaign("w", flat(1))
    world.cluster.behave = lambda _: Behaviour(refused=f"sbatch refused the job: {VALUE}")
    run = world.create("w", secrets=[NAME])
    async with world.serving():
        await world.until_ended(run, within_s=60)
        (refused,) = world.facts(run, f.SubmissionRefused)
        assert refused.reason == f"sbatch refused the job: [secret {NAME}]"
        assert VALUE not in repr(world.events())
        world.cluster.outage = f"ssh: {VALUE}"
        world.cluster.behave = lambda _: Behaviour()
        world.create("w", secrets=[NAME])
        await world.until(lambda: any(r.out_since for r in read_reports(world.root)), "an outage")
        assert [r.problem for r in read_reports(world.root)] == [f"ssh: [secret {NAME}]"]
