"""Decisions about what people ask for: start, pause, resume, cancel, retry, rerun."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import attrs

from matterstack.core.errors import IllegalTransitionError, NotFoundError, RefusedError
from matterstack.core.ids import TaskId
from matterstack.core.run import facts as f
from matterstack.core.run import messages as m
from matterstack.core.run.allowed import RETRIABLE_TASKS, Standing, require_allowed
from matterstack.core.run.decide_amend import amendments
from matterstack.core.run.retry_rules import failed_dependency
from matterstack.core.run.selection import Selectable, Selection, require_fitting, select
from matterstack.core.run.state import Cancellation, RunState, TaskState
from matterstack.core.states import ENDED_TASKS, OPEN_TASKS, RunStatus, TaskStatus


def decide_start(state: RunState, _message: m.Start) -> list[f.Fact]:
    """A PENDING run starts; any other goes on as it is."""
    return [f.RunStarted()] if state.status is RunStatus.PENDING and state.ending is None else []


def decide_behind(_state: RunState, message: m.Behind) -> list[f.Fact]:
    """What was lost is noted, whatever the run is: nothing of it can be had back."""
    return [f.EventsLost(head=message.head, until=message.until)]


def decide_pause(state: RunState, message: m.Pause) -> list[f.Fact]:
    """Only a RUNNING run can be paused."""
    require_allowed(Standing.of(state), "pause")
    return [f.RunPaused(by=message.by, reason=message.reason)]


def decide_resume(state: RunState, message: m.Resume) -> list[f.Fact]:
    """Only a PAUSED run can be resumed."""
    require_allowed(Standing.of(state), "resume")
    return [f.RunResumed(by=message.by)]


def decide_cancel(state: RunState, message: m.Cancel) -> list[f.Fact]:
    """Cancelling a run that is being cancelled already changes nothing."""
    require_allowed(Standing.of(state), "cancel")
    if state.ending is RunStatus.CANCELLED:
        return []
    return [f.RunCancelRequested(by=message.by, reason=message.reason)]


def decide_cancel_tasks(state: RunState, message: m.CancelTasks) -> list[f.Fact]:
    """End tasks and all that wait for them: at once what has no job, and else when that is over.

    What a person cancelled before is left as it is, and of several tasks what has ended meanwhile.
    """
    require_allowed(Standing.of(state), "cancel_tasks")
    return [_cancelled(task, why) for task, why in cancellations(state, message)]


def cancellations(state: RunState, message: m.CancelTasks) -> list[tuple[TaskState, Cancellation]]:
    """Which tasks a command to cancel some would end, each with why: those meant, then their dependents.

    Raises:
        NotFoundError: a name is none of the run's, or a pattern fits none.
        RefusedError: all that are meant have ended.
    """
    if not message.tasks:
        raise RefusedError(
            "name the tasks to cancel", hint=f"the whole run: matterstack run cancel {state.run_id}"
        )
    known = [Selectable.of(task) for task in state.tasks.values()]
    selected = select(state.run_id, known, Selection(names=tuple(message.tasks)))
    meant = [task.task_id for task in require_fitting(selected, Selection(), why_not_cancelled)]
    why = Cancellation(by=message.by, reason=message.reason)
    found = {task_id: why for task_id in meant if state.tasks[task_id].status in OPEN_TASKS}
    queue = deque((task_id, task_id) for task_id in found)
    while queue:
        source, named = queue.popleft()
        for dependent in state.dependents.get(source, ()):
            # What has ended needs nothing of it any more, nor does what waits for that alone.
            if dependent not in found and state.tasks[dependent].status in OPEN_TASKS:
                found[dependent] = attrs.evolve(why, because=named)
                queue.append((dependent, named))
    # What is being cancelled already keeps who asked for that, and why.
    return [(task, why) for t, why in found.items() if not _is_cancelled_already(task := state.tasks[t])]


def _is_cancelled_already(task: TaskState) -> bool:
    return task.cancellation is not None and not task.cancellation.lets_job_end


def why_not_cancelled(task: Selectable) -> str | None:
    """Why a task cannot be cancelled, to be read after "task t1"; None: it can, or it was."""
    if task.status in OPEN_TASKS or task.status is TaskStatus.CANCELLED:
        return None
    return f"is {task.status} already: only what has not ended can be cancelled"


def _cancelled(task: TaskState, why: Cancellation) -> f.Fact:
    task_id = task.task.id
    if task.status is TaskStatus.ACTIVE:
        return f.TaskCancelRequested(task_id=task_id, by=why.by, reason=why.reason, because=why.because)
    return f.TaskCancelled(task_id=task_id, reason=why.reason, by=why.by, because=why.because)


def decide_amend_about(_state: RunState, message: m.AmendAbout) -> list[f.Fact]:
    """What people say of a run they may say in every state, also after its end."""
    return [f.AboutChanged(by=message.by, about=message.about, reason=message.reason)]


def decide_fail(state: RunState, message: m.Fail) -> list[f.Fact]:
    """A run that cannot be served any longer ends, but a cancellation goes on as one."""
    if state.has_ended or state.ending is not None:
        return []
    return [f.RunFailureRequested(reason=message.reason)]


def decide_retry(state: RunState, message: m.Retry) -> list[f.Fact]:
    """Reopen failed tasks, what ended because of them, and all that the run's end cancelled.

    The last ones did not fail: they go on with the run, whichever failed tasks are named.  What a person
    cancelled stays so until it is named.  What changes of the tasks' definitions is changed first, so that
    their next attempts are as it says.
    """
    require_allowed(Standing.of(state), "retry")
    chosen = _chosen(state, message)
    meant = [*(message.tasks or _failures(state))]
    if not chosen and state.status is not RunStatus.FAILED:
        raise RefusedError(
            f"run {state.run_id} is {state.status} and has no failed task to retry",
            hint=f"to do tasks again that have ended well: matterstack run rerun {state.run_id} TASK...",
        )
    if message.changes and not meant:
        raise RefusedError(
            f"run {state.run_id} has no failed task that could be changed",
            hint=f"as it is: matterstack run retry {state.run_id}; what has not begun: matterstack run amend "
            f"{state.run_id} --waiting --set PATH=VALUE",
        )
    amended = amendments(state, meant, message.changes, message.by, message.reason) if message.changes else []
    run_fact: list[f.Fact] = [f.RunReopened(by=message.by)] if state.has_ended else []
    tasks = _that_can_run(state, message.tasks, [*chosen, *_behind(state, chosen, _ended_with_another)])
    return [
        *run_fact,
        *amended,
        *(f.TaskReopened(task_id=task_id, by=message.by, reason=message.reason) for task_id in tasks),
    ]


def _chosen(state: RunState, message: m.Retry) -> list[TaskId]:
    cancelled = _cancelled_with_the_run(state)
    if not message.tasks:
        return [*_failures(state), *cancelled]
    for task_id in message.tasks:
        task = state.tasks.get(task_id)
        if task is None:
            raise NotFoundError(f"run {state.run_id} has no task {task_id!r}")
        if task.status not in RETRIABLE_TASKS:
            hint = "only failed tasks can be retried"
            if task.status in ENDED_TASKS:
                hint += f"; to do it again all the same: matterstack run rerun {state.run_id} {task_id}"
            raise IllegalTransitionError(f"task {task_id}", task.status, TaskStatus.READY, hint=hint)
    return list(dict.fromkeys((*message.tasks, *cancelled)))


def _failures(state: RunState) -> list[TaskId]:
    """What keeps the run from completing; where nothing does, what failed in spite of ``allow_failure``."""
    if state.hard_failures or state.status is RunStatus.FAILED:
        return list(state.hard_failures)
    return [t for t, task in state.tasks.items() if task.status is TaskStatus.FAILED]


def decide_rerun(state: RunState, message: m.Rerun) -> list[f.Fact]:
    """Reopen ended tasks, whatever their end was, and tasks that were skipped because of them.

    Their earlier attempts stay as they were.  A COMPLETED or FAILED run is reopened with them.
    """
    require_allowed(Standing.of(state), "rerun")
    chosen = _ended(state, message.tasks)
    if message.recursive:
        _refuse_active_behind(state, chosen)
    behind = _behind(state, chosen, _may_follow if message.recursive else _ended_with_another)
    cancelled = _cancelled_with_the_run(state)
    tasks = _that_can_run(state, chosen, [*chosen, *behind, *cancelled])
    run_fact: list[f.Fact] = [f.RunReopened(by=message.by)] if state.has_ended else []
    return [*run_fact, *(f.TaskReopened(task_id=task_id, by=message.by) for task_id in tasks)]


def _cancelled_with_the_run(state: RunState) -> list[TaskId]:
    cancelled = ((t, task) for t, task in state.tasks.items() if task.status is TaskStatus.CANCELLED)
    return [task_id for task_id, task in cancelled if task.cancellation is None]


def _ended_with_another(task: TaskState) -> bool:
    """Whether a task ended only because one that it depends on did."""
    is_cancelled_so = task.cancellation is not None and task.cancellation.because is not None
    return task.status is TaskStatus.SKIPPED or (task.status is TaskStatus.CANCELLED and is_cancelled_so)


def _may_follow(task: TaskState) -> bool:
    """Whether an ended task is done again with one that it depends on; not if it was cancelled by name."""
    if task.status is TaskStatus.CANCELLED:
        return task.cancellation is None or _ended_with_another(task)
    return task.status in ENDED_TASKS


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


def _refuse_active_behind(state: RunState, task_ids: Sequence[TaskId]) -> None:
    for task_id in _behind(state, task_ids, lambda task: task.status is TaskStatus.ACTIVE):
        raise IllegalTransitionError(
            f"task {task_id}, which depends on what is to be rerun,",
            TaskStatus.ACTIVE,
            TaskStatus.WAITING,
            hint="wait until it has ended, or rerun without --recursive",
        )


def _behind(
    state: RunState, sources: Sequence[TaskId], is_wanted: Callable[[TaskState], bool]
) -> list[TaskId]:
    """Wanted tasks that depend on these, directly or not, the nearest ones first."""
    seen = set(sources)
    queue = deque(sources)
    found: list[TaskId] = []
    while queue:
        for dependent in state.dependents.get(queue.popleft(), ()):
            if dependent not in seen:
                seen.add(dependent)
                queue.append(dependent)
                if is_wanted(state.tasks[dependent]):
                    found.append(dependent)
    return found


def _that_can_run(state: RunState, named: Sequence[TaskId], candidates: Sequence[TaskId]) -> list[TaskId]:
    """Leave out what another failure holds back as well: it would wait for ever, and its run with it.

    Raises:
        RefusedError: that goes for a task which a person named.
    """
    left = dict.fromkeys(candidates)
    queue = list(left)
    while queue:
        task_id = queue.pop()
        if task_id not in left:
            continue
        culprit = failed_dependency(state, state.tasks[task_id], left)
        if culprit is None:
            continue
        if task_id in named:
            how, hint = state.tasks[culprit].status.value, f"name {culprit} instead, or as well"
            if culprit in state.being_cancelled:
                how, hint = "being cancelled", f"name {culprit} as well, when its job is over"
            raise RefusedError(f"task {task_id} depends on task {culprit}, which is {how}", hint=hint)
        del left[task_id]
        queue.extend(state.dependents.get(task_id, ()))
    return list(left)
