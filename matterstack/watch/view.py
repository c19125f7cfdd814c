"""What is looked at, and what a key makes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, TypeAlias

import attrs

from matterstack.core.errors import MatterStackError, UsageError
from matterstack.core.ids import RunId
from matterstack.core.run.allowed import RETRIABLE_TASKS
from matterstack.core.states import TaskStatus
from matterstack.watch.known import Known, is_open, log_path, refusal, run_path
from matterstack.watch.shown_change import ShownChange
from matterstack.watch.tasks import ATTENTION
from matterstack.watch.typed_change import TypedChange


class Screen(StrEnum):
    """What fills the terminal at this moment."""

    RUNS = "runs"
    RUN = "run"
    TASK = "task"
    LOG = "log"
    EXPLAIN = "explain"


@attrs.frozen
class Quit:
    """The wish to leave the terminal view."""


@attrs.frozen
class SentCommand:
    """Ask the monitor for something."""

    command: str
    run_id: str


@attrs.frozen
class Look:
    """Ask the monitor what a command would change.

    Attributes:
        line: what was typed, to be typed on where it is refused.
    """

    command: str
    run_id: str
    fields: Mapping[str, Any]
    line: TypedChange | None = None


@attrs.frozen
class Agree:
    """Have done what was shown."""

    change: ShownChange


Action: TypeAlias = Quit | SentCommand | Look | Agree

FILTERS: Final[Sequence[tuple[str, frozenset[TaskStatus]]]] = (
    ("all", frozenset(ATTENTION)),
    ("active", frozenset({TaskStatus.ACTIVE})),
    ("waiting", frozenset({TaskStatus.READY, TaskStatus.WAITING})),
    ("failed", frozenset({TaskStatus.FAILED, TaskStatus.SKIPPED, TaskStatus.CANCELLED})),
    ("succeeded", frozenset({TaskStatus.SUCCEEDED})),
)
PRINTING: Final = frozenset({"compute", "manual_hpc"})
"""Operators whose attempts print something."""
COMMANDS: Final = {"p": "pause", "r": "resume", "c": "cancel"}
CHANGES: Final = {"a": "amend", "t": "retry", "f": "amend_config", "n": "replan"}
_OF_WHOLE_RUN: Final = frozenset({"amend_config", "replan"})
CANCEL_TASK: Final = "x"
_STEPS: Final = {"up": -1, "k": -1, "down": 1, "j": 1}
_SCROLLS: Final = frozenset({*_STEPS, "page up", "page down", "home", "end"})


@attrs.frozen(kw_only=True)
class View:
    """What is looked at, and how.

    Attributes:
        run_id: the run that is selected or open; None: the first one.
        task_id: the task that is selected or open; None: the first one.
        only: index into `FILTERS`: which tasks are listed.
        scroll: how many lines of a text are above what is shown; of a log: below it.
        stream: what of a task's output is shown, ``stdout`` or ``stderr``.
        back: where escape leads, the last one first.
        asked: a command that is carried out if the next key is y.
        shown: a change that was shown, and is made if the next key is y; those that scroll move it.
        above: how many lines of it are above what is in sight.
        line: what somebody types now: all keys go there.
        notice: what became of the last command, or what went wrong.
    """

    screen: Screen = Screen.RUNS
    run_id: str | None = None
    task_id: str | None = None
    only: int = 0
    scroll: int = 0
    stream: str = "stdout"
    back: tuple[Screen, ...] = ()
    asked: SentCommand | None = None
    shown: ShownChange | None = None
    above: int = 0
    line: TypedChange | None = None
    notice: str = ""


def selected_run(view: View, known: Known) -> str | None:
    """The run that keys are about; the newest one where none was chosen."""
    if view.run_id in known.runs:
        return view.run_id
    return max(known.runs, default=None) if view.screen is Screen.RUNS else view.run_id


def listed_tasks(view: View, known: Known) -> Sequence[str]:
    """Ids of the tasks that are listed, in the order in which they are."""
    tasks = known.tasks_of(view.run_id)
    return [] if tasks is None else [task.task_id for task in tasks.sorted(FILTERS[view.only][1])]


def selected_task(view: View, known: Known) -> str | None:
    """The task that keys are about."""
    if view.screen in {Screen.TASK, Screen.LOG}:
        return view.task_id
    listed = listed_tasks(view, known)
    task = known.task(view.run_id, view.task_id)
    if task is not None and task.status in FILTERS[view.only][1]:
        return task.task_id
    return listed[0] if listed else None


def wanted_documents(view: View, known: Known) -> list[str]:
    """Paths of the monitor's documents that are looked at, beside the runs and the tasks."""
    run_id = selected_run(view, known)
    run = known.runs.get(run_id or "")
    if run_id is None or run is None:
        return []
    paths = []
    if is_open(run) or view.screen is Screen.EXPLAIN:
        paths.append(run_path(run_id, "explain"))
    if view.screen is Screen.RUN and run["questions"]:
        paths.append(run_path(run_id, "questions"))
    task = known.task(view.run_id, view.task_id)
    prints = task is not None and task.attempts and task.operator in PRINTING
    if view.screen in {Screen.TASK, Screen.LOG} and task is not None and prints:
        paths.append(log_path(run_id, task.task_id, view.stream))
    return paths


