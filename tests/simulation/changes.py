"""What people change of runs that live: definitions of tasks, configs, and the campaigns themselves.

Every change is drawn from its own number, so that a seed decides it whatever happened before.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import Any, Final

import attrs

from matterstack.core.errors import CampaignError
from matterstack.core.ids import TaskId
from matterstack.core.model.workflow import Task, Workflow

WHY: Final = "change {}"
"""Why a change was asked for, by its number: facts that come of it say so."""
MARK: Final = "SIM_CHANGE"
"""Environment variable of tasks that each change of them sets to its number."""
PREPARED: Final = "SIM_PREPARED"
"""The same for a changed prologue."""
SPARE: Final = "spare"
"""A further backend on the same cluster, which a changed config may have."""
_MARKED: Final = re.compile(rf"{PREPARED}=(\d+)")
_VERSION: Final = re.compile(rb"# version (\d+)\n")
_RAISES: Final = 0.06
_RENAMES: Final = 0.06


def task_changes(number: int) -> dict[str, Any]:
    """New values by path, one of which no other change sets."""
    random = Random(f"change {number} of tasks")  # noqa: S311  nothing secret
    others: dict[str, Any] = {
        "resources.walltime_s": random.choice([600, 3600, 6 * 3600, None]),
        "resources.memory_mib": random.choice([None, 2000, 6000]),
        "resources.cpus": random.choice([1, 2, 4]),
        "command": ["simulate", "--change", str(number)],
        "params.simulate.exit_code": random.choice([0, 0, 1]),
        "params.simulate.memory_mib": random.choice([100, 100, 3000]),
        "retries": random.choice([0, 2]),
        "priority": random.randint(-2, 2),
        "allow_failure": random.random() < 0.5,
        "backend": random.choice([None, "cluster", SPARE]),
        "resources.grow": None,
    }
    chosen = random.sample(sorted(others), random.choice([0, 1, 1, 2, 3]))
    return {f"env.{MARK}": str(number), **{path: others[path] for path in chosen}}


def config_changes(number: int, config: Mapping[str, Any]) -> dict[str, Any]:
    """Another config than this one: caps, weights, how the cluster is asked, and further backends."""
    random = Random(f"change {number} of a config")  # noqa: S311
    backends = {name: dict(backend) for name, backend in config["backends"].items()}
    changes: dict[str, Any] = {"backends": backends}
    for what in random.sample(["cap", "seats", "weight", "prologue", "interval", "spare", "hold"], 2):
        match what:
            case "cap":
                changes["max_hpc_jobs_per_run"] = random.randint(1, 8)
            case "seats":
                for backend in backends.values():
                    backend["max_jobs"] = random.randint(1, 10)
            case "weight":
                changes["priority"] = random.randint(1, 5)
            case "prologue":
                for backend in backends.values():
                    backend["prologue"] = [f"export {PREPARED}={number}"]
            case "interval":
                backends["cluster"]["poll_interval_s"] = random.choice([15.0, 30.0, 120.0])
            case "spare":
                backends.setdefault(SPARE, {**backends["cluster"], "max_jobs": random.randint(1, 4)})
                changes["default_backend"] = random.choice(["cluster", SPARE])
            case _:
                changes["hold_after_alike"] = random.choice([0, 2, 10])
    return {**config, **changes}


def marked(text: str) -> str | None:
    """The change that a text bears the number of, if it does."""
    found = _MARKED.search(text)
    return found and found[1]


# ---- campaigns that change ----


def campaign_text(version: int) -> bytes:
    """What ``campaign.py`` holds."""
    return b"# version %d\n" % version


def version_of(text: bytes) -> int:
    """Which version of a campaign this is; an empty file is the first."""
    found = _VERSION.fullmatch(text)
    return int(found[1]) if found else 0


def workflow_of(version: int, first: Workflow, name: str) -> Workflow:
    """What a version of a campaign plans in the place of what its first one did.

    Raises:
        CampaignError: this version has a mistake.
    """
    if version == 0:
        return first
    random = Random(f"version {version} of {name}")  # noqa: S311
    if random.random() < _RAISES:
        raise CampaignError(f"version {version} raised NameError")
    if random.random() < _RENAMES:
        return Workflow(_renamed(first.tasks, version))
    gone = {task.id for task in first.tasks if random.random() < 0.15}
    tasks = [*_changed(first.tasks, gone, random, version)]
    if not tasks or random.random() < 0.3:
        further = attrs.evolve(first.tasks[0], id=TaskId(f"{first.tasks[0].id}v{version}"), depends_on=())
        tasks.append(further)
    return Workflow(tasks)


def _renamed(tasks: Sequence[Task], version: int) -> list[Task]:
    return [
        attrs.evolve(
            task, id=TaskId(f"{task.id}v{version}"), depends_on=[f"{d}v{version}" for d in task.depends_on]
        )
        for task in tasks
    ]


def _changed(tasks: Sequence[Task], gone: set[TaskId], random: Random, version: int) -> Iterator[Task]:
    for task in tasks:
        if task.id in gone:
            continue
        left = [d for d in task.depends_on if d not in gone]
        match random.choice(["same", "same", "command", "work", "resources", "needs"]):
            case "same":
                changes: dict[str, Any] = {}
            case "command":
                # What each amendment sets as well: where both changed it, they clash.
                changes = {"command": ["simulate", "--version", str(version)], "env": {MARK: f"v{version}"}}
            case "work":
                work = {**task.params["simulate"], "exit_code": 0, "duration_s": random.expovariate(1 / 900)}
                changes = {"params": {"simulate": work}}
            case "resources":
                changes = {"resources": attrs.evolve(task.resources, walltime_s=random.choice([3600, 43200]))}
            case _:
                changes, left = {}, left[:1]
        yield attrs.evolve(task, depends_on=left, **changes)
