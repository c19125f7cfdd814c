"""Check a workflow before anything of it is stored."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Final, TypeAlias

import attrs

from matterstack.core.errors import CampaignError
from matterstack.core.file_names import UnusableNameError, normal_name
from matterstack.core.ids import SLUG_PATTERN, SLUG_RULE, TASK_ID_PATTERN, TaskId
from matterstack.core.json_rules import json_problem
from matterstack.core.model.patterns import matches
from matterstack.core.model.resources import Limits, Resources
from matterstack.core.model.workflow import Task, Workflow
from matterstack.core.operators import ASKING, OPERATORS

SECRETS_FILE: Final = ".matterstack-secrets"
"""What a job reads its secrets from, and removes at once."""
SECRETS_PART: Final = f"{SECRETS_FILE}.part"
RESERVED_NAMES: Final = frozenset(
    {
        "manifest.json",
        "job.sh",
        "claim",
        "stdout.log",
        "stderr.log",
        "scheduler.log",
        "exit.json",
        "not_fetched.json",
        SECRETS_FILE,
        SECRETS_PART,
    }
)
"""What MatterStack itself keeps in an attempt's folder."""
ENV_NAME_PATTERN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
MOST_PROBLEMS_SHOWN: Final = 20


OptionRules: TypeAlias = Callable[[str | None, Resources], Iterable[str]]
"""What is wrong with the ``extra`` of a job, by the name of its backend (None: the default one)."""


def _any_option(_backend: str | None, _wanted: Resources) -> Iterable[str]:
    return ()


def check_workflow(
    workflow: Workflow,
    earlier: Mapping[TaskId, Sequence[str]],
    backends: Collection[str],
    rules: OptionRules = _any_option,
) -> None:
    """Refuse a workflow that could never run as written.

    Args:
        earlier: tasks of earlier iterations of the run, with their output patterns.
        backends: names that ``config.json`` knows.
        rules: for further options of schedulers.

    Raises:
        CampaignError: naming every problem found (the first 20), with its task and field.
    """
    problems = list(_problems(workflow, earlier, backends, rules))
    if not problems:
        return
    shown = problems[:MOST_PROBLEMS_SHOWN]
    if len(problems) > len(shown):
        shown.append(f"and {len(problems) - len(shown)} more")
    raise CampaignError("the planned workflow cannot run: " + "; ".join(shown))


def check_limits(
    workflow: Workflow, limits: Mapping[str, Limits], default_backend: str, *, now: bool = False
) -> None:
    """Refuse a workflow with a task that its backend can never run.

    Args:
        limits: by the name of the backend; nothing is said of tasks of others.
        now: refuse partitions too that start no jobs at this time.

    Raises:
        CampaignError: naming the first such task, the field, its value and the limit.
    """
    found: list[str] = []
    for task in workflow.tasks:
        backend = task.backend or default_backend
        if backend not in limits or task.operator != "compute":
            continue
        if excess := limits[backend].excess(task.resources):
            found.append(f"task {task.id!r}: resources: backend {backend} can never give {excess}")
        elif now and (excess := limits[backend].closed(task.resources)):
            found.append(f"task {task.id!r}: resources: backend {backend} cannot give {excess}")
    if found:
        others = f" (and {len(found) - 1} more tasks like it)" if len(found) > 1 else ""
        raise CampaignError(found[0] + others)


@attrs.frozen
class Drained:
    """Tasks whose partition is drained for the moment: a warning each kind, and the ``others``."""

    warnings: Sequence[str]
    others: Workflow


def without_drained(workflow: Workflow, limits: Mapping[str, Limits], default_backend: str) -> Drained:
    """Tell tasks apart whose partition takes no jobs now, and will again: that refuses no run."""
    first: dict[str, list[str]] = {}
    others: list[Task] = []
    for task in workflow.tasks:
        backend = task.backend or default_backend
        if backend in limits and task.operator == "compute" and limits[backend].is_drained(task.resources):
            why = f"backend {backend} cannot give {limits[backend].closed(task.resources)}"
            first.setdefault(why, []).append(task.id)
        else:
            others.append(task)
    return Drained([_warning(why, ids) for why, ids in first.items()], Workflow(others))


def _warning(why: str, task_ids: Sequence[str]) -> str:
    like_it = f" (and {len(task_ids) - 1} more tasks like it)" if len(task_ids) > 1 else ""
    return f"task {task_ids[0]!r}: resources: {why}{like_it}"


