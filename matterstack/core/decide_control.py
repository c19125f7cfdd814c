"""Decisions about what people ask for: start, pause, resume, cancel, retry."""

from __future__ import annotations

from collections.abc import Sequence

from matterstack.core import facts as f
from matterstack.core import messages as m
from matterstack.core.errors import IllegalTransitionError, NotFoundError, RefusedError
from matterstack.core.ids import TaskId
from matterstack.core.run_state import RunState
from matterstack.core.states import ENDED_TASKS, RUN_TRANSITIONS, RunStatus, TaskStatus, require_transition

_UNMET = frozenset({TaskStatus.FAILED, TaskStatus.SKIPPED, TaskStatus.CANCELLED})


def _require(state: RunState, status: RunStatus, hint: str = "") -> None:
    what = f"run {state.run_id}"
    if state.ending is not None:
        raise IllegalTransitionError(f"{what} is {state.status_reason}; it", state.status, status, hint=hint)
    require_transition(what, RUN_TRANSITIONS, state.status, status)


def decide_start(state: RunState, _message: m.Start) -> list[f.Fact]:
    """A PENDING run starts; any other goes on as it is."""
    return [f.RunStarted()] if state.status is RunStatus.PENDING and state.ending is None else []


def decide_pause(state: RunState, message: m.Pause) -> list[f.Fact]:
    """Only a RUNNING run can be paused."""
    _require(state, RunStatus.PAUSED)
    return [f.RunPaused(by=message.by, reason=message.reason)]


def decide_resume(state: RunState, message: m.Resume) -> list[f.Fact]:
    """Only a PAUSED run can be resumed."""
    _require(state, RunStatus.RUNNING)
    if state.status is not RunStatus.PAUSED:
        raise IllegalTransitionError(
            f"run {state.run_id}", state.status, RunStatus.RUNNING, hint="only a PAUSED run can be resumed"
        )
    return [f.RunResumed(by=message.by)]


def decide_cancel(state: RunState, message: m.Cancel) -> list[f.Fact]:
    """Cancelling a run that is being cancelled already changes nothing."""
    if state.ending is RunStatus.CANCELLED:
        return []
    if not state.has_ended and state.ending is RunStatus.FAILED:
        return [f.RunCancelRequested(by=message.by, reason=message.reason)]
    if state.has_ended:
        raise IllegalTransitionError(f"run {state.run_id}", state.status, RunStatus.CANCELLED)
    return [f.RunCancelRequested(by=message.by, reason=message.reason)]


def decide_fail(state: RunState, message: m.Fail) -> list[f.Fact]:
    """A run that cannot be served any longer ends, but a cancellation goes on as one."""
    if state.has_ended or state.ending is not None:
        return []
    return [f.RunFailureRequested(reason=message.reason)]


def decide_retry(state: RunState, message: m.Retry) -> list[f.Fact]:
    """Reopen failed tasks, tasks that were skipped because of them, and all that the run's end cancelled.

    The cancelled ones did not fail: they go on with the run, whichever failed tasks are named.
    """
    reopens = state.status is RunStatus.FAILED
    if not reopens and (state.has_ended or state.ending is not None):
        raise IllegalTransitionError(
            f"run {state.run_id}", state.status, RunStatus.RUNNING, hint="only a FAILED run can be retried"
        )
    chosen = _chosen(state, message)
    if not reopens and not chosen:
        raise RefusedError(f"run {state.run_id} is {state.status} and has no failed task to retry")
    run_fact: list[f.Fact] = [f.RunReopened(by=message.by)] if reopens else []
    tasks = [*chosen, *_held_back_by(state, chosen)]
    return [*run_fact, *(f.TaskReopened(task_id=task_id, by=message.by) for task_id in tasks)]


