"""Amendments while engines live, and die between an amendment and what follows from it."""

from __future__ import annotations

from matterstack.core.ids import TaskId
from matterstack.core.model.resources import Resources
from matterstack.core.run import facts as f
from matterstack.core.run.messages import AmendTasks, Retry
from matterstack.core.states import RunStatus
from matterstack.storage.commands import command_outcome
from tests.support.engine import World, flat
from tests.support.fake_backend import Behaviour

FIRST = TaskId("t0000")
LONGER = {"resources.walltime_s": 7200}


def amend(**options: object) -> AmendTasks:
    return AmendTasks(by="eva", **{"tasks": [FIRST], "changes": LONGER, **options})  # type: ignore[arg-type]


def prepared(world: World, run: object) -> list[tuple[int, int | None]]:
    facts = world.facts(run, f.AttemptPrepared)  # type: ignore[arg-type]
    return [(fact.version, fact.resources.walltime_s) for fact in facts]


async def test_what_is_amended_before_it_is_planned_is_refused_and_the_run_goes_on(world: World) -> None:
    world.campaign("w", flat(1, resources=Resources(walltime_s=60)))
    run = world.create("w")
    first = world.command(run, amend(reason="too short"))
    second = world.command(run, AmendTasks(by="bob", tasks=[FIRST], changes={"resources.walltime_s": 90}))
    assert command_outcome(world.connection, first) is None
    await world.serve_until_done()
    assert [(await world.outcome(c))["code"] for c in (first, second)] == ["not_found", "not_found"]
    assert world.status(run) is RunStatus.COMPLETED
    world.check()


async def test_two_people_amend_a_task_at_work_in_order_and_its_next_attempt_is_as_they_say(
    world: World,
) -> None:
    world.campaign("w", flat(1, resources=Resources(walltime_s=60), retries=1))
    run = world.create("w")
    tries = iter([Behaviour(duration_s=50, exit_code=1, raw_state="TIMEOUT"), Behaviour(duration_s=1)])
    world.cluster.behave = lambda _: next(tries)
    async with world.serving():
        await world.until(world.cluster.live, "a job")
        ids = [world.command(run, amend(reason="too short"))]
        ids.append(
            world.command(run, AmendTasks(by="bob", tasks=[FIRST], changes={"resources.walltime_s": 90}))
        )
        assert [await world.outcome(id_) for id_ in ids] == [{"ok": True}] * 2
        assert len(world.cluster.jobs) == 1
        await world.until_status(run, RunStatus.COMPLETED)
    assert prepared(world, run) == [(1, 60), (3, 90)]
    changes = [fact.changes["resources.walltime_s"] for fact in world.facts(run, f.TaskAmended)]
    assert changes == [f.Change(60, 7200), f.Change(7200, 90)]
    world.check()


async def test_what_was_prepared_when_its_engine_died_is_submitted_as_it_was_prepared(world: World) -> None:
    """The command is carried out by the next engine, before it finds out about the attempt without a job."""
    world.campaign("w", flat(1, outputs=[], retries=1))
    run = world.create("w")
    tries = iter([Behaviour(never_arrives=True), Behaviour(duration_s=1)])
    world.cluster.behave = lambda _: next(tries)
    async with world.serving():
        await world.until(lambda: world.facts(run, f.AttemptPrepared), "a seat")
    assert world.facts(run, f.JobAccepted) == []
    command = world.command(run, amend(changes={"command": ["false"]}))
    await world.serve_until_done()
    assert await world.outcome(command) == {"ok": True}
    (attempt,) = world.state(run).tasks[FIRST].attempts
    assert world.state(run).definition_of(attempt).command == ("true",)
    assert world.state(run).tasks[FIRST].task.command == ("false",)
    world.check()


async def test_a_retry_that_amends_is_carried_out_by_the_next_engine(world: World) -> None:
    world.campaign("w", flat(2, resources=Resources(walltime_s=60)))
    run = world.create("w")
    world.cluster.behave = lambda _: Behaviour(exit_code=1, raw_state="TIMEOUT")
    await world.serve_until_done()
    assert world.status(run) is RunStatus.FAILED
    command = world.command(run, Retry(by="eva", tasks=[FIRST], changes=LONGER))
    assert world.facts(run, f.TaskAmended) == []
    world.cluster.behave = lambda _: Behaviour(duration_s=1)
    async with world.engine() as engine:
        await engine.carry_out_commands(run)
    assert await world.outcome(command) == {"ok": True}
    await world.serve_until_done()
    assert world.status(run) is RunStatus.FAILED, "the other one was not named"
    assert prepared(world, run) == [(1, 60), (1, 60), (2, 7200)]
    world.check()