def opened_run(view: View) -> str | None:
    """The run whose tasks are needed."""
    return None if view.screen is Screen.RUNS else view.run_id


# ---- keys ----


def press(view: View, known: Known, key: str, rows: int) -> tuple[View, Action | None]:
    """What a key makes of it, and what is to be done.

    Args:
        rows: how many rows a page has.
    """
    view = attrs.evolve(view, notice="")
    if view.asked is not None:
        command = view.asked
        return attrs.evolve(view, asked=None), command if key in {"y", "Y"} else None
    if view.shown is not None and key in _SCROLLS:
        return attrs.evolve(view, above=_scrolled(view.above, key, rows)), None
    if view.shown is not None:
        change = view.shown
        return attrs.evolve(view, shown=None, above=0), Agree(change) if key in {"y", "Y"} else None
    if view.line is not None:
        return _type(view, view.line, key)
    if key == "q":
        return view, Quit()
    if key in COMMANDS:
        return _ask(view, known, COMMANDS[key]), None
    if key in CHANGES:
        return _begin_line(view, known, CHANGES[key]), None
    if key == CANCEL_TASK and view.screen in {Screen.RUN, Screen.TASK}:
        return _cancel_task(view, known)
    if key in {"escape", "backspace"}:
        return _back(view), None
    if key == "e" and view.screen is not Screen.EXPLAIN:
        return _open(attrs.evolve(view, run_id=selected_run(view, known)), Screen.EXPLAIN), None
    if view.screen is Screen.RUNS:
        return _press_in_runs(view, known, key, rows), None
    if view.screen is Screen.RUN:
        return _press_in_run(view, known, key, rows), None
    return _press_in_text(view, key, rows), None


def is_offered(view: View, known: Known, key: str) -> bool:
    """Whether the run that keys are about can be told what a key stands for; others always do something."""
    command = {**COMMANDS, **CHANGES, CANCEL_TASK: "cancel_tasks"}.get(key)
    run = known.runs.get(selected_run(view, known) or "")
    return command is None or (run is not None and refusal(run, command) is None)


def _ask(view: View, known: Known, command: str) -> View:
    run_id = selected_run(view, known)
    run = known.runs.get(run_id or "")
    if run_id is None or run is None:
        return view
    if (problem := refusal(run, command)) is not None:
        return attrs.evolve(view, notice=problem)
    return attrs.evolve(view, asked=SentCommand(command, run_id))


def _begin_line(view: View, known: Known, command: str) -> View:
    """Begin to type what is to change: of the selected task, of those that failed, or of the whole run."""
    run_id = selected_run(view, known)
    run = known.runs.get(run_id or "")
    if run_id is None or run is None:
        return view
    if (problem := refusal(run, command)) is not None:
        return attrs.evolve(view, notice=problem)
    if command in _OF_WHOLE_RUN:
        return attrs.evolve(view, line=TypedChange(command, run_id))
    task_id = _task_meant(view, known)
    task = known.task(run_id, task_id)
    is_meant = task is not None and (command != "retry" or task.status in RETRIABLE_TASKS)
    return attrs.evolve(view, line=TypedChange(command, run_id, f"{task_id} " if is_meant else "--failed "))


