"""Let engines die at chosen places, one after the other, on a cluster where nothing else goes wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import attrs
import trio

from matterstack.core.ids import TaskId
from matterstack.core.model.resources import Resources
from matterstack.core.model.workflow import Task, Workflow
from tests.simulated_cluster.faults import NO_FAULTS
from tests.simulation.scenario import DAY_S, Action, Crash, Scenario
from tests.simulation.world import Outcome, World, play

RUNS: Final = 4
CHAIN: Final = ("c0", "c1", "c2")
TASKS: Final = (*CHAIN, "loose")
MAX_JOBS: Final = 3


@attrs.define(eq=False)
class Quick(World):
    """An engine that died is started again at once."""

    async def between_lives(self, _number: int) -> None:
        """Begin the next life."""
        await trio.sleep(1)


@attrs.define(eq=False)
class Late(World):
    """An engine that died is started again when the people who asked for something have gone."""

    async def between_lives(self, _number: int) -> None:
        """Let a day pass."""
        await trio.sleep(DAY_S)


def walk(
    crashes: Sequence[Crash],
    *,
    work_s: float = 600.0,
    cpus: int = 1,
    actions: Sequence[Action] = (),
    world_type: type[World] = Quick,
) -> Outcome:
    """Let engines die at these places, one after the other, on a cluster where nothing else goes wrong."""

    def change(what: Scenario) -> Scenario:
        return attrs.evolve(
            what,
            engines=1,
            nodes=2,
            faults=NO_FAULTS,
            campaigns=[
                [Workflow(_tasks(work_s * (n + 1), cpus))] for n in range(RUNS)
            ],  # their ends come apart
            configs=[_CONFIG] * RUNS,
            actions=actions,
            crashes=crashes,
        )

    return play(1, change=change, world_type=world_type)


def _tasks(work_s: float, cpus: int) -> list[Task]:
    """Tasks one after the other, so that everything comes about several times, and one beside them."""
    before = dict(zip(CHAIN[1:], CHAIN, strict=False))
    return [
        Task(
            TaskId(name),
            command=["simulate"],
            depends_on=[TaskId(before[name])] if name in before else [],
            params={"simulate": {"duration_s": work_s}},
            resources=Resources(cpus=cpus),
        )
        for name in TASKS
    ]


_CONFIG: Final[dict[str, Any]] = {
    "default_backend": "cluster",
    "max_hpc_jobs_per_run": 2,
    "backends": {
        "cluster": {"type": "slurm", "max_jobs": MAX_JOBS, "poll_interval_s": 10.0, "grace_period_s": 60.0}
    },
}
