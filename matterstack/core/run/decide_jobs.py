"""Decisions about attempts and their jobs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import attrs

from matterstack.core.ids import BackendName, TaskId, attempt_token
from matterstack.core.operators import ASKED, NO_CAP, SENT_BACK
from matterstack.core.run import facts as f
from matterstack.core.run import messages as m
from matterstack.core.run.retry_rules import (
    failed_dependency,
    failure_kind,
    may_retry,
    resources_of_next,
)
from matterstack.core.run.state import AttemptState, RunState, TaskState
from matterstack.core.states import ENDED_JOBS, ENDED_TASKS, FailureKind, JobState, TaskStatus

_BEGUN: Final = frozenset({JobState.RUNNING, JobState.COMPLETED_OK, JobState.COMPLETED_ERROR})
"""What a job is that has not been cancelled in time; where one is LOST, nobody knows."""


def wanted_seats(state: RunState, backend: BackendName) -> int:
    """How many more jobs this run could have on a backend now, by its own cap."""
    if not state.may_submit:
        return 0
    return max(0, min(state.ready_count(backend), room_of(state, backend)))


def room_of(state: RunState, backend: BackendName) -> int:
    """How many more jobs this run may have there: its cap is one for all backends, and none for questions."""
    if backend == ASKED:
        return NO_CAP
    return max(0, state.job_cap - (len(state.live) - state.asking))


def decide_prepare(state: RunState, message: m.Prepare) -> list[f.Fact]:
    """Prepare an attempt for each of the first ready tasks, within the run's cap.

    Those that ask for the same resources go together, in batches that the backend takes at once.
    """
    seats = min(message.seats, wanted_seats(state, message.backend))
    prepared = [
        f.AttemptPrepared(
            task_id=task.task.id,
            n=(n := len(task.attempts) + 1),
            token=(token := attempt_token(state.run_id, task.task.id, n)),
            backend=message.backend,
            resources=resources_of_next(task),
            nonce_sha256=None if message.nonce_sha256 is None else message.nonce_sha256(token),
            version=task.version,
        )
        for task in state.first_ready(message.backend, seats)
    ]
    return [fact for batch in _batches(prepared, message.batch_limit) for fact in batch]


def _batches(prepared: Sequence[f.AttemptPrepared], limit: int) -> Iterator[list[f.AttemptPrepared]]:
    """Group by resources, in the order of the first of each kind; a lone attempt is no batch."""
    alike: list[list[f.AttemptPrepared]] = []
    with_room: list[list[f.AttemptPrepared]] = []  # where nothing goes together, full ones are many
    for fact in prepared:
        group = next((g for g in with_room if g[0].resources == fact.resources), None)
        if group is None:
            group = []
            alike.append(group)
            with_room.append(group)
        group.append(fact)
        if len(group) >= limit:
            with_room.remove(group)
    for group in alike:
        name = group[0].token if len(group) > 1 else None
        yield [attrs.evolve(fact, batch=name, index=index) for index, fact in enumerate(group)]


def decide_accepted(state: RunState, message: m.Accepted) -> list[f.Fact]:
    """Note the job's id, once."""
    attempt = state.live.get(message.token)
    if attempt is None or attempt.job_id is not None:
        return []
    accepted = f.JobAccepted(
        token=message.token,
        job_id=message.job_id,
        state=message.state,
        manifest_sha256=message.manifest_sha256,
        adopted=message.adopted,
        set_aside=message.set_aside,
    )
    return [accepted, *_missed(attempt, message.state)]


def decide_refused(state: RunState, message: m.Refused) -> list[f.Fact]:
    """A refusal is final for the task: the same question would get the same answer."""
    attempt = state.live.get(message.token)
    if attempt is None or attempt.job_id is not None:
        return []
    refused = f.SubmissionRefused(token=message.token, reason=message.reason)
    task = state.tasks[attempt.task_id]
    if task.cancellation is not None:
        return [refused, end_cancelled(state, task)]
    if attempt.resubmission is not None and state.ending is None:
        return [refused, *_given_up(state, task, attempt)]
    return [refused, *fail_task(state, task, message.reason)]


