"""What a run can be told in the state that it is in: the decisions refuse by it, and every face shows it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import attrs

from matterstack.core.errors import IllegalTransitionError, RefusedError
from matterstack.core.ids import RunId
from matterstack.core.states import ENDED_RUNS, ENDED_TASKS, RUN_TRANSITIONS, RunStatus, TaskStatus

if TYPE_CHECKING:
    from matterstack.core.run.state import RunState

RETRIABLE_TASKS: Final = frozenset({TaskStatus.FAILED, TaskStatus.CANCELLED})
"""In which states a task may be named where failed tasks are given new attempts."""

Allowed: TypeAlias = dict[str, Literal[True] | str]
"""For each command True, or why not, to be read after "the run is"."""


@attrs.frozen(kw_only=True)
class Standing:
    """As much of a run as tells what it can be told; a run's row and its indexes give it at once.

    Attributes:
        ending: CANCELLED or FAILED while jobs are still to be ended.
        has_retriable: whether a task has FAILED, or was CANCELLED.
        has_ended_tasks: whether any task has ended.
        has_open_tasks: whether any has not.
        has_unsucceeded: whether there is any that has not SUCCEEDED.
        asks: whether a question waits for an answer.
        is_imported: it is evidence of a run that another root has.
    """

    run_id: RunId
    status: RunStatus
    status_reason: str
    ending: RunStatus | None
    has_retriable: bool
    has_ended_tasks: bool
    has_open_tasks: bool
    has_unsucceeded: bool
    asks: bool
    is_imported: bool = False

    @classmethod
    def of(cls, state: RunState) -> Standing:
        """Where a run in memory stands."""
        return cls(
            run_id=state.run_id,
            status=state.status,
            status_reason=state.status_reason,
            ending=state.ending,
            has_retriable=any(state.counts[status] for status in RETRIABLE_TASKS),
            has_ended_tasks=any(state.counts[status] for status in ENDED_TASKS),
            has_open_tasks=state.open_count > 0,
            has_unsucceeded=state.counts[TaskStatus.SUCCEEDED] < len(state.tasks),
            asks=state.asking > 0,
        )


@attrs.frozen
class Refusal:
    """Why a run cannot be told something.

    Attributes:
        reason: to be read after "the run is".
        error: what is raised; None where what was named with the command tells more.
    """

    reason: str
    error: RefusedError | None = None


def allowed(run: Standing) -> Allowed:
    """Tell for each command whether there is a form of it that would change something, and else why not.

    >>> run = Standing(run_id=RunId("x"), status=RunStatus.PAUSED, status_reason="paused by ann", ending=None,
    ...                has_retriable=False, has_ended_tasks=True, has_open_tasks=True,
    ...                has_unsucceeded=True, asks=False)
    >>> allowed(run)["resume"], allowed(run)["pause"]
    (True, 'PAUSED: only a RUNNING run can be paused')
    """
    if run.is_imported:
        return dict.fromkeys(_REFUSALS, f"{run.status} in another root: only its evidence is here")
    found = {command: refusal(run) for command, refusal in _REFUSALS.items()}
    return {command: True if refusal is None else refusal.reason for command, refusal in found.items()}


def require_allowed(run: Standing, command: str) -> None:
    """Refuse a command that the state of the run rules out, whatever else is said with it.

    Raises:
        RefusedError: it does.
    """
    refusal = _REFUSALS[command](run)
    if refusal is not None and refusal.error is not None:
        raise refusal.error


def _illegal(run: Standing, status: RunStatus, hint: str, reason: str) -> Refusal:
    what = f"run {run.run_id}"
    if run.ending is not None:
        error = IllegalTransitionError(f"{what} is {run.status_reason}; it", run.status, status, hint=hint)
        return Refusal(run.status_reason, error)
    return Refusal(reason, IllegalTransitionError(what, run.status, status, hint=hint))


_WHY_NOT_PAUSED: Final = {
    RunStatus.PENDING: "it has not begun, and submits nothing before an engine serves it",
    RunStatus.PAUSED: "it is paused already; to go on: matterstack run resume {run_id}",
}


def _pause(run: Standing) -> Refusal | None:
    if run.ending is None and RunStatus.PAUSED in RUN_TRANSITIONS[run.status]:
        return None
    rule = "only a RUNNING run can be paused"
    hint = _WHY_NOT_PAUSED.get(run.status, rule).format(run_id=run.run_id)
    return _illegal(run, RunStatus.PAUSED, hint, f"{run.status}: {rule}")


def _resume(run: Standing) -> Refusal | None:
    if run.ending is None and run.status is RunStatus.PAUSED:
        return None
    rule = "only a PAUSED run can be resumed"
    return _illegal(run, RunStatus.RUNNING, rule, f"{run.status}: {rule}")


def _cancel(run: Standing) -> Refusal | None:
    if run.status in ENDED_RUNS:
        hint = "it has ended: none of its jobs is left"
        return _illegal(run, RunStatus.CANCELLED, hint, f"{run.status} already")
    # To ask for it twice is no error.
    return Refusal(run.status_reason) if run.ending is RunStatus.CANCELLED else None


def _cancel_tasks(run: Standing) -> Refusal | None:
    if run.status in ENDED_RUNS:
        hint = "it has ended: none of its jobs is left"
        return _illegal(run, RunStatus.CANCELLED, hint, f"{run.status} already")
    if run.ending is not None:
        return Refusal(
            run.status_reason, RefusedError(f"run {run.run_id} is {run.status_reason}: all of its tasks end")
        )
    return None if run.has_open_tasks else Refusal(f"{run.status}, and all of its tasks have ended")


def _retry(run: Standing) -> Refusal | None:
    if run.status is RunStatus.FAILED and run.ending is None:
        return None
    if run.status is RunStatus.CANCELLED or run.ending is not None:
        rule = "nothing reopens a cancelled run" if run.ending is None else "it is being ended"
        error = IllegalTransitionError(f"run {run.run_id}", run.status, RunStatus.RUNNING, hint=rule)
        return Refusal(run.status_reason if run.ending is not None else f"{run.status}: {rule}", error)
    return None if run.has_retriable else Refusal(f"{run.status}, and none of its tasks has failed")


def _amend(run: Standing) -> Refusal | None:
    if run.ending is not None:
        return Refusal(run.status_reason, RefusedError(f"run {run.run_id} is {run.status_reason}"))
    if run.status is RunStatus.CANCELLED:
        rule = "nothing is done in a cancelled run any more"
        return Refusal(f"{run.status}: {rule}", RefusedError(f"run {run.run_id} is {run.status}: {rule}"))
    return None if run.has_unsucceeded else Refusal(f"{run.status}, and has no task that has not succeeded")


def _replan(run: Standing) -> Refusal | None:
    if run.ending is not None:
        return Refusal(run.status_reason, RefusedError(f"run {run.run_id} is {run.status_reason}"))
    if run.status is RunStatus.CANCELLED:
        rule = "nothing reopens a cancelled run"
        return Refusal(f"{run.status}: {rule}", RefusedError(f"run {run.run_id} is {run.status}: {rule}"))
    if run.has_open_tasks or run.has_ended_tasks or run.status is RunStatus.FAILED:
        return None
    rule = "nothing has been planned yet"
    return Refusal(
        f"{run.status}, and {rule}",
        RefusedError(f"run {run.run_id}: {rule}", hint="its first plan is made of campaign.py as it is then"),
    )


def _amend_config(run: Standing) -> Refusal | None:
    if RunStatus.CANCELLED not in {run.status, run.ending}:
        return None
    how = f"{run.status}" if run.ending is None else "being cancelled"
    rule = "nothing of it is amended any more"
    reason = f"{run.status}: {rule}" if run.ending is None else run.status_reason
    return Refusal(reason, RefusedError(f"run {run.run_id} is {how}: {rule}"))


def _rerun(run: Standing) -> Refusal | None:
    if run.ending is not None:
        hint = "nothing can be rerun while the run is being ended"
        return _illegal(run, RunStatus.RUNNING, hint, "")
    if run.status is RunStatus.CANCELLED:
        rule = "nothing reopens a cancelled run"
        return _illegal(run, RunStatus.RUNNING, rule, f"{run.status}: {rule}")
    return None if run.has_ended_tasks else Refusal(f"{run.status}, and none of its tasks has ended")


def _respond(run: Standing) -> Refusal | None:
    return None if run.asks else Refusal(f"{run.status}, and asks nothing")


_REFUSALS: Final[Mapping[str, Callable[[Standing], Refusal | None]]] = {
    "pause": _pause,
    "resume": _resume,
    "cancel": _cancel,
    "cancel_tasks": _cancel_tasks,
    "retry": _retry,
    "rerun": _rerun,
    "amend_config": _amend_config,
    "amend": _amend,
    "replan": _replan,
    "respond": _respond,
}
COMMANDS: Final = tuple(_REFUSALS)