def _type(view: View, line: TypedChange, key: str) -> tuple[View, Action | None]:
    if key == "escape":
        return attrs.evolve(view, line=None), None
    if key != "enter":
        return attrs.evolve(view, line=line.typed(key)), None
    try:
        fields = line.fields()
    except UsageError as error:
        return attrs.evolve(view, notice=told_error(error)), None
    return attrs.evolve(view, line=None), Look(line.command, line.run_id, fields, line)


def _cancel_task(view: View, known: Known) -> tuple[View, Action | None]:
    run_id, task_id = selected_run(view, known), _task_meant(view, known)
    run = known.runs.get(run_id or "")
    if run_id is None or run is None or task_id is None:
        return view, None
    if (problem := refusal(run, "cancel_tasks")) is not None:
        return attrs.evolve(view, notice=problem), None
    return view, Look("cancel_tasks", run_id, {"tasks": [task_id]})


def _task_meant(view: View, known: Known) -> str | None:
    return selected_task(view, known) if view.screen in {Screen.RUN, Screen.TASK, Screen.LOG} else None


def told_error(error: MatterStackError) -> str:
    """What went wrong, and what to do, in one line."""
    return f"{error} ({error.hint})" if error.hint else str(error)


def _open(view: View, screen: Screen) -> View:
    if view.run_id is None:
        return view
    return attrs.evolve(view, screen=screen, back=(view.screen, *view.back), scroll=0)


def _back(view: View) -> View:
    if view.screen is Screen.RUNS:
        return view
    screen, *back = view.back or (Screen.RUNS,)
    task_id = None if screen is Screen.RUNS else view.task_id
    return attrs.evolve(view, screen=screen, back=tuple(back), task_id=task_id, scroll=0)


def _press_in_runs(view: View, known: Known, key: str, rows: int) -> View:
    run_id = selected_run(view, known)
    if key == "enter":
        return _open(attrs.evolve(view, run_id=run_id, task_id=None, only=0), Screen.RUN)
    return attrs.evolve(view, run_id=_moved(known.newest_first, run_id, key, rows))


def _press_in_run(view: View, known: Known, key: str, rows: int) -> View:
    task_id = selected_task(view, known)
    if key in {"tab", "back tab"}:
        step = 1 if key == "tab" else -1
        return attrs.evolve(view, only=(view.only + step) % len(FILTERS), task_id=None)
    if key in {"enter", "l"}:
        chosen = attrs.evolve(view, task_id=task_id, stream="stdout")
        return view if task_id is None else _open(chosen, Screen.TASK if key == "enter" else Screen.LOG)
    return attrs.evolve(view, task_id=_moved(listed_tasks(view, known), task_id, key, rows))


def _press_in_text(view: View, key: str, rows: int) -> View:
    if key == "s" and view.screen in {Screen.TASK, Screen.LOG}:
        return attrs.evolve(view, stream="stderr" if view.stream == "stdout" else "stdout", scroll=0)
    if key in {"l", "enter"} and view.screen is Screen.TASK:
        return _open(view, Screen.LOG)
    # Output is read from its end, so there up means more lines below.
    up = 1 if view.screen in {Screen.TASK, Screen.LOG} else -1
    if key not in _SCROLLS:
        return view
    return attrs.evolve(view, scroll=_scrolled(view.scroll, key, rows, up=up))


def _scrolled(lines: int, key: str, rows: int, *, up: int = -1) -> int:
    """So many lines out of sight after a key; ``up``: -1 if they are above, 1 if they are below."""
    steps = {"page up": -rows, "page down": rows, "home": -(10**9), "end": 10**9, **_STEPS}
    return max(0, lines - up * steps[key])


def _moved(ids: Sequence[str], selected: str | None, key: str, rows: int) -> str | None:
    """The id so many rows further up or down."""
    steps = {"page up": -rows, "page down": rows, "home": -len(ids), "end": len(ids), **_STEPS}
    if not ids or key not in steps:
        return selected
    index = ids.index(selected) if selected in ids else 0
    return ids[max(0, min(len(ids) - 1, index + steps[key]))]


def run_of(text: str) -> View:
    """The view that begins with a run."""
    return View(screen=Screen.RUN, run_id=RunId(text))