def decide_withdrawn(state: RunState, message: m.Withdrawn) -> list[f.Fact]:
    """Only what a person had ended gives up attempts: the run, or the task; or who wants another attempt."""
    attempt = state.live.get(message.token)
    if attempt is None or attempt.job_id is not None:
        return []
    task = state.tasks[attempt.task_id]
    withdrawn = f.SubmissionWithdrawn(token=message.token, reason=message.reason)
    if is_to_end(state, task):
        return [withdrawn, end_cancelled(state, task)]
    return [] if attempt.resubmission is None else [withdrawn, *_given_up(state, task, attempt)]


def is_to_end(state: RunState, task: TaskState) -> bool:
    """Whether nothing more is to be done for a task: it was cancelled, or its run is ending."""
    why = task.cancellation
    return state.ending is not None or (why is not None and not why.lets_job_end)


def is_to_be_given_up(state: RunState, attempt: AttemptState) -> bool:
    """Whether no job of an attempt is wanted any more, unless one has begun."""
    return attempt.resubmission is not None or is_to_end(state, state.tasks[attempt.task_id])


def _given_up(state: RunState, task: TaskState, attempt: AttemptState) -> list[f.Fact]:
    """What follows when an attempt that a person wanted submitted anew is over, and never began."""
    if task.cancellation is not None:  # the plan has it no more: there is no next attempt
        return [end_cancelled(state, task)]
    if (culprit := failed_dependency(state, task)) is not None:  # it would wait for ever
        return fail_task(
            state, task, f"task {culprit}, which it depends on, is {state.tasks[culprit].status}"
        )
    return [f.TaskResubmitted(task_id=task.task.id, token=attempt.token)]


def _missed(attempt: AttemptState, seen: JobState) -> list[f.Fact]:
    """That a job has begun which was to be cancelled before it does."""
    if attempt.resubmission is None or seen not in _BEGUN:
        return []
    return [f.TaskResubmitMissed(task_id=attempt.task_id, token=attempt.token)]


def end_cancelled(state: RunState, task: TaskState) -> f.TaskCancelled:
    """The end of a task that was cancelled, or whose run is ending."""
    why = task.cancellation
    if why is None:
        return f.TaskCancelled(task_id=task.task.id, reason=state.ending_reason)
    return f.TaskCancelled(task_id=task.task.id, reason=why.reason, by=why.by, because=why.because)


def decide_observed(state: RunState, message: m.Observed) -> list[f.Fact]:
    """Note what changed about a live job; of one that is over or unknown, nothing."""
    attempt = state.live.get(message.token)
    if attempt is None:
        return []
    if message.state not in ENDED_JOBS:
        same = (message.state, message.raw_state, message.reason)
        if same == (attempt.state, attempt.raw_state, attempt.reason):
            return []
        changed = f.JobStateChanged(
            token=message.token,
            state=message.state,
            raw_state=message.raw_state,
            reason=message.reason,
            by=message.by,
            sha256=message.sha256,
        )
        return [changed, *_missed(attempt, message.state)]
    ended = f.JobEnded(
        token=message.token,
        state=message.state,
        raw_state=message.raw_state,
        reason=message.reason,
        exit_code=message.exit_code,
        host=message.host,
        started_at=message.started_at,
        ended_at=message.ended_at,
        by=message.by,
        sha256=message.sha256,
        environment=message.environment,
        logs=message.logs,
        given=message.given,
        last_words=message.last_words,
    )
    return [*_missed(attempt, message.state), ended, *_after_job(state, attempt, message)]


def _after_job(state: RunState, attempt: AttemptState, end: m.Observed) -> list[f.Fact]:
    """What is clear before any output has been looked at."""
    task = state.tasks[attempt.task_id]
    if end.state is JobState.COMPLETED_OK:
        return []
    if is_to_end(state, task) or task.cancellation is not None:
        return [end_cancelled(state, task)]
    if end.raw_state == SENT_BACK and attempt.backend == ASKED:
        return _send_back(state, task, end)
    if end.state is JobState.CANCELLED and attempt.resubmission is not None:
        return _given_up(state, task, attempt)
    if end.state is JobState.CANCELLED:
        reason = "its job was cancelled outside of MatterStack"
        return fail_task(state, task, f"{reason} ({end.reason})" if end.reason else reason)
    kind = failure_kind(end.state, end.raw_state)
    if may_retry(state, task, kind):
        return [f.TaskRetried(task_id=attempt.task_id, kind=kind, reason=job_failure(end))]
    if end.state is JobState.LOST:
        return fail_task(state, task, job_failure(end))
    return []