def _chosen(state: RunState, message: m.Retry) -> list[TaskId]:
    cancelled = (t for t, task in state.tasks.items() if task.status is TaskStatus.CANCELLED)
    if not message.tasks:
        return [*state.hard_failures, *cancelled]
    for task_id in message.tasks:
        task = state.tasks.get(task_id)
        if task is None:
            raise NotFoundError(f"run {state.run_id} has no task {task_id!r}")
        if task.status not in {TaskStatus.FAILED, TaskStatus.CANCELLED}:
            raise IllegalTransitionError(
                f"task {task_id}", task.status, TaskStatus.READY, hint="only failed tasks can be retried"
            )
    return list(dict.fromkeys((*message.tasks, *cancelled)))


def decide_rerun(state: RunState, message: m.Rerun) -> list[f.Fact]:
    """Reopen ended tasks, whatever their end was, and tasks that were skipped because of them.

    Their earlier attempts stay as they were.  A COMPLETED or FAILED run is reopened with them.
    """
    if state.status is RunStatus.CANCELLED or state.ending is not None:
        raise IllegalTransitionError(
            f"run {state.run_id}", state.status, RunStatus.RUNNING, hint="nothing reopens a cancelled run"
        )
    chosen = _ended(state, message.tasks)
    if message.recursive:
        chosen = _with_dependents(state, chosen)
    cancelled = [t for t, task in state.tasks.items() if task.status is TaskStatus.CANCELLED]
    tasks = list(dict.fromkeys((*chosen, *_held_back_by(state, chosen), *cancelled)))
    run_fact: list[f.Fact] = [f.RunReopened(by=message.by)] if state.has_ended else []
    return [*run_fact, *(f.TaskReopened(task_id=task_id, by=message.by) for task_id in tasks)]


def _ended(state: RunState, task_ids: Sequence[TaskId]) -> list[TaskId]:
    for task_id in task_ids:
        task = state.tasks.get(task_id)
        if task is None:
            raise NotFoundError(f"run {state.run_id} has no task {task_id!r}")
        if task.status not in ENDED_TASKS:
            raise IllegalTransitionError(
                f"task {task_id}",
                task.status,
                TaskStatus.READY,
                hint="only tasks that have ended can be rerun",
            )
    if not task_ids:
        raise RefusedError("name the tasks to run again")
    return list(dict.fromkeys(task_ids))


def _with_dependents(state: RunState, task_ids: Sequence[TaskId]) -> list[TaskId]:
    """All ended tasks behind these, in the order in which they are reached."""
    found = dict.fromkeys(task_ids)
    queue = list(task_ids)
    while queue:
        for dependent in state.dependents.get(queue.pop(), ()):
            if dependent not in found and state.tasks[dependent].status in ENDED_TASKS:
                found[dependent] = None
                queue.append(dependent)
    return list(found)


def _held_back_by(state: RunState, chosen: list[TaskId]) -> list[TaskId]:
    """Skipped tasks behind the chosen ones, without those that another failure holds back as well."""
    named = frozenset(chosen)
    behind: dict[TaskId, None] = dict.fromkeys(chosen)
    queue = list(chosen)
    while queue:
        for dependent in state.dependents.get(queue.pop(), ()):
            if dependent not in behind and state.tasks[dependent].status is TaskStatus.SKIPPED:
                behind[dependent] = None
                queue.append(dependent)
    stuck = [task_id for task_id in behind if task_id not in named and _blocked(state, task_id, behind)]
    while stuck:
        task_id = stuck.pop()
        if behind.pop(task_id, task_id) is None:
            dependents = state.dependents.get(task_id, ())
            stuck.extend(d for d in dependents if d in behind and d not in named)
    return [task_id for task_id in behind if task_id not in named]


def _blocked(state: RunState, task_id: TaskId, reopened: dict[TaskId, None]) -> bool:
    dependencies = (state.tasks[d] for d in state.tasks[task_id].task.dependencies() if d not in reopened)
    return any(d.status in _UNMET and not d.satisfies_dependents for d in dependencies)
