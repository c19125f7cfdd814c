"""States of runs, tasks and jobs, and the transitions between them, as data.

The documentation shows these tables, and a test compares the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, TypeVar

from matterstack.core.errors import IllegalTransitionError


class RunStatus(StrEnum):
    """Where a run stands in its life cycle."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class Phase(StrEnum):
    """What an unfinished run is doing within its iteration."""

    PLANNING = "PLANNING"
    EXECUTING = "EXECUTING"


class TaskStatus(StrEnum):
    """Where a task stands in its life cycle."""

    WAITING = "WAITING"
    READY = "READY"
    ACTIVE = "ACTIVE"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    SKIPPED = "SKIPPED"


class JobState(StrEnum):
    """What a backend knows of a job.  Every raw state of every backend maps to one of these."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    COMPLETED_OK = "COMPLETED_OK"
    COMPLETED_ERROR = "COMPLETED_ERROR"
    CANCELLED = "CANCELLED"
    LOST = "LOST"


class FailureKind(StrEnum):
    """Why an attempt failed, in the words of a task's ``retry_on``."""

    ERROR = "error"
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out_of_memory"
    NODE_FAIL = "node_fail"
    PREEMPTED = "preempted"
    LOST = "lost"
    ENVIRONMENT = "environment"


_R = RunStatus
RUN_TRANSITIONS: Final[Mapping[RunStatus, frozenset[RunStatus]]] = {
    _R.PENDING: frozenset({_R.RUNNING, _R.FAILED, _R.CANCELLED}),
    _R.RUNNING: frozenset({_R.PAUSED, _R.COMPLETED, _R.FAILED, _R.CANCELLED}),
    _R.PAUSED: frozenset({_R.RUNNING, _R.FAILED, _R.CANCELLED}),
    _R.COMPLETED: frozenset({_R.RUNNING}),
    _R.FAILED: frozenset({_R.RUNNING}),
    _R.CANCELLED: frozenset(),
}
"""From COMPLETED and FAILED only by ``run retry``, ``rerun`` and ``replan``.  CANCELLED is for ever."""

_T = TaskStatus
TASK_TRANSITIONS: Final[Mapping[TaskStatus, frozenset[TaskStatus]]] = {
    _T.WAITING: frozenset({_T.READY, _T.CANCELLED, _T.SKIPPED}),
    _T.READY: frozenset({_T.ACTIVE, _T.WAITING, _T.FAILED, _T.CANCELLED, _T.SKIPPED}),
    _T.ACTIVE: frozenset({_T.READY, _T.SUCCEEDED, _T.FAILED, _T.CANCELLED}),
    _T.SUCCEEDED: frozenset({_T.WAITING, _T.READY}),
    _T.FAILED: frozenset({_T.WAITING, _T.READY, _T.CANCELLED}),
    _T.CANCELLED: frozenset({_T.WAITING, _T.READY}),
    _T.SKIPPED: frozenset({_T.WAITING, _T.READY, _T.CANCELLED}),
}
"""Ended tasks go back to WAITING or READY only when a person retries, reruns or replans them; FAILED and
SKIPPED ones become CANCELLED where a plan that was asked for once more has them no more."""

_J = JobState
JOB_TRANSITIONS: Final[Mapping[JobState, frozenset[JobState]]] = {
    _J.QUEUED: frozenset({_J.RUNNING, _J.COMPLETED_OK, _J.COMPLETED_ERROR, _J.CANCELLED, _J.LOST}),
    _J.RUNNING: frozenset({_J.QUEUED, _J.COMPLETED_OK, _J.COMPLETED_ERROR, _J.CANCELLED, _J.LOST}),
    _J.COMPLETED_OK: frozenset(),
    _J.COMPLETED_ERROR: frozenset(),
    _J.CANCELLED: frozenset(),
    _J.LOST: frozenset(),
}
"""RUNNING goes back to QUEUED when the scheduler requeues a job."""

ENDED_RUNS: Final = frozenset({_R.COMPLETED, _R.FAILED, _R.CANCELLED})
ENDED_TASKS: Final = frozenset({_T.SUCCEEDED, _T.FAILED, _T.CANCELLED, _T.SKIPPED})
OPEN_TASKS: Final = frozenset(TaskStatus) - ENDED_TASKS
ENDED_JOBS: Final = frozenset(s for s, onward in JOB_TRANSITIONS.items() if not onward)

_State = TypeVar("_State", RunStatus, TaskStatus, JobState)


def require_transition(
    what: str, table: Mapping[_State, frozenset[_State]], old: _State, new: _State
) -> None:
    """Refuse a transition that the table does not hold.

    Raises:
        IllegalTransitionError: naming both states.

    >>> require_transition("run x", RUN_TRANSITIONS, RunStatus.CANCELLED, RunStatus.RUNNING)
    Traceback (most recent call last):
    matterstack.core.errors.IllegalTransitionError: run x is CANCELLED and cannot become RUNNING
    """
    if new not in table[old]:
        raise IllegalTransitionError(what, old.value, new.value)
