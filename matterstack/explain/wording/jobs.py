"""Words for jobs: those that wait, those that run, and those that are about to be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import attrs

from matterstack.core.ids import JobId, UtcTime
from matterstack.core.scheduler_words import SchedulerWords
from matterstack.core.states import TaskStatus
from matterstack.explain.causes import Kind, Need
from matterstack.explain.rules import OTHERS
from matterstack.explain.situation import AttemptView, Situation
from matterstack.explain.wording.cause_text import (
    CauseText,
    CauseWriter,
    Group,
    are,
    attempts_of,
    earliest,
    jobs_of,
    tasks_of,
)
from matterstack.explain.words import after, clock, count, duration, named, seconds_between
from matterstack.storage.finishing_reports import finishing_words


def _of_job(group: Group, need: Need, situation: Situation) -> CauseText:
    """A job that its scheduler does not start, for the reason in the key."""
    first = attempts_of(group)[0]
    words = situation.words_of(first.backend)
    reason = words.reason(first.reason, first.raw_state)
    word = first.reason.partition(",")[0] or first.raw_state or "PENDING"
    if group.key.detail == OTHERS:
        reason, word = attrs.evolve(reason, words=f"several reasons, such as: {reason.words}"), f"{word}, …"
    ids = jobs_of(group)
    one = len(ids) == 1
    waits = f"{'waits' if one else 'wait'} in the queue of {group.key.backend}"
    message = f"{named(ids, 'job')} ({tasks_of(group)}) {waits}: {reason.words} ({word})"
    start = _expected_start(ids, situation)
    if start is not None and need is Need.TIME:
        which = "" if one else "the first "
        message += f"; {which}expected to start at {clock(start, situation.context.now)}"
    since = earliest(attempt.submitted_at for attempt in attempts_of(group))
    actions = [_filled(reason.action, ids, words)]
    if reason.give_up:
        actions.append(f"# or give {'it' if one else 'them'} up:\n{_filled(reason.give_up, ids, words)}")
    if anew := [t for t in group.tasks if t.attempt is not None and t.attempt.is_resubmitted]:
        message += f"; {named([t.task_id for t in anew])} {are(len(anew))} being submitted anew"
    elif amended := [t.task_id for t in group.tasks if t.attempt is not None and t.attempt.is_outdated]:
        message += f"; {named(amended)} {'was' if len(amended) == 1 else 'were'} amended since"
        command = f"matterstack run amend {situation.run.run_id} {' '.join(amended)} --resubmit"
        actions.append(f"# to submit {'it' if len(amended) == 1 else 'them'} anew, as amended:\n{command}")
    return CauseText(need, since, message, "\n".join(filter(None, actions)))


def _filled(command: str, ids: Sequence[JobId], words: SchedulerWords) -> str:
    return command.format(ids=words.job_list(ids), pending=words.pending_list(ids), id=next(iter(ids), ""))


def _expected_start(ids: Iterable[JobId], situation: Situation) -> UtcTime | None:
    sights = situation.context.sights
    return earliest(sights[job_id].expected_start for job_id in ids if job_id in sights)


def _held(group: Group, situation: Situation) -> CauseText:
    return _of_job(group, Need.PERSON, situation)


def _pending(group: Group, situation: Situation) -> CauseText:
    return _of_job(group, Need.TIME, situation)


def _suspended(group: Group, situation: Situation) -> CauseText:
    ids = jobs_of(group)
    was = "was" if len(ids) == 1 else "were"
    message = f"{named(ids, 'job')} ({tasks_of(group)}) {was} suspended on {group.key.backend}"
    since = earliest(attempt.started_at for attempt in attempts_of(group))
    first = attempts_of(group)[0]
    words = situation.words_of(first.backend)
    resume = words.reason(first.reason, first.raw_state).action
    action = f"{_filled(resume, ids, words)}\n# if that is refused, ask the administrators of the cluster"
    return CauseText(Need.PERSON, since, message, action)


def _running(group: Group, situation: Situation) -> CauseText:
    now = situation.context.now
    attempts = sorted(attempts_of(group), key=lambda a: a.started_at or a.prepared_at)
    oldest = attempts[0]
    number = len(attempts)
    told = f"{count(number, 'job')} {'runs' if number == 1 else 'run'} on {group.key.backend}"
    if not situation.context.engine.condition.serves:
        told += ", as an engine last saw"
    name = next(task.task_id for task in group.tasks if task.attempt is oldest)
    longest = f"task {name}" + (", the longest," if number > 1 else "")
    if oldest.started_at is not None:
        longest += f" for {duration(seconds_between(oldest.started_at, now))}"
        longest += _walltime_left(oldest.started_at, oldest.walltime_s, now)
    where = f" on {nodes}" if (nodes := _nodes(oldest, situation)) else ""
    far = _finishing(group, situation)
    return CauseText(Need.NOTHING, oldest.started_at, f"{told}: {longest} (job {oldest.job_id}{where}){far}")


def _walltime_left(started_at: UtcTime, walltime_s: int | None, now: UtcTime) -> str:
    if walltime_s is None:
        return ""
    left = after(started_at, walltime_s, now)
    if left >= 0:
        return f", with {duration(left)} of its walltime left"
    return f", {duration(-left)} longer than its walltime"


def _nodes(attempt: AttemptView, situation: Situation) -> str:
    """Where a job runs, if that is known."""
    context = situation.context
    if situation.words_of(attempt.backend).is_here:
        return context.engine.host
    sight = context.sights.get(attempt.job_id) if attempt.job_id is not None else None
    return sight.nodes if sight is not None else ""


def _submitting(group: Group, situation: Situation) -> CauseText:
    message = f"{tasks_of(group)} {are(len(group.tasks))} about to be submitted to {group.key.backend}"
    since = earliest(attempt.prepared_at for attempt in attempts_of(group) if attempt.is_live)
    return CauseText(Need.NOTHING, since or situation.run.updated_at, message)


def _finishing(group: Group, situation: Situation) -> str:
    """How far large outputs have come home, or were looked at; empty where there are none."""
    known = situation.context.finishing
    told = finishing_words(known[task.task_id] for task in group.tasks if task.task_id in known)
    return f"; {told}" if told else ""


def _collecting(group: Group, situation: Situation) -> CauseText:
    message = f"the outputs of {tasks_of(group)} are to be looked at: {count(len(group.tasks), 'job')} ended"
    message += _finishing(group, situation)
    return CauseText(Need.NOTHING, earliest(a.ended_at for a in attempts_of(group)), message)


def _retry_waiting(group: Group, _situation: Situation) -> CauseText:
    first = group.tasks[0]
    which = f"try {first.tries + 1} of {first.retries + 1}" if len(group.tasks) == 1 else "another try"
    waits = "waits" if len(group.tasks) == 1 else "wait"
    why = first.reason.removeprefix("tried again ")
    message = f"{tasks_of(group)} {waits} for {which} {why}"
    return CauseText(Need.TIME, earliest(a.ended_at for a in attempts_of(group)), message)


def _unclear(group: Group, situation: Situation) -> CauseText:
    unclear = [
        task
        for task in group.tasks
        if task.status is TaskStatus.ACTIVE and task.attempt is not None and task.attempt.job_id is None
    ]
    names = [task.task_id for task in unclear]
    since = earliest(task.attempt.prepared_at for task in unclear if task.attempt is not None)
    whose = "the engine" if situation.context.engine.condition.serves else "the next engine"
    message = (
        f"nobody knows yet whether {named(names)} {'was' if len(names) == 1 else 'were'} submitted to "
        f"{group.key.backend}: {whose} looks for the job there, and submits anew only when there is none"
    )
    return CauseText(Need.TIME, since, message)


TELLERS: Final[Mapping[Kind, CauseWriter]] = {
    Kind.JOB_HELD: _held,
    Kind.JOB_NEVER_STARTS: _held,
    Kind.JOB_SUSPENDED: _suspended,
    Kind.SUBMISSION_UNCLEAR: _unclear,
    Kind.JOB_PENDING: _pending,
    Kind.RETRY_WAITING: _retry_waiting,
    Kind.SUBMITTING: _submitting,
    Kind.COLLECTING: _collecting,
    Kind.JOB_RUNNING: _running,
}
