"""What a picture of the tasks shows.

A small graph shows each task; tasks that need and feed the same others share a frame, and the frame has their
arrows.  In a larger one a box stands for all tasks of an iteration at the same depth, and the largest show
iterations only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Final

import attrs

from matterstack.core.ids import TaskId
from matterstack.core.run.state import TaskState
from matterstack.core.states import TaskStatus
from matterstack.evidence.figures import shortened

MOST_TASKS: Final = 40
MOST_LEVELS: Final = 40

_Key = tuple[int, ...]
_Edges = dict[tuple[Hashable, Hashable], None]


@attrs.frozen
class Box:
    """One or more tasks: lines of text, and how many of them are in which status."""

    lines: tuple[str, ...]
    counts: Counter[TaskStatus]


@attrs.frozen
class Frame:
    """Boxes that have their arrows together."""

    level: int
    iteration: int | None
    """None where the boxes say it themselves."""
    boxes: tuple[Box, ...]


@attrs.frozen
class Graph:
    """Frames, and pairs of places in them: the second needs the first, and stands on a lower level."""

    frames: tuple[Frame, ...]
    edges: tuple[tuple[int, int], ...]


def graph_of_tasks(tasks: Mapping[TaskId, TaskState], most_abreast: int) -> Graph:
    """The most detailed graph that has at most ``most_abreast`` frames on a level."""
    depths = _depths(tasks)
    if len(tasks) <= MOST_TASKS:
        graph = _of_single_tasks(tasks, depths)
        if max(Counter(frame.level for frame in graph.frames).values()) <= most_abreast:
            return graph
    if len(set(depths.values())) <= MOST_LEVELS:
        return _of_groups(tasks, lambda task: depths[task.task.id])
    return _of_groups(tasks, lambda task: (task.iteration,))


def _depths(tasks: Mapping[TaskId, TaskState]) -> dict[TaskId, _Key]:
    """Iteration, and the longest way from a task of the same iteration that depends on nothing in it."""
    depths: dict[TaskId, int] = {}
    # Not recursive: a chain may be longer than Python's stack.
    waiting = list(tasks)
    while waiting:
        task = tasks[waiting[-1]]
        inner = [d for d in task.task.dependencies() if d in tasks and tasks[d].iteration == task.iteration]
        missing = [d for d in inner if d not in depths]
        if missing:
            waiting.extend(missing)
            continue
        depths[waiting.pop()] = 1 + max((depths[d] for d in inner), default=-1)
    return {task_id: (tasks[task_id].iteration, depth) for task_id, depth in depths.items()}


def _edges(tasks: Mapping[TaskId, TaskState], key_of: Callable[[TaskState], Hashable]) -> _Edges:
    """Pairs of different keys, each once, in the order of the tasks."""
    edges: _Edges = {}
    for task in tasks.values():
        for dependency in task.task.dependencies():
            if dependency in tasks:
                start, end = key_of(tasks[dependency]), key_of(task)
                if start != end:
                    edges[start, end] = None
    return edges


def _of_single_tasks(tasks: Mapping[TaskId, TaskState], depths: Mapping[TaskId, _Key]) -> Graph:
    levels = {depth: level for level, depth in enumerate(sorted(set(depths.values())))}
    needed_by: dict[TaskId, set[TaskId]] = {task_id: set() for task_id in tasks}
    for task_id, task in tasks.items():
        for dependency in task.task.dependencies():
            if dependency in needed_by:
                needed_by[dependency].add(task_id)

    def relations(task: TaskState) -> Hashable:
        task_id = task.task.id
        return depths[task_id], frozenset(task.task.dependencies()), frozenset(needed_by[task_id])

    members: dict[Hashable, list[TaskState]] = {}
    for task in tasks.values():
        members.setdefault(relations(task), []).append(task)
    frames = [
        Frame(
            levels[depths[group[0].task.id]],
            group[0].iteration,
            tuple(Box((task.task.id,), Counter([task.status])) for task in group),
        )
        for group in members.values()
    ]
    return _joined(dict(zip(members, frames, strict=True)), _edges(tasks, relations))


def _of_groups(tasks: Mapping[TaskId, TaskState], key_of: Callable[[TaskState], _Key]) -> Graph:
    groups: dict[_Key, list[TaskState]] = {}
    for task in tasks.values():
        groups.setdefault(key_of(task), []).append(task)
    keys = sorted(groups)
    names = {key: _group_name(key, groups[key]) for key in keys}
    if len(keys) > MOST_LEVELS:
        # The first and the last iterations; what lies between them looks like them.
        half = MOST_LEVELS // 2
        kept = {*keys[:half], *keys[-half:]}
        left_out = [task for key in keys if key not in kept for task in groups[key]]
        middle = keys[half]
        groups = {key: group for key, group in groups.items() if key in kept} | {middle: left_out}
        keys = sorted(groups)
        names[middle] = f"{len({t.iteration for t in left_out})} iterations between"
    frames = {
        key: Frame(level, None, (_group_box(names[key], groups[key]),)) for level, key in enumerate(keys)
    }
    return _joined(frames, _edges(tasks, key_of))


def _joined(frames: Mapping[Hashable, Frame] | Mapping[_Key, Frame], edges: _Edges) -> Graph:
    places = {key: place for place, key in enumerate(frames)}
    return Graph(
        tuple(frames.values()),
        tuple((places[a], places[b]) for a, b in edges if a in places and b in places),
    )


def _group_box(name: str, group: Sequence[TaskState]) -> Box:
    counts = Counter(task.status for task in group)
    parts = [f"{counts[status]} {status}" for status in TaskStatus if counts[status]]
    return Box((name, f"{len(group)} tasks: {', '.join(parts)}" if len(group) > 1 else parts[0]), counts)


def _group_name(key: _Key, group: Sequence[TaskState]) -> str:
    common = _common_start([task.task.id for task in group])
    name = f"{common}…" if len(group) > 1 and len(common) >= 3 else ""
    if len(group) == 1:
        name = group[0].task.id
    where = f"iteration {key[0]}"
    return f"{where}: {shortened(name, 40)}" if name else where


def _common_start(names: Sequence[str]) -> str:
    first, last = min(names), max(names)
    same = next((n for n, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return first[:same]