def _problems(
    workflow: Workflow,
    earlier: Mapping[TaskId, Sequence[str]],
    backends: Collection[str],
    rules: OptionRules,
) -> Iterator[str]:
    if not workflow.tasks:
        yield "it has no tasks (return None from plan when the goal is met)"
    outputs = dict(earlier)
    for task in workflow.tasks:
        if task.id in outputs:
            where = "of an earlier iteration" if task.id in earlier else "of another task"
            yield f"task {task.id!r}: the id is already that {where}"
        outputs[task.id] = task.outputs
    for task in workflow.tasks:
        found = _task_problems(task, outputs, backends, rules)
        yield from (f"task {task.id!r}: {problem}" for problem in found)
    cycle = find_cycle(workflow.tasks)
    if cycle:
        yield "the tasks wait for each other in a circle: " + " -> ".join((*cycle, cycle[0]))


def _task_problems(
    task: Task, outputs: Mapping[TaskId, Sequence[str]], backends: Collection[str], rules: OptionRules
) -> Iterator[str]:
    if not TASK_ID_PATTERN.fullmatch(task.id):
        yield "id must be 1 to 100 letters, digits, '.', '_' or '-', and start with a letter or digit"
    if task.operator not in OPERATORS:
        yield f"operator {task.operator!r} is not one of: {', '.join(sorted(OPERATORS))}"
    if task.operator in ASKING - {"manual_hpc"}:
        yield from _asking_problems(task)
    elif not task.command:
        yield "command is empty"
    if task.backend is not None and not SLUG_PATTERN.fullmatch(task.backend):
        yield f"backend {task.backend!r} is no name of a backend: {SLUG_RULE}"
    elif task.backend is not None and task.backend not in backends:
        yield f"backend {task.backend!r} is not in config.json (it has: {', '.join(sorted(backends))})"
    for dependency in task.depends_on:
        if dependency not in outputs:
            yield f"depends_on names {dependency!r}, which is no task of this run"
    for name, source in task.inputs.items():
        yield from _input_problems(name, source, outputs)
    for name in (*task.inputs, *task.files):
        if problem := unsafe_name(name):
            yield f"file name {name!r} {problem}"
    for name, path in task.files.items():
        if PurePosixPath(path).parts[:1] == ("..",):
            yield f"files: {name!r}: {str(path)!r} leads out of the workspace (give its full path instead)"
    for name in task.inputs.keys() & task.files.keys():
        yield f"file name {name!r} is both in inputs and in files"
    for pattern in task.outputs:
        if problem := unsafe_name(pattern):
            yield f"output pattern {pattern!r} {problem}"
    if task.resources.extra:
        yield from (f"resources: extra: {problem}" for problem in rules(task.backend, task.resources))
    for name in task.env:
        if not ENV_NAME_PATTERN.fullmatch(name):
            yield f"env: {name!r} is no name of an environment variable"
    if problem := json_problem(task.params):
        yield f"params: must be JSON ({problem})"


def _asking_problems(task: Task) -> Iterator[str]:
    """What a task that no job does has no use for."""
    if task.command:
        yield f"operator {task.operator} runs no command"
    if task.backend is not None:
        yield f"operator {task.operator} uses no backend"
    if task.outputs and task.operator != "experiment":
        yield f"operator {task.operator} leaves no outputs"


def _input_problems(name: str, source: str, outputs: Mapping[TaskId, Sequence[str]]) -> Iterator[str]:
    task_id, _, path = source.partition("/")
    if not path:
        yield f"input {name!r}: {source!r} must be TASK/FILE"
    elif task_id not in outputs:
        yield f"input {name!r}: {task_id!r} is no task of this run"
    elif problem := unsafe_name(path):
        yield f"input {name!r}: {source!r} {problem}"
    elif not any(matches(path, pattern) for pattern in outputs[TaskId(task_id)]):
        have = ", ".join(outputs[TaskId(task_id)]) or "none"
        yield f"input {name!r}: {path!r} matches no output of {task_id!r} (it has: {have})"


def unsafe_name(name: str) -> str | None:
    """Say why a name is not a plain relative path inside an attempt's folder, or None.

    >>> unsafe_name("../x")
    "must not hold '..'"
    """
    if not name or "\0" in name or "\n" in name:
        return "must be a non-empty single line"
    try:
        normal = normal_name(name)
    except UnusableNameError as error:
        return str(error)
    if normal.partition("/")[0] in RESERVED_NAMES:
        return "is a name that MatterStack itself uses"
    return None


def find_cycle(tasks: Sequence[Task]) -> list[TaskId]:
    """Return the ids along one dependency cycle, or an empty list.

    Depth-first without recursion, so that a chain of 10,000 tasks is no problem; O(tasks + edges).
    """
    edges = {task.id: task.dependencies() for task in tasks}
    done: set[TaskId] = set()
    for start, onwards in edges.items():
        path: dict[TaskId, Iterator[TaskId]] = {} if start in done else {start: iter(onwards)}
        while path:
            node = next(reversed(path))
            for onward in path[node]:
                if onward in path:
                    ids = list(path)
                    return ids[ids.index(onward) :]
                if onward in edges and onward not in done:
                    path[onward] = iter(edges[onward])
                    break
            else:
                done.add(node)
                del path[node]
    return []
