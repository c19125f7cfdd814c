"""Decisions about jobs that wait in a queue, and are to be submitted anew since something was changed.

Only what has not begun is given up.  What is decided here is a wish: whether it came in time, the backend
tells (`matterstack.core.run.decide_jobs`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import attrs

from matterstack.core.errors import RefusedError
from matterstack.core.ids import TaskId
from matterstack.core.model.amending import amended
from matterstack.core.model.workflow import Task
from matterstack.core.operators import ASKED
from matterstack.core.run import facts as f
from matterstack.core.run import messages as m
from matterstack.core.run.decide_jobs import is_to_be_given_up
from matterstack.core.run.retry_rules import failed_dependency
from matterstack.core.run.state import AttemptState, RunState
from matterstack.core.states import JobState

RULES: Final = ("retries", "retry_on", "allow_failure", "priority")
"""What of a task holds at once, also for a job that was submitted."""
_OF_NO_JOB: Final = frozenset(
    {"max_jobs", "poll_interval_s", "grace_period_s", "command_timeout_s", "runaway_after_s"}
)
"""What of a backend's definition is about asking it, and not about any job."""


def resubmissions(
    state: RunState, task_ids: Sequence[TaskId], changed: Iterable[f.TaskAmended], message: m.AmendTasks
) -> list[f.TaskResubmitRequested]:
    """Attempts of these tasks to give up: with changes, those that are not as the tasks are then.

    Raises:
        RefusedError: nothing is changed, and no job of these tasks waits.
    """
    new = {
        fact.task_id: amended(state.tasks[fact.task_id].task, {p: c.new for p, c in fact.changes.items()})
        for fact in changed
    }
    found = [
        attempt
        for attempt in waiting_attempts(state, task_ids)
        if not message.changes
        or _is_another_job(state.definition_of(attempt), new.get(attempt.task_id) or _now(state, attempt))
    ]
    is_asked_already = any(state.live[token].task_id in task_ids for token in state.resubmitting)
    if not found and not message.changes and not is_asked_already:
        raise RefusedError(
            "none of these tasks has a job that waits in a queue",
            hint="to change them: --set PATH=VALUE; what runs is not touched",
        )
    return [_requested(attempt, message.by, message.reason) for attempt in found]


def resubmissions_elsewhere(state: RunState, message: m.AmendConfig) -> list[f.TaskResubmitRequested]:
    """Attempts to give up since their backend is another one than before, or is defined in another way."""
    found = (a for a in waiting_attempts(state, state.tasks) if is_elsewhere(state, a, message))
    return [_requested(attempt, message.by, message.reason) for attempt in found]


def is_elsewhere(state: RunState, attempt: AttemptState, message: m.AmendConfig) -> bool:
    """Whether a job would be another one if it were submitted with the config that comes; no question is."""
    here = attempt.backend
    if here == ASKED:
        return False
    wanted = _now(state, attempt).backend or message.config["default_backend"]
    before, after = (
        about_jobs(config["backends"].get(here, {})) for config in (state.config, message.config)
    )
    return wanted != here or before != after


def waiting_attempts(state: RunState, task_ids: Iterable[TaskId]) -> Iterator[AttemptState]:
    """Attempts whose job has not begun, as far as is known, or that have none yet; questions are none."""
    for task_id in task_ids:
        task = state.tasks[task_id]
        attempt = task.last_attempt
        if attempt is None or attempt.ended_at is not None or attempt.backend == ASKED:
            continue
        if task.cancellation is not None:  # nothing would follow
            continue
        if attempt.state is JobState.RUNNING or is_to_be_given_up(state, attempt):
            continue
        if failed_dependency(state, task) is None:  # else it would not be submitted again
            yield attempt


def _is_another_job(old: Task, new: Task) -> bool:
    """Whether something changed that a job has from its submission; rules hold for those that wait, too."""
    rules = {name: getattr(new, name) for name in RULES}
    return attrs.evolve(old, **rules) != new


def _now(state: RunState, attempt: AttemptState) -> Task:
    return state.tasks[attempt.task_id].task


def about_jobs(backend: Mapping[str, Any]) -> Mapping[str, Any]:
    """What of a backend's definition makes its jobs what they are."""
    return {key: value for key, value in backend.items() if key not in _OF_NO_JOB}


def _requested(attempt: AttemptState, by: str, reason: str) -> f.TaskResubmitRequested:
    return f.TaskResubmitRequested(task_id=attempt.task_id, token=attempt.token, by=by, reason=reason)
