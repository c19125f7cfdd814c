"""Decide what a message means for a run: the facts that follow from it.

Pure: nothing here reads a clock, waits, or touches anything outside of its arguments.  The caller makes
the facts durable, applies them, and only then acts and answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from matterstack.core.ids import TaskId
from matterstack.core.run import facts as f
from matterstack.core.run import messages as m
from matterstack.core.run.agreed import require_as_shown
from matterstack.core.run.decide_amend import decide_amend_tasks
from matterstack.core.run.decide_amend_config import decide_amend_config
from matterstack.core.run.decide_control import (
    decide_amend_about,
    decide_behind,
    decide_cancel,
    decide_cancel_tasks,
    decide_fail,
    decide_pause,
    decide_rerun,
    decide_resume,
    decide_retry,
    decide_start,
)
from matterstack.core.run.decide_holding import decide_hold
from matterstack.core.run.decide_jobs import (
    decide_accepted,
    decide_collected,
    decide_observed,
    decide_prepare,
    decide_refused,
    decide_withdrawn,
    end_cancelled,
)
from matterstack.core.run.decide_planning import decide_analyzed, decide_planned, decide_planning_failed
from matterstack.core.run.decide_replan import decide_replan
from matterstack.core.run.state import RunState
from matterstack.core.states import RunStatus, TaskStatus

MOST_FAILURES_NAMED: Final = 3


def decide(state: RunState, message: m.Message) -> list[f.Fact]:
    """Return the facts that a message leads to; none when it changes nothing.

    Raises:
        RefusedError: the request is not possible in this state; nothing changes.
        NotFoundError: the request names a task that is not there.
    """
    facts = _DECISIONS[type(message)](state, message)
    if isinstance(message, m.AmendTasks | m.Retry):
        require_as_shown(message.before, facts)
    return facts


def decide_settle(state: RunState, message: m.Settle) -> list[f.Fact]:
    """Conclude the end of the run, when nothing is left that could advance it; or hold it."""
    if state.has_ended:
        return []
    if state.ending is not None:
        return _end_now(state) if not state.live and not state.collecting else []
    if state.status is RunStatus.RUNNING and state.open_count == 0 and state.hard_failures:
        return [f.RunFailed(reason=_failure_summary(state))]
    return decide_hold(state) if message.may_pause else []


def _end_now(state: RunState) -> list[f.Fact]:
    ended: list[f.Fact] = [
        end_cancelled(state, task)
        for task in state.tasks.values()
        if task.status in {TaskStatus.WAITING, TaskStatus.READY, TaskStatus.ACTIVE}
    ]
    if state.ending is RunStatus.CANCELLED:
        return [*ended, f.RunCancelled(reason=state.ending_reason)]
    return [*ended, f.RunFailed(reason=state.ending_reason)]


def _failure_summary(state: RunState) -> str:
    alike: dict[str, list[TaskId]] = {}
    for task_id in state.hard_failures:
        alike.setdefault(state.tasks[task_id].reason, []).append(task_id)
    words: list[str] = []
    left = len(state.hard_failures)
    for reason, failed in list(alike.items())[:MOST_FAILURES_NAMED]:
        more = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
        words.append(f"task {failed[0]}{more} failed: {reason}")
        left -= len(failed)
    if left:
        words.append(f"{left} more task{'s' if left > 1 else ''} failed")
    return "; ".join(words)


_DECISIONS: Final[Mapping[type[m.Message], Callable[[RunState, Any], list[f.Fact]]]] = {
    m.Start: decide_start,
    m.Behind: decide_behind,
    m.Pause: decide_pause,
    m.Resume: decide_resume,
    m.Cancel: decide_cancel,
    m.CancelTasks: decide_cancel_tasks,
    m.Retry: decide_retry,
    m.Rerun: decide_rerun,
    m.AmendAbout: decide_amend_about,
    m.AmendTasks: decide_amend_tasks,
    m.AmendConfig: decide_amend_config,
    m.Replan: decide_replan,
    m.Fail: decide_fail,
    m.Planned: decide_planned,
    m.Analyzed: decide_analyzed,
    m.PlanningFailed: decide_planning_failed,
    m.Prepare: decide_prepare,
    m.Accepted: decide_accepted,
    m.Refused: decide_refused,
    m.Withdrawn: decide_withdrawn,
    m.Observed: decide_observed,
    m.Collected: decide_collected,
    m.Settle: decide_settle,
}