def _send_back(state: RunState, gate: TaskState, answer: m.Observed) -> list[f.Fact]:
    """What the gate depends on is done again, then it asks once more; what waits for it goes on waiting."""
    reason = f"sent back by {answer.by}: {answer.reason}"
    again = [t for t in gate.task.dependencies() if state.tasks[t].status in ENDED_TASKS]
    if not again:
        return fail_task(state, gate, f"{reason} (there is nothing before it that could be done again)")
    return [
        f.TaskFailed(task_id=gate.task.id, reason=reason),
        *(f.TaskReopened(task_id=t, by=answer.by, reason=reason) for t in (*again, gate.task.id)),
    ]


def job_failure(end: m.Observed | AttemptState) -> str:
    """Say in words how a job failed.

    >>> job_failure(m.Observed(token="t", state=JobState.COMPLETED_ERROR, exit_code=3))
    'its job ended with exit code 3'
    """
    if end.reason:
        return end.reason
    if end.state is JobState.LOST:
        return "its job vanished without a trace"
    how = f" ({end.raw_state})" if end.raw_state and end.raw_state not in {"FAILED", "COMPLETED"} else ""
    if end.exit_code is None:
        return f"its job failed{how}"
    return f"its job ended with exit code {end.exit_code}{how}"


def decide_collected(state: RunState, message: m.Collected) -> list[f.Fact]:
    """Conclude the task from its last job and what that left behind."""
    for task_id in state.collecting:
        task = state.tasks[task_id]
        attempt = task.last_attempt
        if attempt is not None and attempt.token == message.token:
            sought = [] if message.sought is None else [message.sought]
            return [*sought, *_conclude(state, task, attempt, message)]
    return []


def _conclude(state: RunState, task: TaskState, attempt: AttemptState, found: m.Collected) -> list[f.Fact]:
    is_well = attempt.state is JobState.COMPLETED_OK and found.problem is None
    if task.cancellation is not None and (found.given_up or not is_well):
        return [end_cancelled(state, task)]
    if attempt.state is not JobState.COMPLETED_OK:
        return fail_task(state, task, job_failure(attempt), found)
    if found.given_up and state.ending is not None:
        return [end_cancelled(state, task)]
    if found.problem is None:
        return [f.TaskSucceeded(task_id=task.task.id, outputs=found.outputs, data=found.data)]
    if state.ending is None and found.may_get_better and may_retry(state, task, FailureKind.ERROR):
        return [
            f.TaskRetried(
                task_id=task.task.id,
                kind=FailureKind.ERROR,
                reason=found.problem,
                last_words=found.last_words,
            )
        ]
    return fail_task(state, task, found.problem, found)


def fail_task(
    state: RunState, task: TaskState, reason: str, found: m.Collected | None = None
) -> list[f.Fact]:
    """Fail a task, and skip all that wait for it (unless it may fail)."""
    failed = f.TaskFailed(
        task_id=task.task.id,
        reason=reason,
        outputs=found.outputs if found else (),
        data=found.data if found else None,
        last_words=found.last_words if found else "",
    )
    return (
        [failed]
        if task.task.allow_failure and task.task.operator != "gate"
        else [failed, *_skip_dependents(state, task.task.id)]
    )


def _skip_dependents(state: RunState, failed: TaskId) -> list[f.Fact]:
    skipped: dict[TaskId, f.Fact] = {}
    queue = [failed]
    while queue:
        culprit = queue.pop()
        for dependent in state.dependents.get(culprit, ()):
            if dependent in skipped or state.tasks[dependent].status is not TaskStatus.WAITING:
                continue
            reason = f"task {failed}, which it depends on, failed"
            skipped[dependent] = f.TaskSkipped(task_id=dependent, because=failed, reason=reason)
            queue.append(dependent)
    return list(skipped.values())
