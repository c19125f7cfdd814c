"""``graph.svg``: the tasks and what they depend on.

A small graph shows each task.  In a larger one a box stands for all tasks of an iteration at the same depth,
and the largest show iterations only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Patch

from matterstack.core.ids import TaskId
from matterstack.core.run_state import TaskState
from matterstack.core.states import TaskStatus
from matterstack.evidence.drawing import COLORS, FAINT, INK, shortened, svg
from matterstack.evidence.view import View

GRAPH: Final = "graph.svg"
MOST_TASKS: Final = 40
MOST_BOXES: Final = 40
MOST_ABREAST: Final = 8

STATUS_COLORS: Final = {
    TaskStatus.SUCCEEDED: COLORS["ended well"],
    TaskStatus.FAILED: COLORS["failed"],
    TaskStatus.ACTIVE: COLORS["running"],
    TaskStatus.READY: COLORS["waiting"],
    TaskStatus.WAITING: COLORS["not started"],
    TaskStatus.CANCELLED: COLORS["cancelled"],
    TaskStatus.SKIPPED: "#bcccdc",
}

_Key = tuple[int, ...]


@attrs.define
class _Box:
    """One or more tasks."""

    level: int
    lines: list[str]
    counts: Counter[TaskStatus]
    x: float = 0.0
    y: float = 0.0


def graph_svg(view: View) -> bytes:
    """Draw it."""
    tasks = view.history.state.tasks
    if not tasks:
        return svg("graph", 9, 1.2, _draw_nothing)
    boxes, edges = _layout(tasks)
    rows: dict[int, list[_Box]] = {}
    for box in boxes.values():
        rows.setdefault(box.level, []).append(box)
    height = _place(rows, edges, boxes)
    return svg("graph", 9, height, lambda figure: _draw(figure, height, boxes, edges))


def _draw_nothing(figure: Figure) -> None:
    figure.text(0.5, 0.5, "nothing has been planned", ha="center", va="center")


def _layout(tasks: Mapping[TaskId, TaskState]) -> tuple[dict[Any, _Box], list[tuple[Any, Any]]]:
    depths = _depths(tasks)
    levels = {level: place for place, level in enumerate(sorted(set(depths.values())))}
    if len(tasks) <= MOST_TASKS:
        boxes = {
            task_id: _Box(levels[depths[task_id]], [shortened(task_id, 22)], Counter([task.status]))
            for task_id, task in tasks.items()
        }
        return boxes, _edges(tasks, lambda task: task.task.id)
    if len(levels) <= MOST_BOXES:
        return _grouped(tasks, lambda task: depths[task.task.id])
    return _grouped(tasks, lambda task: (task.iteration,))


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


def _edges(tasks: Mapping[TaskId, TaskState], key_of: Any) -> list[tuple[Any, Any]]:  # noqa: ANN401
    edges = {
        (key_of(tasks[dependency]), key_of(task)): None
        for task in tasks.values()
        for dependency in task.task.dependencies()
        if dependency in tasks
    }
    return [(start, end) for start, end in edges if start != end]


def _grouped(
    tasks: Mapping[TaskId, TaskState],
    key_of: Any,  # noqa: ANN401
) -> tuple[dict[Any, _Box], list[tuple[Any, Any]]]:
    groups: dict[_Key, list[TaskState]] = {}
    for task in tasks.values():
        groups.setdefault(key_of(task), []).append(task)
    keys = sorted(groups)
    if len(keys) > MOST_BOXES:
        # The first and the last iterations; what lies between them looks like them.
        half = MOST_BOXES // 2
        kept = {*keys[:half], *keys[-half:]}
        left_out = [task for key in keys if key not in kept for task in groups[key]]
        middle = keys[half]
        groups = {key: group for key, group in groups.items() if key in kept} | {middle: left_out}
        keys = sorted(groups)
        names = {middle: f"{len({t.iteration for t in left_out})} iterations between"}
    else:
        names = {}
    boxes = {
        key: _Box(
            level,
            [names.get(key) or _group_name(key, groups[key]), _counted(groups[key])],
            Counter(task.status for task in groups[key]),
        )
        for level, key in enumerate(keys)
    }
    edges = [(a, b) for a, b in _edges(tasks, key_of) if a in boxes and b in boxes]
    return boxes, edges


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


def _counted(group: Sequence[TaskState]) -> str:
    counts = Counter(task.status for task in group)
    parts = [f"{counts[status]} {status}" for status in STATUS_COLORS if counts[status]]
    return f"{len(group)} tasks: {', '.join(parts)}" if len(group) > 1 else parts[0]


# ---- places ----


def _place(
    rows: Mapping[int, list[_Box]], edges: Sequence[tuple[Any, Any]], boxes: Mapping[Any, _Box]
) -> float:
    """Give every box its place, below what it depends on; returns the height of the picture, in inches."""
    above: dict[int, list[_Box]] = {}
    for start, end in edges:
        above.setdefault(id(boxes[end]), []).append(boxes[start])
    y = 0.35
    for level in sorted(rows):
        row = sorted(rows[level], key=lambda box: _mean_x(above.get(id(box), ())))
        for start in range(0, len(row), MOST_ABREAST // 2):
            line = row[start : start + MOST_ABREAST // 2]
            tall = 0.3 if len(line[0].lines) == 1 else 0.48
            for place, box in enumerate(line):
                box.x, box.y = 9 * (place + 0.5) / len(line), y + tall / 2
            y += tall + 0.12
        y += 0.22
    return y + 0.05


def _mean_x(boxes: Sequence[_Box]) -> float:
    return sum(box.x for box in boxes) / len(boxes) if boxes else 0.0


def _draw(figure: Figure, height: float, boxes: Mapping[Any, _Box], edges: Sequence[tuple[Any, Any]]) -> None:
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_xlim(0, 9)
    axes.set_ylim(height, 0)
    axes.set_axis_off()
    for start, end in edges:
        a, b = boxes[start], boxes[end]
        down = 1 if b.y >= a.y else -1
        axes.annotate(
            "",
            xy=(b.x, b.y - down * _half_height(b)),
            xytext=(a.x, a.y + down * _half_height(a)),
            zorder=0,
            arrowprops={"arrowstyle": "-|>", "color": FAINT, "linewidth": 0.7, "shrinkA": 0, "shrinkB": 0},
        )
    for box in boxes.values():
        _draw_box(axes, box)
    shown = [s for s in STATUS_COLORS if any(box.counts[s] for box in boxes.values())]
    axes.legend(
        handles=[Patch(color=STATUS_COLORS[status], label=status.value) for status in shown],
        loc="upper center",
        ncols=len(shown),
        fontsize=9,
        handlelength=1.2,
        borderaxespad=0.2,
    )


def _half_height(box: _Box) -> float:
    return 0.15 if len(box.lines) == 1 else 0.24


def _draw_box(axes: Any, box: _Box) -> None:  # noqa: ANN401  matplotlib's are untyped
    width = 2.1 if len(box.lines) == 1 else 4.6
    half = _half_height(box)
    left = box.x - width / 2
    axes.add_patch(
        FancyBboxPatch(
            (left, box.y - half),
            width,
            2 * half,
            boxstyle="round,pad=0,rounding_size=0.05",
            facecolor="white",
            edgecolor=FAINT,
            linewidth=0.8,
            zorder=2,
        )
    )
    _draw_shares(axes, box, left, width, half)
    for place, line in enumerate(box.lines):
        y = box.y + (0.16 * (place - (len(box.lines) - 1) / 2)) - 0.02
        axes.text(box.x + 0.03, y, line, ha="center", va="center", fontsize=8, color=INK, zorder=4)


def _draw_shares(axes: Any, box: _Box, left: float, width: float, half: float) -> None:  # noqa: ANN401
    """A strip below the text: how many of the tasks are in which status."""
    total = sum(box.counts.values())
    at = left + 0.05
    for status, color in STATUS_COLORS.items():
        share = (width - 0.1) * box.counts[status] / total
        if share:
            axes.barh(box.y + half - 0.035, share, left=at, height=0.045, color=color, linewidth=0, zorder=3)
            at += share
