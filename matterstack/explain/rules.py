"""Rules that say which causes hold in a situation.

A run has causes of its own (`run_causes`), and each unfinished task may have some by itself (`TaskRules`);
what it waits for through other tasks is found from those (`matterstack.explain.frontier`).  A new kind of
operator adds a rule to `_OPERATORS`; a new kind of cause adds its words in `matterstack.explain.wording`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

import attrs

from matterstack.core.ids import BackendName, attempt_token
from matterstack.core.operators import ASKED, ASKING, REJECTED
from matterstack.core.run.holding import WITHIN_S, end_in_common, seconds_taken
from matterstack.core.scheduler_words import Outlook, SchedulerWords
from matterstack.core.states import JobState, Phase, RunStatus, TaskStatus
from matterstack.explain.causes import Kind
from matterstack.explain.situation import (
    UNFINISHED,
    AttemptView,
    BackendView,
    Condition,
    Health,
    RunView,
    Situation,
    TaskView,
)
from matterstack.explain.words import seconds_between

UNCLEAR_AFTER_S: Final = 60.0
"""How long a submission may take before it counts as unclear, while an engine is at work."""
UNANSWERED_AFTER_S: Final = 5.0
"""Engines take commands up within half a second; what waits longer waits for something."""


OTHERS: Final = "\x00others"
"""Detail of what is not told apart any more."""


@attrs.frozen
class Key:
    """Tells causes apart: what has the same key is one cause of several tasks."""

    kind: Kind
    backend: BackendName | None = None
    detail: str = ""


Blocks = Callable[[TaskView], bool]


# ---- of the run as a whole ----


def run_causes(situation: Situation) -> Iterator[tuple[Key, Blocks]]:
    """Causes that lie in the run or its surroundings, each with which tasks it holds up by itself."""
    run = situation.run
    if run.status is RunStatus.COMPLETED:
        yield Key(Kind.COMPLETED), _nothing
    elif run.status is RunStatus.CANCELLED:
        yield Key(Kind.CANCELLED), _nothing
    elif run.status is RunStatus.FAILED:
        yield from _after_failure(situation)
    else:
        yield from _around(situation)
        yield from _of_status(situation)


def _after_failure(situation: Situation) -> Iterator[tuple[Key, Blocks]]:
    if situation.run.was_given_up:
        yield Key(Kind.RUN_FAILED), _nothing
    elif not any(map(is_hard_failure, situation.tasks)):
        yield Key(Kind.PLANNING_FAILED), _nothing


def _around(situation: Situation) -> Iterator[tuple[Key, Blocks]]:
    context = situation.context
    condition = context.engine.condition
    if context.full_disk:
        yield Key(Kind.DISK_FULL), _everything
    if condition in {Condition.NONE, Condition.DEAD}:
        yield Key(Kind.NO_ENGINE), _everything
    elif condition in {Condition.STOPPED, Condition.ELSEWHERE, Condition.SEIZED}:
        yield Key(Kind.LEASE_HELD), _everything
    command = context.command
    waited_s = seconds_between(command.at, context.now) if command is not None else 0
    if condition.serves and waited_s > UNANSWERED_AFTER_S:
        yield Key(Kind.COMMAND_WAITING), _to_be_submitted


def _of_status(situation: Situation) -> Iterator[tuple[Key, Blocks]]:
    run = situation.run
    if run.ending is not None:
        yield Key(Kind.ENDING), _everything
    elif run.status is RunStatus.PAUSED:
        yield Key(Kind.PAUSED if run.held is None else Kind.HELD), _to_be_submitted
    elif situation.context.engine.condition.serves and _is_settled(situation):
        yield Key(Kind.PLANNING if run.phase is Phase.PLANNING else Kind.ANALYSIS), _nothing


def _is_settled(situation: Situation) -> bool:
    return not any(task.status in UNFINISHED or is_hard_failure(task) for task in situation.tasks)


def _nothing(_task: TaskView) -> bool:
    return False


def _everything(_task: TaskView) -> bool:
    return True


def _to_be_submitted(task: TaskView) -> bool:
    attempt = task.attempt
    return task.status is not TaskStatus.ACTIVE or (
        attempt is not None and attempt.is_live and attempt.job_id is None
    )


# ---- of a task by itself ----


def is_hard_failure(task: TaskView) -> bool:
    """Whether this task alone keeps its run from completing."""
    return task.status is TaskStatus.FAILED and not task.allow_failure


def failure(task: TaskView, run: RunView) -> Key:
    """The cause that a failed task is for those that depend on it: its own, or that for which all wait."""
    return Key(Kind.HELD) if is_held_for(task, run) else Key(Kind.TASK_FAILED, None, task.reason)


def is_held_for(task: TaskView, run: RunView) -> bool:
    """Whether a failed task is one of those for whose sake the engine holds its run."""
    attempt, alike = task.attempt, run.held
    if alike is None or run.status is not RunStatus.PAUSED or run.ending is not None or attempt is None:
        return False
    took_s = seconds_taken(attempt.started_at or attempt.submitted_at, attempt.ended_at)
    token = attempt_token(run.run_id, task.task_id, attempt.n)
    reason = task.reason or attempt.reason
    common = end_in_common(task.task_id, token, reason, attempt.exit_code, attempt.raw_state)
    return (took_s or 0.0) <= WITHIN_S and common == alike.common


class TaskRules:
    """What holds unfinished tasks of one run up, apart from other tasks and from the run."""

    def __init__(self, situation: Situation) -> None:
        self._situation = situation
        self._unclear = self._unclear_backends()
        self._ready = {
            name: tuple(self._obstacles(backend))
            for name, backend in situation.context.backends.items()
            if self._may_submit()
        }

    def causes(self, task: TaskView) -> Iterator[Key]:
        """Causes of one task; the same for each that waits for the same."""
        if task.status is TaskStatus.ACTIVE and task.is_cancelled:
            yield from self._being_cancelled(task)
            return
        yield from _OPERATORS.get(task.operator, TaskRules.compute)(self, task)

    def _being_cancelled(self, task: TaskView) -> Iterator[Key]:
        attempt = task.attempt
        if attempt is not None and attempt.is_live and self._health(attempt.backend).out_since is not None:
            yield self._out(attempt.backend)
        yield Key(Kind.TASK_ENDING, None, task.reason)

    def compute(self, task: TaskView) -> Iterator[Key]:
        """A job on a backend."""
        if task.status is TaskStatus.READY:
            if task.attempt is not None and task.tries and task.reason:
                yield Key(Kind.RETRY_WAITING, task.backend)
            if self._may_submit():  # else nobody would submit it, whatever else there is
                yield from self._ready.get(task.backend, ()) or [Key(Kind.SUBMITTING, task.backend)]
        elif task.status is TaskStatus.ACTIVE and task.attempt is not None:
            yield from self._active(task.attempt)

    def asking(self, task: TaskView) -> Iterator[Key]:
        """A question to a person, a laboratory or an instrument: no cap holds it up."""
        attempt = task.attempt
        if task.status is TaskStatus.READY and self._may_submit():
            yield Key(Kind.SUBMITTING, ASKED)
        elif task.status is TaskStatus.ACTIVE and attempt is not None:
            if not attempt.is_live or attempt.job_id is None:
                yield from self._active(attempt)
            elif attempt.raw_state == REJECTED:
                yield Key(Kind.ANSWER_REJECTED, None, attempt.reason)
            elif task.operator == "experiment":
                yield Key(Kind.WAITS_FOR_INSTRUMENT, None, attempt.reason)
            else:
                yield Key(_WAITS_FOR[task.operator], None, attempt.reason)

    def _may_submit(self) -> bool:
        run, context = self._situation.run, self._situation.context
        is_served = context.engine.condition.serves and not context.full_disk
        return run.status is RunStatus.RUNNING and run.ending is None and is_served

    def _obstacles(self, backend: BackendView) -> Iterator[Key]:
        """What keeps a ready task from being submitted."""
        if backend.health.out_since is not None:
            yield self._out(backend.name)
        if backend.health.limited_since is not None:
            yield Key(Kind.SITE_LIMIT, backend.name)
        yield from self._missing_secrets()
        if self._situation.live_jobs >= self._situation.run.job_cap:
            yield Key(Kind.RUN_CAP)
        if backend.seats >= backend.max_jobs:
            yield Key(Kind.BACKEND_CAP, backend.name)
        if backend.name in self._unclear:  # until that is clear, the run submits nothing else there
            yield Key(Kind.SUBMISSION_UNCLEAR, backend.name)

    def _missing_secrets(self) -> Iterator[Key]:
        for name in self._situation.context.missing_secrets:
            yield Key(Kind.SECRET_MISSING, None, name)

    def _unclear_backends(self) -> frozenset[BackendName]:
        active = (t.attempt for t in self._situation.tasks if t.status is TaskStatus.ACTIVE)
        return frozenset(a.backend for a in active if a is not None and self._is_unclear(a))

    def _is_unclear(self, attempt: AttemptView) -> bool:
        """Whether it has no job for longer than a submission should take, and not because of a limit."""
        if not attempt.is_live or attempt.job_id is not None:
            return False
        if self._health(attempt.backend).limited_since is not None:
            return False
        context = self._situation.context
        age_s = seconds_between(attempt.prepared_at, context.now)
        return not context.engine.condition.serves or age_s > UNCLEAR_AFTER_S

    def _health(self, name: BackendName) -> Health:
        backend = self._situation.context.backends.get(name)
        return backend.health if backend is not None else Health()

    def _out(self, name: BackendName) -> Key:
        """A backend that does not answer: its scheduler, or the way to it."""
        backend = self._situation.context.backends[name]
        is_host_out = backend.words.is_host_out(backend.health.problem)
        return Key(Kind.SSH_OUT if is_host_out else Kind.BACKEND_OUT, name)

    def _active(self, attempt: AttemptView) -> Iterator[Key]:
        name = attempt.backend
        health = self._health(name)
        if not attempt.is_live:
            yield from tuple(self._missing_secrets()) or (Key(Kind.COLLECTING),)
            return
        if health.out_since is not None:
            yield self._out(name)
        if attempt.job_id is None:
            if health.limited_since is not None:
                yield Key(Kind.SITE_LIMIT, name)
            elif self._situation.context.missing_secrets:
                yield from self._missing_secrets()
            elif self._is_unclear(attempt):
                yield Key(Kind.SUBMISSION_UNCLEAR, name)
            elif self._may_submit():
                yield Key(Kind.SUBMITTING, name)
            return
        if health.accounting_out_since is not None:
            yield Key(Kind.ACCOUNTING_OUT, name)
        yield _job(attempt, self._situation.words_of(name))


_OPERATORS: Final[Mapping[str, Callable[[TaskRules, TaskView], Iterator[Key]]]] = {
    "compute": TaskRules.compute,
    **dict.fromkeys(ASKING, TaskRules.asking),
}
_WAITS_FOR: Final = {
    "human": Kind.WAITS_FOR_PERSON,
    "gate": Kind.GATE,
    "manual_hpc": Kind.WAITS_FOR_JOB_BY_HAND,
}


def _job(attempt: AttemptView, words: SchedulerWords) -> Key:
    """A job as it was last seen."""
    reason = words.reason(attempt.reason, attempt.raw_state)
    if reason.outlook is Outlook.SUSPENDED:
        return Key(Kind.JOB_SUSPENDED, attempt.backend)
    if attempt.state is not JobState.QUEUED:
        return Key(Kind.JOB_RUNNING, attempt.backend)
    kind = _QUEUED.get(reason.outlook, Kind.JOB_PENDING)
    # What stands behind a comma (nodes that are down) differs from job to job.
    return Key(kind, attempt.backend, f"{attempt.raw_state} {attempt.reason.partition(',')[0]}")


_QUEUED: Final = {Outlook.HELD: Kind.JOB_HELD, Outlook.NEVER: Kind.JOB_NEVER_STARTS}
