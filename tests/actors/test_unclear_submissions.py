"""An attempt of which nobody knows whether it was submitted holds up its own backend, and no other."""

from __future__ import annotations

import trio

from matterstack.core.model.workflow import Workflow
from matterstack.core.run import facts as f
from matterstack.core.run.messages import Pause
from matterstack.core.states import RunStatus
from tests.support.engine import World, task
from tests.support.fake_backend import Behaviour

HERE = {"type": "slurm", "max_jobs": 100, "poll_interval_s": 1.0, "grace_period_s": 500.0}
UNCLEAR = "a0"


async def test_the_run_goes_on_submitting_elsewhere_and_a_pause_waits_until_nothing_can_land(
    world: World,
) -> None:
    here = [task(f"a{i}", backend="fake") for i in range(3)]
    there = [task(f"b{i}", backend="other") for i in range(6)]
    world.campaign("w", Workflow([*here, *there]))
    backends = {"fake": HERE, "other": {**HERE, "grace_period_s": 0.0}}
    run = world.create("w", max_hpc_jobs_per_run=3, backends=backends)
    # The first submission of one task does not arrive, and nobody is told.
    lost = iter([True])
    world.cluster.behave = lambda a: Behaviour(
        duration_s=20, never_arrives=a.task_id == UNCLEAR and next(lost, False)
    )
    async with world.serving():
        await world.until(lambda: len(world.facts(run, f.TaskSucceeded)) >= 5, "work elsewhere", within_s=300)
        assert {str(e.task_id)[0] for e in world.facts(run, f.TaskSucceeded)} >= {"b"}
        command = world.command(run, Pause(by="eva"))
        await trio.sleep(50)
        assert world.status(run) is RunStatus.RUNNING, "the unclear attempt may still land"
        assert (await world.outcome(command)) == {"ok": True}
        assert trio.current_time() >= 500
        await world.resume(run)
        await world.until_status(run, RunStatus.COMPLETED, within_s=2000)
    assert set(world.cluster.tasks_run().values()) == {1}
    world.check()
