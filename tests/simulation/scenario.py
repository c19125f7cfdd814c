"""What a seed decides: the cluster, what goes wrong in it, the campaigns, and what people and fate do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random
from typing import Any, Final

import attrs

from matterstack.backends.simulated.faults import Faults
from matterstack.core.ids import TaskId
from matterstack.core.model import Task, Workflow
from matterstack.core.resources import Growth, Resources

DAY_S: Final = 86400.0
HORIZON_S: Final = 1.5 * DAY_S
"""When people and fate stop acting; faults of the cluster go on."""


@attrs.frozen
class Action:
    """Something that happens at a time.

    Attributes:
        kind: ``pause``, ``resume``, ``cancel``, ``retry`` or ``rerun`` of a run, or ``crash``,
            ``crash_at_commit``, ``stop`` of an engine.
        which: number that chooses the run, the task or the engine.
    """

    at_s: float
    kind: str
    which: int


@attrs.frozen(kw_only=True)
class Scenario:
    """Everything that a seed decides, but for the order in which tasks of the program run.

    Attributes:
        engines: how many share the root.
        campaigns: for each run its workflows, one for each iteration.
        configs: for each run what is set in its config.
    """

    seed: int
    engines: int
    nodes: int
    faults: Faults
    campaigns: Sequence[Sequence[Workflow]]
    configs: Sequence[dict[str, Any]]
    actions: Sequence[Action]


def scenario(seed: int) -> Scenario:
    """Make the scenario of a seed."""
    random = Random(seed)  # noqa: S311  nothing secret
    runs = random.choice([1, 1, 2, 3, 4])
    return Scenario(
        seed=seed,
        engines=random.choice([1, 1, 1, 2]),
        nodes=random.randint(1, 4),
        faults=_faults(random),
        campaigns=[_campaign(random) for _ in range(runs)],
        configs=[_config(random) for _ in range(runs)],
        actions=_actions(random),
    )


def _sometimes(random: Random, most: float, often: float = 0.5) -> float:
    return random.uniform(0, most) if random.random() < often else 0.0


def _seldom(random: Random, mean_s: float) -> float:
    return random.uniform(0.3, 2) * mean_s if random.random() < 0.5 else math.inf


def _faults(random: Random) -> Faults:
    return Faults(
        sbatch_fails=_sometimes(random, 0.2),
        sbatch_lies=_sometimes(random, 0.3),
        sbatch_hangs=_sometimes(random, 0.2),
        sbatch_is_slow=_sometimes(random, 0.3),
        question_fails=_sometimes(random, 0.2),
        question_hangs=_sometimes(random, 0.05),
        squeue_is_stale=_sometimes(random, 0.2),
        squeue_is_empty=_sometimes(random, 0.1),
        squeue_is_cut=_sometimes(random, 0.1),
        outage_every_s=_seldom(random, DAY_S / 4),
        outage_most_s=random.choice([60.0, 3600.0, 6 * 3600.0]),
        accounting_outage_every_s=_seldom(random, DAY_S / 4),
        accounting_lag_most_s=random.choice([0.0, 5.0, 300.0]),
        controller_forgets=_sometimes(random, 0.5),
        node_fails_every_s=_seldom(random, DAY_S / 4),
        requeued_on_failure=random.random(),
        preempted=_sometimes(random, 0.3),
        held=_sometimes(random, 0.1),
        vanishes=_sometimes(random, 0.05),
    )


def _campaign(random: Random) -> list[Workflow]:
    iterations = random.randint(1, 3)
    return [_workflow(random, number) for number in range(iterations)]


def _workflow(random: Random, iteration: int) -> Workflow:
    count = random.randint(1, 12)
    names = [TaskId(f"i{iteration}t{n}") for n in range(count)]
    return Workflow([_task(random, names, n) for n in range(count)])


def _task(random: Random, names: Sequence[TaskId], n: int) -> Task:
    needed = random.sample(names[:n], min(n, random.choice([0, 0, 1, 2])))
    long = random.random() < 0.1
    simulate = {
        "duration_s": random.expovariate(1 / (DAY_S / 8 if long else 1800)),
        "exit_code": random.choice([0] * 12 + [1]),
        "memory_mib": random.choice([100, 100, 100, 3000]),
        "result": {"energy_ev": -random.random()},
    }
    return Task(
        names[n],
        command=["simulate"],
        depends_on=needed,
        params={"simulate": simulate},
        allow_failure=random.random() < 0.4,
        retries=random.choice([0, 1, 3]),
        priority=random.randint(-1, 1),
        resources=Resources(
            cpus=random.choice([1, 1, 2, 4]),
            memory_mib=random.choice([None, 2000, 4000]),
            walltime_s=random.choice([None, 3600, 6 * 3600]),
            grow=random.choice([None, Growth(walltime=2, memory=2, most_memory_mib=8000)]),
        ),
    )


def _config(random: Random) -> dict[str, Any]:
    cluster = {
        "type": "slurm",
        "max_jobs": random.randint(1, 8),
        "poll_interval_s": random.choice([5.0, 15.0, 30.0]),
        "command_timeout_s": 30.0,
        "grace_period_s": 60.0,
    }
    return {
        "default_backend": "cluster",
        "max_hpc_jobs_per_run": random.randint(1, 6),
        "priority": random.randint(1, 3),
        "backends": {"cluster": cluster},
    }


_KINDS: Final = ("pause", "resume", "cancel", "retry", "rerun", "crash", "crash_at_commit", "stop")
_WEIGHTS: Final = (3, 4, 0.4, 2, 1, 4, 4, 1)


def _actions(random: Random) -> list[Action]:
    count = random.randint(0, 24)
    # Much happens at the beginning of a campaign, when most of its jobs are submitted.
    times = [random.choice([1800.0, HORIZON_S / 4, HORIZON_S]) * random.random() for _ in range(count)]
    kinds = random.choices(_KINDS, _WEIGHTS, k=count)
    return sorted(
        (Action(at_s, kind, random.randrange(1 << 16)) for at_s, kind in zip(times, kinds, strict=True)),
        key=lambda action: action.at_s,
    )
