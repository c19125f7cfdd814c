"""What a seed decides: the cluster, what goes wrong in it, the campaigns, and what people and fate do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random
from typing import Any, Final

import attrs

from matterstack.core.ids import TaskId
from matterstack.core.model.resources import Growth, Resources
from matterstack.core.model.workflow import Task, Workflow
from matterstack.storage.crash_points import CRASH_POINTS
from tests.simulated_cluster.faults import Faults

DAY_S: Final = 86400.0
BUSY_S: Final = 6 * 3600.0
"""When most of the work is done; people and fate act until the end of the day."""

BROKEN_EVERY: Final = 5
"""One seed of so many has a program that is broken."""


@attrs.frozen
class Action:
    """Something that happens at a time.

    Attributes:
        kind: what a person asks a run for (see `REQUESTS`), also at the very moment of its next submission
            (see `AMBUSHES`), or what becomes of an engine (see `DOOMS`).
        which: number that chooses the run, the task or the engine.
        delay_s: for how long after a command has begun the engine lives; of a change: how long a person
            thinks about what was shown.
    """

    at_s: float
    kind: str
    which: int
    delay_s: float


@attrs.frozen
class Crash:
    """An engine dies at a crash point, at the so-manieth passing in its life (1 is the first).

    Attributes:
        after_s: passings before that moment do not count.
    """

    point: str
    passing: int = 1
    after_s: float = 0.0


DOOMS: Final = ("crash", "stop", "crash_at_commit", "crash_at_call", "crash_in_sbatch", "stop_in_sbatch",
                "crash_in_squeue", "crash_in_scancel")  # fmt: skip
AMBUSHES: Final = ("pause_in_sbatch", "cancel_in_sbatch", "amend_in_sbatch", "amend_config_in_sbatch",
                   "replan_in_sbatch")  # fmt: skip
CHANGES: Final = {
    "amend": 4, "amend_config": 4, "retry_amended": 3, "edit_campaign": 4,
    "amend_in_sbatch": 2, "amend_config_in_sbatch": 1, "resubmit": 5, "replan": 8, "replan_in_sbatch": 2,
}  # fmt: skip
"""What people change while runs live, and how often of all changes."""
REQUESTS: Final = ("pause", "resume", "cancel", "cancel_tasks", "retry", "rerun", *CHANGES)
EVERY_TASK: Final = 3
"""So many, modulo 5, is the number of a partial cancel that means all tasks that are left."""
_WEIGHTS: Final = {
    "pause": 4, "resume": 5, "cancel": 0.6, "retry": 3, "rerun": 1,
    "pause_in_sbatch": 3, "cancel_in_sbatch": 0.3,
    "crash": 2, "stop": 1, "crash_at_commit": 3, "crash_at_call": 2,
    "crash_in_sbatch": 4, "stop_in_sbatch": 2, "crash_in_squeue": 1, "crash_in_scancel": 1,
}  # fmt: skip
_HECTIC_WEIGHTS: Final = {**_WEIGHTS, "crash_in_sbatch": 40}


@attrs.frozen(kw_only=True)
class Scenario:
    """Everything that a seed decides, but for the order in which tasks of the program run.

    Attributes:
        engines: how many share the root.
        campaigns: for each run its workflows, one for each iteration.
        configs: for each run what is set in its config.
        crashes: where engines die; each once the one before it has come.
    """

    seed: int
    engines: int
    nodes: int
    faults: Faults
    campaigns: Sequence[Sequence[Workflow]]
    configs: Sequence[dict[str, Any]]
    actions: Sequence[Action]
    crashes: Sequence[Crash] = ()


def scenario(seed: int) -> Scenario:
    """Make the scenario of a seed."""
    random = Random(seed)  # noqa: S311  nothing secret
    runs = random.choice([1, 1, 2, 3, 4])
    # What is hardest to get right: a submission goes on when its engine is dead, and the next one looks.
    is_hectic = random.random() < 0.3
    usual = Scenario(
        seed=seed,
        engines=random.choice([1, 1, 1, 2]),
        nodes=random.randint(1, 4),
        faults=_faults(random, is_hectic=is_hectic),
        campaigns=[_campaign(random) for _ in range(runs)],
        configs=_configs(random, runs),
        actions=_in_order([*_actions(random, is_hectic=is_hectic), *_partial_cancels(seed), *_changes(seed)]),
        crashes=_crashes(random),
    )
    return _with_broken_program(usual) if seed % BROKEN_EVERY == BROKEN_EVERY - 1 else usual


def _with_broken_program(usual: Scenario) -> Scenario:
    """Most tasks of the first run fail alike as soon as they begin, and few of those hold it."""
    random = Random(f"broken {usual.seed}")  # noqa: S311
    names = [TaskId(f"b{n}") for n in range(random.randint(6, 20))]
    program = Workflow([_broken_task(random, name) for name in names])
    # Some of them fail while others are still being submitted, and sbatch has time to say that it took them.
    patient = {"poll_interval_s": 15.0, "command_timeout_s": 300.0}
    configs = [{**c, "backends": {"cluster": {**c["backends"]["cluster"], **patient}}} for c in usual.configs]
    configs[0].update(hold_after_alike=random.randint(1, 4), max_hpc_jobs_per_run=6)
    return attrs.evolve(
        usual,
        campaigns=[[program, *usual.campaigns[0]], *usual.campaigns[1:]],
        configs=configs,
        faults=attrs.evolve(usual.faults, sbatch_is_slow=0.5),
    )


def _broken_task(random: Random, name: TaskId) -> Task:
    is_broken = random.random() < 0.8
    simulate: dict[str, Any] = {
        "duration_s": random.choice([1, 5, 20]) if is_broken else random.expovariate(1 / 600),
        "exit_code": 9 if is_broken else 0,
        "memory_mib": 100,
        "result": {},
    }
    return Task(
        name,
        command=["simulate"],
        params={"simulate": simulate},
        retries=random.choice([0, 0, 1]),
        resources=Resources(cpus=random.choice([1, 2, 3])),  # what is alike goes to sbatch at once
    )


def _sometimes(random: Random, most: float, often: float = 0.5) -> float:
    return random.uniform(0, most) if random.random() < often else 0.0


def _seldom(random: Random, mean_s: float) -> float:
    return random.uniform(0.3, 2) * mean_s if random.random() < 0.5 else math.inf


def _faults(random: Random, *, is_hectic: bool) -> Faults:
    return Faults(
        sbatch_fails=_sometimes(random, 0.2),
        sbatch_lies=_sometimes(random, 0.3),
        sbatch_repeats=_sometimes(random, 0.2),
        sbatch_hangs=_sometimes(random, 0.2),
        limit_is_used_up=_sometimes(random, 0.3),
        sbatch_is_slow=0.5 if is_hectic else _sometimes(random, 0.5),
        question_fails=_sometimes(random, 0.2),
        question_hangs=_sometimes(random, 0.05),
        squeue_is_stale=_sometimes(random, 0.2),
        squeue_is_empty=_sometimes(random, 0.1),
        squeue_is_cut=_sometimes(random, 0.1),
        outage_every_s=_seldom(random, BUSY_S / 2),
        outage_most_s=random.choice([60.0, 1800.0, 4 * 3600.0]),
        accounting_outage_every_s=_seldom(random, BUSY_S / 2),
        accounting_lag_most_s=random.choice([0.0, 5.0, 300.0]),
        controller_forgets=_sometimes(random, 0.5),
        node_fails_every_s=_seldom(random, BUSY_S / 2),
        requeued_on_failure=random.random(),
        preempted=_sometimes(random, 0.3),
        held=_sometimes(random, 0.1),
        vanishes=_sometimes(random, 0.05),
    )


def _campaign(random: Random) -> list[Workflow]:
    iterations = random.randint(1, 3)
    return [_workflow(random, number) for number in range(iterations)]


def _workflow(random: Random, iteration: int) -> Workflow:
    count = random.randint(1, 10)
    names = [TaskId(f"i{iteration}t{n}") for n in range(count)]
    return Workflow([_task(random, names, n) for n in range(count)])


def _task(random: Random, names: Sequence[TaskId], n: int) -> Task:
    needed = random.sample(names[:n], min(n, random.choice([0, 0, 1, 2])))
    mean_s = random.choice([30, 600, 600, 600, 1800, 1800, 7200])
    simulate = {
        "duration_s": random.expovariate(1 / mean_s),
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


def _configs(random: Random, runs: int) -> list[dict[str, Any]]:
    cluster = {
        "type": "slurm",
        "max_jobs": random.randint(1, 8),
        "poll_interval_s": random.choice([15.0, 60.0, 120.0]),
        "command_timeout_s": 30.0,
        "grace_period_s": 60.0,
    }
    are_equal = random.random() < 0.8
    return [
        {
            "default_backend": "cluster",
            "max_hpc_jobs_per_run": random.randint(1, 6),
            "priority": random.randint(1, 3),
            # Somebody may have changed the cap between the making of one run and another.
            "backends": {"cluster": cluster if are_equal else {**cluster, "max_jobs": random.randint(1, 8)}},
        }
        for _ in range(runs)
    ]


def _actions(random: Random, *, is_hectic: bool) -> list[Action]:
    weights = _HECTIC_WEIGHTS if is_hectic else _WEIGHTS
    kinds = random.choices(list(weights), list(weights.values()), k=random.randint(0, 24))
    return [
        Action(
            # Much happens at the beginning of a campaign, when most of its jobs are submitted.
            at_s=random.choice([1800.0, 1800.0 if is_hectic else BUSY_S, BUSY_S, DAY_S]) * random.random(),
            kind=kind,
            which=random.randrange(1 << 16),
            delay_s=random.choice([3.0 if is_hectic else 0.08, 0.08, 3.0, 30.0]) * random.random(),
        )
        for kind in kinds
    ]


def _partial_cancels(seed: int) -> list[Action]:
    """Single tasks are cancelled in some scenarios.

    Drawn apart, so that whatever else a seed decides does not depend on it.
    """
    random = Random(f"partial cancels of {seed}")  # noqa: S311
    count = random.choice([0, 0, 1, 2, 4])
    return [
        Action(BUSY_S * random.random(), "cancel_tasks", random.randrange(1 << 16), 0.08 * random.random())
        for _ in range(count)
    ]


def _changes(seed: int) -> list[Action]:
    """Definitions, configs and campaigns are changed in some scenarios; drawn apart, too."""
    random = Random(f"changes of {seed}")  # noqa: S311
    count = random.choice([0, 0, 2, 6, 12])
    return [
        Action(
            random.choice([1800.0, BUSY_S / 3, BUSY_S / 3, BUSY_S]) * random.random(),
            random.choices(list(CHANGES), list(CHANGES.values()))[0],
            random.randrange(1 << 16),
            random.choice([0.0, 0.0, 300.0]) * random.random(),
        )
        for _ in range(count)
    ]


def _in_order(actions: Sequence[Action]) -> list[Action]:
    return sorted(actions, key=lambda action: action.at_s)


def _crashes(random: Random) -> list[Crash]:
    points = random.choices(sorted(CRASH_POINTS), k=random.choice([0, 0, 1, 3]))
    return [Crash(point, random.choice([1, 1, 2, 5])) for point in points]
