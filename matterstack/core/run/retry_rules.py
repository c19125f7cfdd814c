"""Why an attempt failed, and whether its task is tried again."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Final

import attrs

from matterstack.core.ids import TaskId
from matterstack.core.model.resources import Resources
from matterstack.core.run.state import RunState, TaskState
from matterstack.core.states import FailureKind, JobState, TaskStatus

PROLOGUE_FAILED: Final = "PROLOGUE_FAILED"
"""The raw state of a job whose command never began, since a line of its prologue failed."""

_KINDS: Final[Mapping[str, FailureKind]] = {
    "TIMEOUT": FailureKind.TIMEOUT,
    "DEADLINE": FailureKind.TIMEOUT,
    "OUT_OF_MEMORY": FailureKind.OUT_OF_MEMORY,
    "NODE_FAIL": FailureKind.NODE_FAIL,
    "BOOT_FAIL": FailureKind.NODE_FAIL,
    "PREEMPTED": FailureKind.PREEMPTED,
    PROLOGUE_FAILED: FailureKind.ENVIRONMENT,
}

_IN_VAIN_JOBS: Final = frozenset({JobState.COMPLETED_ERROR, JobState.LOST})
_IN_VAIN: Final = frozenset({TaskStatus.FAILED, TaskStatus.SKIPPED, TaskStatus.CANCELLED})


def failure_kind(state: JobState, raw_state: str) -> FailureKind:
    """Name the kind of a failure.

    >>> failure_kind(JobState.COMPLETED_ERROR, "TIMEOUT")
    <FailureKind.TIMEOUT: 'timeout'>
    """
    if state is JobState.LOST:
        return FailureKind.LOST
    return _KINDS.get(raw_state, FailureKind.ERROR)


def may_retry(state: RunState, task: TaskState, kind: FailureKind) -> bool:
    """Whether a task that failed in this way has a try left.

    Not when a task that it depends on has failed meanwhile (a person had that one run again): it would wait
    for ever.
    """
    return (
        kind in task.task.retry_on
        and task.tries <= task.task.retries
        and failed_dependency(state, task) is None
    )


def failed_dependency(state: RunState, task: TaskState, reopened: Container[TaskId] = ()) -> TaskId | None:
    """A task that this one waits for in vain; those that are about to be reopened are none.

    One that is being cancelled may end well in time; nobody counts on that.
    """
    for task_id in task.task.dependencies():
        other = state.tasks[task_id]
        is_in_vain = other.status in _IN_VAIN or task_id in state.being_cancelled
        if task_id not in reopened and is_in_vain and not other.satisfies_dependents:
            return task_id
    return None


def resources_of_next(task: TaskState) -> Resources:
    """What the next attempt asks for: more of what the last one lacked, where the task wants that.

    That goes for the first attempt after a person's retry too.  After an attempt that ended well it starts
    from the task's definition, and so does what was amended since the last attempt was prepared.  What was
    given up before it began lacked nothing: what it had reached stays.
    """
    asked, last = task.task.resources, task.last_attempt
    if last is None or last.state is None:
        return asked
    if task.tries == 0 and last.state not in _IN_VAIN_JOBS and last.resubmission is None:
        return asked
    kind = failure_kind(last.state, last.raw_state)
    before = asked if last.definition is None else last.definition.resources
    reached = attrs.evolve(
        asked,
        walltime_s=last.resources.walltime_s if before.walltime_s == asked.walltime_s else asked.walltime_s,
        memory_mib=last.resources.memory_mib if before.memory_mib == asked.memory_mib else asked.memory_mib,
    )
    return reached.grown(
        walltime=kind is FailureKind.TIMEOUT and before.walltime_s == asked.walltime_s,
        memory=kind is FailureKind.OUT_OF_MEMORY and before.memory_mib == asked.memory_mib,
    )
