"""Apply facts to a run's state.

Deterministic: the same facts always give the same state.  `Touched` says which rows of the snapshot a
fact changed, so that the store writes those and no others.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import attrs
from sortedcontainers import SortedSet

from matterstack.core.errors import InvariantError
from matterstack.core.ids import RunId, TaskId, Token, UtcTime
from matterstack.core.model.amending import amended
from matterstack.core.model.workflow import Task
from matterstack.core.operators import ASKED
from matterstack.core.run import facts as f
from matterstack.core.run.campaign_code import KnownCode
from matterstack.core.run.holding import WITHIN_S, Holding, end_in_common, seconds_taken
from matterstack.core.run.state import (
    AttemptState,
    Cancellation,
    ReadyKey,
    Resubmission,
    RunState,
    TaskState,
)
from matterstack.core.states import (
    JOB_TRANSITIONS,
    RUN_TRANSITIONS,
    TASK_TRANSITIONS,
    JobState,
    Phase,
    RunStatus,
    TaskStatus,
    require_transition,
)


@attrs.define
class Touched:
    """What changed since the last write: the run's own row, tasks, attempts.

    ``planned`` and ``prepared`` are those among them that are new: all of their row is to be written, and
    of the others only what can change.  Of tasks that were ``amended`` the definition is another one too.
    """

    run: bool = False
    planned: set[TaskId] = attrs.field(factory=set)
    tasks: dict[TaskId, None] = attrs.field(factory=dict)
    prepared: set[Token] = attrs.field(factory=set)
    attempts: dict[Token, AttemptState] = attrs.field(factory=dict)
    amended: set[TaskId] = attrs.field(factory=set)


def new_run(run_id: RunId, created: f.RunCreated, at: UtcTime) -> RunState:
    """Make the state that the first fact of a run gives."""
    return RunState(
        run_id=run_id,
        workspace=created.workspace,
        config=created.config,
        created_at=at,
        updated_at=at,
        code=KnownCode(files=created.sources),
    )


def fold(run_id: RunId, events: Iterable[tuple[UtcTime, f.Fact]]) -> RunState:
    """Rebuild a run's state from all its facts, the oldest first.

    Raises:
        InvariantError: the first fact is no `RunCreated`, or there is none.
    """
    iterator = iter(events)
    at, first = next(iterator, (None, None))
    if at is None or not isinstance(first, f.RunCreated):
        raise InvariantError(f"run {run_id}: the first fact must be RunCreated, not {type(first).__name__}")
    state = new_run(run_id, first, at)
    touched = Touched()
    for at, fact in iterator:
        apply(state, fact, at, touched)
    return state


def apply(state: RunState, fact: f.Fact, at: UtcTime, touched: Touched) -> None:
    """Change ``state`` as the fact says, and note in ``touched`` what changed.

    Raises:
        IllegalTransitionError: the fact contradicts the tables in `matterstack.core.states`.
        InvariantError: the fact speaks of something that is not there.
    """
    _HANDLERS[type(fact)](state, fact, at, touched)
    state.updated_at = at


# ---- the run ----


def _become(state: RunState, status: RunStatus, reason: str, touched: Touched) -> None:
    require_transition(f"run {state.run_id}", RUN_TRANSITIONS, state.status, status)
    state.status = status
    state.status_reason = reason
    touched.run = True


def _created(state: RunState, fact: f.RunCreated, _at: UtcTime, _touched: Touched) -> None:
    raise InvariantError(f"run {state.run_id} was created twice (by {fact.workspace})")


def _about_changed(_state: RunState, _fact: f.AboutChanged, _at: UtcTime, _touched: Touched) -> None:
    """The state is as it was: what people say of a run changes nothing that it does."""


def _config_amended(state: RunState, fact: f.ConfigAmended, _at: UtcTime, touched: Touched) -> None:
    moved = fact.config["default_backend"] != state.config["default_backend"]
    state.config = fact.config
    touched.run = True
    if moved:
        state.ready.clear()
        for task in state.tasks.values():
            if task.status is TaskStatus.READY:
                index_task(state, task)


def _started(state: RunState, _fact: f.RunStarted, _at: UtcTime, touched: Touched) -> None:
    _become(state, RunStatus.RUNNING, "", touched)


def _paused(state: RunState, fact: f.RunPaused, _at: UtcTime, touched: Touched) -> None:
    reason = f"paused by {fact.by}" + (f": {fact.reason}" if fact.reason else "")
    _become(state, RunStatus.PAUSED, reason, touched)
    if fact.alike is not None:
        state.holding.held = fact.alike.common


def _resumed(state: RunState, _fact: f.RunResumed, _at: UtcTime, touched: Touched) -> None:
    _become(state, RunStatus.RUNNING, "", touched)
    state.holding = Holding()


def _cancel_requested(state: RunState, fact: f.RunCancelRequested, _at: UtcTime, touched: Touched) -> None:
    state.ending = RunStatus.CANCELLED
    state.ending_reason = f"cancelled by {fact.by}" + (f": {fact.reason}" if fact.reason else "")
    state.status_reason = f"being {state.ending_reason}"
    touched.run = True


def _failure_requested(state: RunState, fact: f.RunFailureRequested, _at: UtcTime, touched: Touched) -> None:
    state.ending = RunStatus.FAILED
    state.ending_reason = fact.reason
    state.status_reason = f"ending its jobs, because: {fact.reason}"
    touched.run = True


def _cancelled(state: RunState, fact: f.RunCancelled, _at: UtcTime, touched: Touched) -> None:
    _become(state, RunStatus.CANCELLED, fact.reason, touched)
    state.ending = None


def _failed(state: RunState, fact: f.RunFailed, _at: UtcTime, touched: Touched) -> None:
    _become(state, RunStatus.FAILED, fact.reason, touched)
    state.ending = None


def _completed(state: RunState, fact: f.RunCompleted, _at: UtcTime, touched: Touched) -> None:
    state.code = state.code.after(fact.code, fact.unkept)
    _become(state, RunStatus.COMPLETED, "", touched)


def _reopened(state: RunState, _fact: f.RunReopened, _at: UtcTime, touched: Touched) -> None:
    _become(state, RunStatus.RUNNING, "", touched)
    state.holding = Holding()


def _events_lost(_state: RunState, _fact: f.EventsLost, _at: UtcTime, _touched: Touched) -> None:
    """The state is what is left: nobody knows what else there was."""


def _deleted(state: RunState, _fact: f.RunDeleted, _at: UtcTime, _touched: Touched) -> None:
    raise InvariantError(f"run {state.run_id} is deleted, and has events")


# ---- planning ----


def _iteration_planned(state: RunState, fact: f.IterationPlanned, _at: UtcTime, touched: Touched) -> None:
    state.iteration = fact.iteration
    state.stage_names.append(fact.name)
    state.phase = Phase.EXECUTING
    state.base_state = state.campaign_state
    state.code = state.code.after(fact.code, fact.unkept)
    touched.run = True


def _plan_warned(_state: RunState, _fact: f.PlanWarned, _at: UtcTime, _touched: Touched) -> None:
    """The state is as it was: a warning is for people."""


def _secrets_sought(_state: RunState, _fact: f.SecretsSought, _at: UtcTime, _touched: Touched) -> None:
    """The state is as it was: what was found is for who makes a bundle."""


def _iteration_analyzed(state: RunState, fact: f.IterationAnalyzed, _at: UtcTime, touched: Touched) -> None:
    state.phase = Phase.PLANNING
    state.campaign_state = fact.state
    state.code = state.code.after(fact.code, fact.unkept)
    touched.run = True


def _replanned(state: RunState, fact: f.Replanned, _at: UtcTime, touched: Touched) -> None:
    state.stage_names[-1] = fact.name
    state.code = state.code.after(fact.code, fact.unkept)
    if state.phase is Phase.PLANNING:
        # What comes of the tasks as they are now is analyzed from what they were planned from.
        state.phase = Phase.EXECUTING
        state.campaign_state = state.base_state
    touched.run = True


def _campaign_changed(state: RunState, fact: f.CampaignChanged, _at: UtcTime, touched: Touched) -> None:
    state.code = state.code.after(fact.files, fact.unkept)
    touched.run = True


def _task_planned(state: RunState, fact: f.TaskPlanned, _at: UtcTime, touched: Touched) -> None:
    task = TaskState(task=fact.task, position=fact.position, iteration=state.iteration)
    insert_task(state, task)
    if task.unmet == 0:
        _set_task(state, task, TaskStatus.READY, touched)
    touched.tasks[fact.task.id] = None
    touched.planned.add(fact.task.id)


def insert_task(state: RunState, task: TaskState) -> None:
    """Put a task into the indexes of the state, in the status that it has."""
    for dependency in task.task.dependencies():
        state.dependents.setdefault(dependency, []).append(task.task.id)
        known = state.tasks.get(dependency)
        if known is None or not known.satisfies_dependents:
            task.unmet += 1
    if task.satisfies_dependents:
        # Tasks that were planned before the one they depend on counted it as missing.
        for dependent in state.dependents.get(task.task.id, ()):
            state.tasks[dependent].unmet -= 1
    state.tasks[task.task.id] = task
    state.counts[task.status] += 1


# ---- tasks ----


def _task(state: RunState, task_id: TaskId) -> TaskState:
    try:
        return state.tasks[task_id]
    except KeyError:
        raise InvariantError(f"run {state.run_id} has no task {task_id}") from None


def ready_key(task: TaskState) -> ReadyKey:
    """Sort key in the frontier: highest priority first, then in planned order."""
    return (-task.task.priority, task.position, task.task.id)


def index_task(state: RunState, task: TaskState) -> None:
    """Enter a task into the indexes that belong to its status."""
    if task.status is TaskStatus.READY:
        state.ready.setdefault(state.backend_of(task.task), SortedSet()).add(ready_key(task))
    elif task.is_hard_failure:
        state.hard_failures[task.task.id] = None
    elif task.is_being_cancelled:
        state.being_cancelled[task.task.id] = None


def _set_task(state: RunState, task: TaskState, status: TaskStatus, touched: Touched) -> None:
    task_id = task.task.id
    require_transition(f"task {task_id}", TASK_TRANSITIONS, task.status, status)
    satisfied_before = task.satisfies_dependents
    if task.status is TaskStatus.READY:
        state.ready[state.backend_of(task.task)].discard(ready_key(task))
    state.hard_failures.pop(task_id, None)
    state.collecting.pop(task_id, None)
    state.being_cancelled.pop(task_id, None)
    state.counts[task.status] -= 1
    task.status = status
    state.counts[status] += 1
    index_task(state, task)
    touched.tasks[task_id] = None
    if task.satisfies_dependents != satisfied_before:
        _tell_dependents(state, task, touched)


def _tell_dependents(state: RunState, task: TaskState, touched: Touched) -> None:
    step = -1 if task.satisfies_dependents else 1
    for dependent_id in state.dependents.get(task.task.id, ()):
        dependent = state.tasks.get(dependent_id)
        if dependent is None:
            continue
        dependent.unmet += step
        if dependent.unmet == 0 and dependent.status is TaskStatus.WAITING:
            _set_task(state, dependent, TaskStatus.READY, touched)
        elif dependent.unmet and dependent.status is TaskStatus.READY:
            _set_task(state, dependent, TaskStatus.WAITING, touched)


def _task_reopened(state: RunState, fact: f.TaskReopened, _at: UtcTime, touched: Touched) -> None:
    task = _task(state, fact.task_id)
    task.reason, task.outputs, task.data, task.tries = fact.reason, (), None, 0
    task.cancellation = None
    _count_anew(state, touched)
    if state.phase is Phase.PLANNING:
        # Its result may change: the last iteration is analyzed once more, from what it was planned from.
        state.phase = Phase.EXECUTING
        state.campaign_state = state.base_state
        touched.run = True
    _set_task(state, task, TaskStatus.WAITING, touched)
    if task.unmet == 0:
        _set_task(state, task, TaskStatus.READY, touched)


def _task_succeeded(state: RunState, fact: f.TaskSucceeded, _at: UtcTime, touched: Touched) -> None:
    task = _task(state, fact.task_id)
    task.reason, task.outputs, task.data = "", fact.outputs, fact.data
    task.cancellation = None  # it had ended well before its end could be asked for
    if state.backend_of(task.task) != ASKED:  # an answer tells nothing of jobs
        _count_anew(state, touched)
    _set_task(state, task, TaskStatus.SUCCEEDED, touched)


def _task_failed(state: RunState, fact: f.TaskFailed, _at: UtcTime, touched: Touched) -> None:
    task = _task(state, fact.task_id)
    task.reason, task.outputs, task.data = fact.reason, fact.outputs, fact.data
    _note_last_words(task, fact.last_words, touched)
    _set_task(state, task, TaskStatus.FAILED, touched)
    if not _fails_with_its_job(task.last_attempt):
        _count_failure(state, task, touched)


def _count_anew(state: RunState, touched: Touched) -> None:
    """What failed before tells nothing of what comes next."""
    if state.holding.alike:
        state.holding.alike = {}
        touched.run = True


def _count_failure(state: RunState, task: TaskState, touched: Touched, *, back: bool = False) -> None:
    """Count a task that failed as soon as it had begun, and is not expected to; or take that ``back``."""
    attempt = task.last_attempt
    counts = state.status is RunStatus.RUNNING and state.ending is None and state.hold_after_alike
    is_expected = task.task.allow_failure or task.cancellation is not None
    if attempt is None or attempt.backend == ASKED or is_expected or not counts:
        return
    took_s = _seconds_at_work(attempt)
    if took_s is None or took_s > WITHIN_S or attempt.state is JobState.LOST:
        return
    reason = task.reason or attempt.reason
    common = end_in_common(task.task.id, attempt.token, reason, attempt.exit_code, attempt.raw_state)
    where = attempt.backend, attempt.host or ""
    if back:
        state.holding.take_back(common, task.task.id, *where)
    else:
        state.holding.note(common, task.task.id, *where, took_s)
    touched.run = True


def _seconds_at_work(attempt: AttemptState) -> float | None:
    if attempt.job_id is None:
        return 0.0  # nobody would have it
    return seconds_taken(attempt.started_at or attempt.submitted_at, attempt.ended_at)


def _fails_with_its_job(attempt: AttemptState | None) -> bool:
    """Whether there is nothing that its outputs could still change."""
    return attempt is not None and attempt.job_id is not None and attempt.state is JobState.COMPLETED_ERROR


def _task_retried(state: RunState, fact: f.TaskRetried, _at: UtcTime, touched: Touched) -> None:
    task = _task(state, fact.task_id)
    if _fails_with_its_job(task.last_attempt):
        _count_failure(state, task, touched, back=True)
    task.reason = f"tried again after {fact.kind}: {fact.reason}"
    _note_last_words(task, fact.last_words, touched)
    _set_task(state, task, TaskStatus.READY, touched)
    if task.unmet:
        # A person reopened a task that it depends on while it was ACTIVE.
        _set_task(state, task, TaskStatus.WAITING, touched)


def _note_last_words(task: TaskState, words: str, touched: Touched) -> None:
    attempt = task.last_attempt
    if words and attempt is not None:
        attempt.last_words = words
        touched.attempts[attempt.token] = attempt


def _task_cancelled(state: RunState, fact: f.TaskCancelled, _at: UtcTime, touched: Touched) -> None:
    task = _task(state, fact.task_id)
    task.reason = fact.reason
    if fact.by:
        task.cancellation = _cancellation(task, fact)
        task.reason = str(task.cancellation)
    _set_task(state, task, TaskStatus.CANCELLED, touched)


def _task_cancel_requested(
    state: RunState, fact: f.TaskCancelRequested, _at: UtcTime, touched: Touched
) -> None:
    task = _task(state, fact.task_id)
    task.cancellation = _cancellation(task, fact)
    task.reason = f"its job is being ended: {task.cancellation}"
    last = task.last_attempt
    if last is not None and last.token in state.resubmitting:
        _forget_resubmission(state, last, touched)
    index_task(state, task)
    touched.tasks[fact.task_id] = None


def _cancellation(task: TaskState, fact: f.TaskCancelled | f.TaskCancelRequested) -> Cancellation:
    is_gone = task.cancellation is not None and task.cancellation.is_gone
    return Cancellation(by=fact.by, reason=fact.reason, because=fact.because, is_gone=is_gone)


def _task_withdrawn(state: RunState, fact: f.TaskWithdrawn, _at: UtcTime, touched: Touched) -> None:
    task = _task(state, fact.task_id)
    is_live = task.status is TaskStatus.ACTIVE
    lets_job_end = is_live and not fact.ends_job
    task.cancellation = Cancellation(by=fact.by, reason=fact.reason, is_gone=True, lets_job_end=lets_job_end)
    task.reason = str(task.cancellation)
    touched.tasks[fact.task_id] = None
    if is_live:
        how = "its job goes on" if lets_job_end else "its job is being ended"
        task.reason = f"{how}: {task.cancellation}"
        index_task(state, task)
    elif task.status is not TaskStatus.CANCELLED:
        _set_task(state, task, TaskStatus.CANCELLED, touched)


def _task_skipped(state: RunState, fact: f.TaskSkipped, _at: UtcTime, touched: Touched) -> None:
    task = _task(state, fact.task_id)
    task.reason = fact.reason
    _set_task(state, task, TaskStatus.SKIPPED, touched)


def _task_amended(state: RunState, fact: f.TaskAmended, _at: UtcTime, touched: Touched) -> None:
    task = _task(state, fact.task_id)
    new = amended(task.task, {path: change.new for path, change in fact.changes.items()})
    task.planned = task.as_planned
    _define(state, task, new, touched)


def _task_replanned(state: RunState, fact: f.TaskReplanned, _at: UtcTime, touched: Touched) -> None:
    task = _task(state, fact.task_id)
    why = task.cancellation
    if why is not None and why.lets_job_end:
        task.cancellation, task.reason = None, ""  # the plan has it again
    task.planned = None if fact.task is None else fact.planned
    _define(state, task, fact.task or fact.planned, touched)


def _define(state: RunState, task: TaskState, new: Task, touched: Touched) -> None:
    """Give a task another definition, and the place in all indexes that it has by that."""
    for attempt in task.attempts:
        # Each keeps what it was prepared with, also one that has no job yet.
        if attempt.definition is None:
            attempt.definition = task.task
            touched.attempts[attempt.token] = attempt
    task_id = task.task.id
    satisfied_before = task.satisfies_dependents
    if task.status is TaskStatus.READY:
        state.ready[state.backend_of(task.task)].discard(ready_key(task))
    state.hard_failures.pop(task_id, None)
    before, after = task.task.dependencies(), new.dependencies()
    task.task, task.version = new, task.version + 1
    index_task(state, task)
    touched.tasks[task_id] = None
    touched.amended.add(task_id)
    if before != after:
        _wait_for(state, task, before, after, touched)
    if task.satisfies_dependents != satisfied_before:
        _tell_dependents(state, task, touched)


def _wait_for(
    state: RunState, task: TaskState, before: Iterable[TaskId], after: Iterable[TaskId], touched: Touched
) -> None:
    """Let a task wait for others than before, some of which may not be known yet."""
    task_id = task.task.id
    for dependency in before:
        others = state.dependents[dependency]
        others.remove(task_id)
        if not others:
            del state.dependents[dependency]
    task.unmet = 0
    for dependency in after:
        # In the order in which they were planned, as when the run is loaded.
        insort(
            state.dependents.setdefault(dependency, []), task_id, key=lambda one: state.tasks[one].position
        )
        known = state.tasks.get(dependency)
        task.unmet += known is None or not known.satisfies_dependents
    if task.unmet and task.status is TaskStatus.READY:
        _set_task(state, task, TaskStatus.WAITING, touched)
    elif not task.unmet and task.status is TaskStatus.WAITING:
        _set_task(state, task, TaskStatus.READY, touched)


def _resubmit_requested(
    state: RunState, fact: f.TaskResubmitRequested, _at: UtcTime, touched: Touched
) -> None:
    attempt = _live(state, fact.token, touched)
    attempt.resubmission = Resubmission(by=fact.by, reason=fact.reason)
    state.resubmitting[fact.token] = None
    task = _task(state, fact.task_id)
    task.reason = f"its job is being cancelled, if it has not begun: {attempt.resubmission}"
    touched.tasks[fact.task_id] = None


def _resubmitted(state: RunState, fact: f.TaskResubmitted, _at: UtcTime, touched: Touched) -> None:
    task = _task(state, fact.task_id)
    task.reason = ""
    task.tries -= 1
    _set_task(state, task, TaskStatus.READY, touched)
    if task.unmet:
        # A person reopened a task that it depends on while it was ACTIVE.
        _set_task(state, task, TaskStatus.WAITING, touched)


def _resubmit_missed(state: RunState, fact: f.TaskResubmitMissed, _at: UtcTime, touched: Touched) -> None:
    task = _task(state, fact.task_id)
    task.reason = ""
    touched.tasks[fact.task_id] = None
    _forget_resubmission(state, _live(state, fact.token, touched), touched)


def _forget_resubmission(state: RunState, attempt: AttemptState, touched: Touched) -> None:
    attempt.resubmission = None
    state.resubmitting.pop(attempt.token, None)
    touched.attempts[attempt.token] = attempt


# ---- attempts ----


def _prepared(state: RunState, fact: f.AttemptPrepared, at: UtcTime, touched: Touched) -> None:
    task = _task(state, fact.task_id)
    if fact.n != len(task.attempts) + 1:
        raise InvariantError(
            f"task {fact.task_id}: attempt {fact.n} was prepared after {len(task.attempts)} attempts"
        )
    attempt = AttemptState(
        task_id=fact.task_id,
        n=fact.n,
        token=fact.token,
        backend=fact.backend,
        resources=fact.resources,
        prepared_at=at,
        batch=fact.batch,
        index=fact.index,
        nonce_sha256=fact.nonce_sha256,
        version=fact.version,
    )
    task.attempts.append(attempt)
    task.tries += 1
    task.reason = ""
    _set_task(state, task, TaskStatus.ACTIVE, touched)
    insert_live(state, attempt)
    touched.attempts[fact.token] = attempt
    touched.prepared.add(fact.token)


def insert_live(state: RunState, attempt: AttemptState) -> None:
    """Enter an attempt that has not ended."""
    state.live[attempt.token] = attempt
    state.asking += attempt.backend == ASKED
    if attempt.resubmission is not None:
        state.resubmitting[attempt.token] = None


def note_node(state: RunState, attempt: AttemptState) -> None:
    """Enter where an attempt was."""
    if attempt.host:
        state.nodes.setdefault(attempt.backend, set()).add(attempt.host)


def _live(state: RunState, token: Token, touched: Touched) -> AttemptState:
    try:
        attempt = state.live[token]
    except KeyError:
        raise InvariantError(f"run {state.run_id} has no live attempt {token}") from None
    touched.attempts[token] = attempt
    return attempt


def _end(state: RunState, attempt: AttemptState, job_state: JobState, reason: str, at: UtcTime) -> None:
    if attempt.state is not None:
        require_transition(f"job {attempt.job_id}", JOB_TRANSITIONS, attempt.state, job_state)
    attempt.state, attempt.reason, attempt.ended_at = job_state, reason, at
    del state.live[attempt.token]
    state.resubmitting.pop(attempt.token, None)
    state.asking -= attempt.backend == ASKED


def _refused(state: RunState, fact: f.SubmissionRefused, at: UtcTime, touched: Touched) -> None:
    attempt = _live(state, fact.token, touched)
    _end(state, attempt, JobState.COMPLETED_ERROR, fact.reason, at)


def _withdrawn(state: RunState, fact: f.SubmissionWithdrawn, at: UtcTime, touched: Touched) -> None:
    attempt = _live(state, fact.token, touched)
    _end(state, attempt, JobState.CANCELLED, fact.reason, at)


def _accepted(state: RunState, fact: f.JobAccepted, at: UtcTime, touched: Touched) -> None:
    attempt = _live(state, fact.token, touched)
    if attempt.job_id is not None:
        raise InvariantError(f"attempt {fact.token} has job {attempt.job_id} and was given {fact.job_id}")
    attempt.job_id, attempt.state, attempt.submitted_at = fact.job_id, fact.state, at
    if fact.state is JobState.RUNNING:
        attempt.started_at = at
    attempt.manifest_sha256 = fact.manifest_sha256


def _job_changed(state: RunState, fact: f.JobStateChanged, at: UtcTime, touched: Touched) -> None:
    attempt = _live(state, fact.token, touched)
    if attempt.state is not None and attempt.state is not fact.state:
        require_transition(f"job {attempt.job_id}", JOB_TRANSITIONS, attempt.state, fact.state)
    if fact.state is JobState.RUNNING and attempt.started_at is None:
        attempt.started_at = at
    attempt.state, attempt.raw_state, attempt.reason = fact.state, fact.raw_state, fact.reason


def _job_ended(state: RunState, fact: f.JobEnded, at: UtcTime, touched: Touched) -> None:
    attempt = _live(state, fact.token, touched)
    _end(state, attempt, fact.state, fact.reason, fact.ended_at or at)
    attempt.raw_state, attempt.exit_code, attempt.host = fact.raw_state, fact.exit_code, fact.host
    attempt.last_words = fact.last_words
    attempt.started_at = fact.started_at or attempt.started_at
    note_node(state, attempt)
    if _fails_with_its_job(attempt):
        _count_failure(state, state.tasks[attempt.task_id], touched)
    state.collecting[attempt.task_id] = None


_HANDLERS: Final[Mapping[type[f.Fact], Callable[[RunState, Any, UtcTime, Touched], None]]] = {
    f.RunCreated: _created,
    f.AboutChanged: _about_changed,
    f.ConfigAmended: _config_amended,
    f.RunStarted: _started,
    f.RunPaused: _paused,
    f.RunResumed: _resumed,
    f.RunCancelRequested: _cancel_requested,
    f.RunFailureRequested: _failure_requested,
    f.RunCancelled: _cancelled,
    f.RunFailed: _failed,
    f.RunCompleted: _completed,
    f.RunReopened: _reopened,
    f.EventsLost: _events_lost,
    f.RunDeleted: _deleted,
    f.IterationPlanned: _iteration_planned,
    f.PlanWarned: _plan_warned,
    f.TaskPlanned: _task_planned,
    f.IterationAnalyzed: _iteration_analyzed,
    f.CampaignChanged: _campaign_changed,
    f.TaskReopened: _task_reopened,
    f.TaskSucceeded: _task_succeeded,
    f.TaskFailed: _task_failed,
    f.TaskRetried: _task_retried,
    f.TaskCancelled: _task_cancelled,
    f.TaskSkipped: _task_skipped,
    f.TaskCancelRequested: _task_cancel_requested,
    f.AttemptPrepared: _prepared,
    f.SubmissionRefused: _refused,
    f.SubmissionWithdrawn: _withdrawn,
    f.JobAccepted: _accepted,
    f.JobStateChanged: _job_changed,
    f.JobEnded: _job_ended,
    f.SecretsSought: _secrets_sought,
    f.TaskAmended: _task_amended,
    f.Replanned: _replanned,
    f.TaskReplanned: _task_replanned,
    f.TaskWithdrawn: _task_withdrawn,
    f.TaskResubmitRequested: _resubmit_requested,
    f.TaskResubmitted: _resubmitted,
    f.TaskResubmitMissed: _resubmit_missed,
}
