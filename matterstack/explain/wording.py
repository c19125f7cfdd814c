"""What people are told of each kind of cause: words with names and numbers, and what they can do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

import attrs

from matterstack.core.ids import JobId, UtcTime
from matterstack.core.states import RunStatus, TaskStatus
from matterstack.explain.causes import Cause, Kind, Need
from matterstack.explain.rules import OTHERS, Key
from matterstack.explain.situation import (
    AttemptView,
    BackendView,
    Condition,
    Health,
    SeatHolder,
    Situation,
    TaskView,
)
from matterstack.explain.slurm_reasons import reason_in_words
from matterstack.explain.words import after, clock, count, duration, job_list, named, seconds_between

MOST_IN_COMMAND: Final = 8
"""How many names a command for a person may hold; else it names what has them all."""
MOST_SUMMED_UP: Final = 5
_SLURM_COMMANDS: Final = ("scontrol ", "scancel ", "sinfo ", "squeue ")


@attrs.define
class Group:
    """Tasks that a cause holds up directly.  ``bit`` stands for the cause in sets of causes."""

    key: Key
    bit: int
    tasks: list[TaskView] = attrs.field(factory=list)


@attrs.frozen
class Telling:
    """What is told of a cause, but for what it blocks."""

    need: Need
    since: UtcTime | None
    message: str
    action: str = ""


def worded(group: Group, situation: Situation, blocks: int) -> Cause:
    """Put a cause into words."""
    told = _TELLERS[group.key.kind](group, situation)
    return Cause(
        kind=group.key.kind,
        need=told.need,
        since=told.since,
        blocks=blocks,
        message=told.message,
        action=told.action,
        tasks=tuple(task.task_id for task in group.tasks),
    )


# ---- the run and its surroundings ----


def _full_disk(_group: Group, situation: Situation) -> Telling:
    where = situation.context.full_disk
    message = f"the disk is full ({where}): nothing can be written, so nothing is begun; nothing is lost"
    return Telling(Need.PERSON, None, message, f"df -h {situation.context.root}")


def _paused(_group: Group, situation: Situation) -> Telling:
    run = situation.run
    live = situation.live_jobs
    served = situation.context.engine.condition.serves
    followed = f"; {count(live, 'job')} of it {_are(live)} followed meanwhile" if live and served else ""
    message = f"the run is {run.status_reason or 'paused'}{followed}"
    return Telling(Need.PERSON, run.since, message, f"matterstack run resume {run.run_id}")


def _no_engine(_group: Group, situation: Situation) -> Telling:
    run, engine = situation.run, situation.context.engine
    was = "; it has not begun" if run.status is RunStatus.PENDING else ""
    if engine.condition is Condition.DEAD:
        was = f"; the last one ({engine}) has died"
    live = situation.live_jobs
    jobs = f"; {count(live, 'job')} of it may still be at work, and will be found again" if live else ""
    message = f"no engine serves the run{was}{jobs}"
    return Telling(Need.PERSON, run.updated_at, message, f"matterstack run loop {run.run_id}")


def _lease_held(_group: Group, situation: Situation) -> Telling:
    run, engine = situation.run, situation.context.engine
    if engine.condition is Condition.STOPPED:
        message = (
            f"the engine that serves the run ({engine}) lives, but was stopped (Ctrl-Z or SIGSTOP does that)"
        )
        return Telling(Need.PERSON, run.updated_at, message, f"kill -CONT {engine.pid}")
    message = (
        f"an engine on another machine ({engine}) holds the run, and from here nobody can tell whether it "
        "lives; no other engine takes the run up"
    )
    action = f"# if that machine is dead, or its engine is:\nmatterstack check --break-lease {run.run_id}"
    return Telling(Need.PERSON, run.updated_at, message, action)


def _command_waiting(_group: Group, situation: Situation) -> Telling:
    command, engine = situation.context.command, situation.context.engine
    if command is None:
        return Telling(Need.TIME, None, "a command waits to be carried out")
    message = (
        f"the {command.type} that {command.by} asked for is not carried out yet: the engine ({engine}) first "
        "waits for submissions that are under way"
    )
    return Telling(Need.TIME, command.at, message)


def _planning_failed(_group: Group, situation: Situation) -> Telling:
    run = situation.run
    action = (
        f"tail {run.planning_log}\n"
        f"# mend workspaces/{run.workspace}/campaign.py, then:\n"
        f"matterstack run retry {run.run_id}"
    )
    message = f"the campaign could not plan: {run.status_reason}"
    return Telling(Need.PERSON, run.since or run.updated_at, message, action)


def _run_failed(_group: Group, situation: Situation) -> Telling:
    run = situation.run
    action = f"matterstack run retry {run.run_id}"
    return Telling(Need.PERSON, run.since or run.updated_at, f"the run FAILED: {run.status_reason}", action)


def _ending(_group: Group, situation: Situation) -> Telling:
    run = situation.run
    live = situation.live_jobs
    left = f"{count(live, 'job')} of it {_are(live)} being ended" if live else "no job is left"
    why = (
        f"being {run.ending_reason}" if run.ending is RunStatus.CANCELLED else f"failing: {run.ending_reason}"
    )
    return Telling(Need.NOTHING, run.since, f"the run is {why}; {left}")


def _planning(_group: Group, situation: Situation) -> Telling:
    run = situation.run
    message = f"campaign.py is planning iteration {run.iteration + 1}; {_patience(situation)}"
    return Telling(Need.NOTHING, run.updated_at, message, f"tail {run.planning_log}")


def _analysis(_group: Group, situation: Situation) -> Telling:
    run = situation.run
    message = f"campaign.py is analyzing iteration {run.iteration}; {_patience(situation)}"
    return Telling(Need.NOTHING, run.updated_at, message, f"tail {run.planning_log}")


def _patience(situation: Situation) -> str:
    limit = duration(situation.run.planning_timeout_s)
    return f"it may take {limit} (planning_timeout_s)"


def _completed(_group: Group, situation: Situation) -> Telling:
    run = situation.run
    message = f"the run COMPLETED after {count(run.iteration, 'iteration')}: the campaign's goal is met"
    return Telling(Need.NOTHING, run.since or run.updated_at, message)


def _cancelled(_group: Group, situation: Situation) -> Telling:
    run = situation.run
    message = f"the run was {run.status_reason or 'cancelled'}; that is for ever"
    action = f"# a new run of the same campaign:\nmatterstack run init {run.workspace}"
    return Telling(Need.NOTHING, run.since or run.updated_at, message, action)


# ---- tasks that have failed ----


def _task_failed(group: Group, situation: Situation) -> Telling:
    run, tasks = situation.run, group.tasks
    names = [task.task_id for task in tasks]
    since = _earliest(task.attempt.ended_at for task in tasks if task.attempt is not None)
    log = f"matterstack run logs {run.run_id} {names[0]} --stderr"
    chosen = names if len(names) <= MOST_IN_COMMAND else []
    retry = " ".join(["matterstack run retry", run.run_id, *chosen])
    ran = any(task.attempt is not None and task.attempt.started_at is not None for task in tasks)
    alike = {task.reason for task in tasks}
    reason = tasks[0].reason if len(alike) == 1 else f"for {len(alike)} different reasons"
    return Telling(
        Need.PERSON, since, f"{named(names)} failed: {reason}", f"{log}\n{retry}" if ran else retry
    )


def _waits_in_vain(group: Group, situation: Situation) -> Telling:
    names = [task.task_id for task in group.tasks]
    message = f"{named(names)} waits for tasks that have ended without success"
    return Telling(Need.PERSON, None, message, f"matterstack run retry {situation.run.run_id}")


# ---- jobs ----


def _attempts(group: Group) -> list[AttemptView]:
    return [task.attempt for task in group.tasks if task.attempt is not None]


def _jobs(group: Group) -> list[JobId]:
    return [attempt.job_id for attempt in _attempts(group) if attempt.job_id is not None]


def _earliest(times: Iterable[UtcTime | None]) -> UtcTime | None:
    return min((at for at in times if at is not None), default=None)


def _of_job(group: Group, need: Need, situation: Situation) -> Telling:
    """A job that Slurm does not start, for the reason in the key."""
    first = _attempts(group)[0]
    reason = reason_in_words(first.reason, first.raw_state)
    word = first.reason.partition(",")[0] or first.raw_state or "PENDING"
    if group.key.detail == OTHERS:
        reason, word = attrs.evolve(reason, words=f"several reasons, such as: {reason.words}"), f"{word}, …"
    ids = _jobs(group)
    one = len(ids) == 1
    waits = f"{'waits' if one else 'wait'} in the queue of {group.key.backend}"
    message = f"{named(ids, 'job')} ({_of_tasks(group)}) {waits}: {reason.words} ({word})"
    start = _expected_start(ids, situation)
    if start is not None and need is Need.TIME:
        which = "" if one else "the first "
        message += f"; {which}expected to start at {clock(start, situation.context.now)}"
    since = _earliest(attempt.submitted_at for attempt in _attempts(group))
    action = reason.action.format(ids=job_list(ids), id=next(iter(ids), ""))
    if group.key.kind is Kind.JOB_NEVER_STARTS:
        action += f"\n# or give {'it' if one else 'them'} up:\nscancel --state=PENDING {job_list(ids)}"
    return Telling(need, since, message, _where_slurm_is(action, _backend(group, situation)))


def _where_slurm_is(action: str, backend: BackendView) -> str:
    """The same, where Slurm's commands are there on a login node only."""
    if not backend.ssh_host:
        return action
    lines = action.splitlines()
    return "\n".join(
        f"ssh {backend.ssh_host} {line}" if line.startswith(_SLURM_COMMANDS) else line for line in lines
    )


def _of_tasks(group: Group) -> str:
    return named([task.task_id for task in group.tasks])


def _expected_start(ids: Iterable[JobId], situation: Situation) -> UtcTime | None:
    sights = situation.context.sights
    return _earliest(sights[job_id].expected_start for job_id in ids if job_id in sights)


def _held(group: Group, situation: Situation) -> Telling:
    return _of_job(group, Need.PERSON, situation)


def _pending(group: Group, situation: Situation) -> Telling:
    return _of_job(group, Need.TIME, situation)


def _suspended(group: Group, situation: Situation) -> Telling:
    ids = _jobs(group)
    was = "was" if len(ids) == 1 else "were"
    message = f"{named(ids, 'job')} ({_of_tasks(group)}) {was} suspended on {group.key.backend}"
    since = _earliest(attempt.started_at for attempt in _attempts(group))
    resume = _where_slurm_is(f"scontrol resume {job_list(ids)}", _backend(group, situation))
    action = f"{resume}\n# if that is refused, ask the administrators of the cluster"
    return Telling(Need.PERSON, since, message, action)


def _running(group: Group, situation: Situation) -> Telling:
    now = situation.context.now
    attempts = sorted(_attempts(group), key=lambda a: a.started_at or a.prepared_at)
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
    return Telling(Need.NOTHING, oldest.started_at, f"{told}: {longest} (job {oldest.job_id}{where})")


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
    backend = context.backends.get(attempt.backend)
    if backend is not None and backend.type == "local":
        return context.engine.host
    sight = context.sights.get(attempt.job_id) if attempt.job_id is not None else None
    return sight.nodes if sight is not None else ""


def _submitting(group: Group, situation: Situation) -> Telling:
    message = f"{_of_tasks(group)} {_are(len(group.tasks))} about to be submitted to {group.key.backend}"
    since = _earliest(attempt.prepared_at for attempt in _attempts(group) if attempt.is_live)
    return Telling(Need.NOTHING, since or situation.run.updated_at, message)


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def _collecting(group: Group, _situation: Situation) -> Telling:
    message = f"the outputs of {_of_tasks(group)} are to be looked at: {count(len(group.tasks), 'job')} ended"
    return Telling(Need.NOTHING, _earliest(a.ended_at for a in _attempts(group)), message)


def _answer_rejected(group: Group, situation: Situation) -> Telling:
    message = f"the answer to {_of_tasks(group)} was not taken: {group.key.detail}"
    return Telling(Need.PERSON, _asked_since(group), message, _respond(group, situation))


def _waits_for_person(group: Group, situation: Situation) -> Telling:
    message = f"{_of_tasks(group)} {_wait(group)} for the answer of a person"
    return Telling(Need.PERSON, _asked_since(group), message, _respond(group, situation))


def _gate(group: Group, situation: Situation) -> Telling:
    message = f"{_of_tasks(group)} {_wait(group)} for somebody to approve or reject what was done"
    return Telling(Need.PERSON, _asked_since(group), message, _respond(group, situation, " --approve"))


def _waits_for_job_by_hand(group: Group, situation: Situation) -> Telling:
    if group.key.detail:
        message = f"{_of_tasks(group)} {_wait(group)} for the end of {group.key.detail}, submitted by hand"
        return Telling(Need.TIME, _asked_since(group), message)
    message = f"{_of_tasks(group)} {_wait(group)} for somebody to submit a job by hand"
    return Telling(Need.PERSON, _asked_since(group), message, _respond(group, situation))


def _waits_for_instrument(group: Group, situation: Situation) -> Telling:
    message = f"{_of_tasks(group)} {_wait(group)} for a laboratory or an instrument"
    if group.key.detail:
        return Telling(Need.TIME, _asked_since(group), f"{message}: {group.key.detail}")
    message += ", which has not taken the request on yet"
    return Telling(Need.PERSON, _asked_since(group), message, _respond(group, situation))


def _wait(group: Group) -> str:
    return "waits" if len(group.tasks) == 1 else "wait"


def _asked_since(group: Group) -> UtcTime | None:
    return _earliest(attempt.prepared_at for attempt in _attempts(group))


def _respond(group: Group, situation: Situation, option: str = "") -> str:
    return f"matterstack respond {situation.run.run_id} {group.tasks[0].task_id}{option}"


def _retry_waiting(group: Group, _situation: Situation) -> Telling:
    first = group.tasks[0]
    which = f"try {first.tries + 1} of {first.retries + 1}" if len(group.tasks) == 1 else "another try"
    waits = "waits" if len(group.tasks) == 1 else "wait"
    why = first.reason.removeprefix("tried again ")
    message = f"{_of_tasks(group)} {waits} for {which} {why}"
    return Telling(Need.TIME, _earliest(a.ended_at for a in _attempts(group)), message)


def _unclear(group: Group, situation: Situation) -> Telling:
    unclear = [
        task
        for task in group.tasks
        if task.status is TaskStatus.ACTIVE and task.attempt is not None and task.attempt.job_id is None
    ]
    names = [task.task_id for task in unclear]
    since = _earliest(task.attempt.prepared_at for task in unclear if task.attempt is not None)
    whose = "the engine" if situation.context.engine.condition.serves else "the next engine"
    message = (
        f"nobody knows yet whether {named(names)} {'was' if len(names) == 1 else 'were'} submitted to "
        f"{group.key.backend}: {whose} looks for the job there, and submits anew only when there is none"
    )
    return Telling(Need.TIME, since, message)


# ---- backends ----


def _backend(group: Group, situation: Situation) -> BackendView:
    name = group.key.backend
    return next(b for b in situation.context.backends.values() if b.name == name)


def _health(group: Group, situation: Situation) -> Health:
    return _backend(group, situation).health


def _backend_out(group: Group, situation: Situation) -> Telling:
    health = _health(group, situation)
    message = (
        f"backend {group.key.backend} does not answer: {health.problem or 'no word from it'}; jobs that run "
        "go on, and so does the run as soon as it answers"
    )
    return Telling(Need.REPAIR, health.out_since, message, "matterstack doctor")


def _ssh_out(group: Group, situation: Situation) -> Telling:
    backend = _backend(group, situation)
    problem = backend.health.problem or "no word from it"
    message = f"the login node of backend {backend.name} cannot be used: {problem}; jobs that run go on"
    # Keys, codes and passwords are asked for in a terminal; a network mends itself.
    need = Need.PERSON if "in a terminal" in problem else Need.REPAIR
    return Telling(need, backend.health.out_since, message, f"ssh {backend.ssh_host}")


def _accounting_out(group: Group, situation: Situation) -> Telling:
    health = _health(group, situation)
    problem = health.accounting_problem or "no word from it"
    message = (
        f"the accounting of {group.key.backend} does not answer: {problem}; jobs that fail are concluded "
        "when it does"
    )
    return Telling(Need.REPAIR, health.accounting_out_since, message, "matterstack doctor")


def _site_limit(group: Group, situation: Situation) -> Telling:
    health = _health(group, situation)
    message = (
        f"backend {group.key.backend} takes no more jobs for now, a limit of the site is used up: "
        f"{health.limit or 'it did not say which'}; submitted again when other jobs have ended"
    )
    action = _where_slurm_is("squeue --me", _backend(group, situation))
    return Telling(Need.REPAIR, health.limited_since, message, action)


def _run_cap(_group: Group, situation: Situation) -> Telling:
    run = situation.run
    live = situation.live_jobs
    message = (
        f"the run has {count(live, 'job')}, and may have no more than {run.job_cap} at once "
        "(max_hpc_jobs_per_run); the next ones follow as these end"
    )
    backends = situation.context.backends.values()
    mine = (h.last_at for b in backends for h in b.holders if h.run_id == run.run_id)
    action = f"# for new runs: max_hpc_jobs_per_run in workspaces/{run.workspace}/config.json"
    return Telling(Need.TIME, max(mine, default=None), message, action)


def _backend_cap(group: Group, situation: Situation) -> Telling:
    backend = _backend(group, situation)
    mine = situation.run.run_id
    others = sorted(backend.holders, key=lambda h: (-h.seats, h.run_id))
    told = [_seats_of(h, mine) for h in others[:MOST_SUMMED_UP]]
    if len(others) > MOST_SUMMED_UP:
        rest = others[MOST_SUMMED_UP:]
        told.append(f"{sum(h.seats for h in rest)} by {len(rest)} more runs")
    all_seats, are = (
        (f"all {backend.max_jobs} seats", "are") if backend.max_jobs > 1 else ("the only seat", "is")
    )
    message = f"{all_seats} of backend {backend.name} (max_jobs) {are} taken: {', '.join(told)}"
    unserved = [h.run_id for h in others if h.run_id != mine and _is_left_alone(h)]
    if unserved:
        ids = unserved if len(unserved) <= MOST_IN_COMMAND else []
        action = " ".join(["matterstack run loop", *ids])
        message += "; a seat is free only when an engine has seen the end of its job"
        return Telling(Need.PERSON, backend.full_since, message, action)
    action = f"# for new runs: backends.{backend.name}.max_jobs in config.json"
    return Telling(Need.TIME, backend.full_since, message, action)


def _is_left_alone(holder: SeatHolder) -> bool:
    return holder.engine.condition in {Condition.NONE, Condition.DEAD}


def _seats_of(holder: SeatHolder, mine: str) -> str:
    if holder.run_id == mine:
        return f"{holder.seats} by this run"
    if _is_left_alone(holder):
        return f"{holder.seats} by run {holder.run_id}, which no engine serves"
    return f"{holder.seats} by run {holder.run_id} ({holder.engine})"


_TELLERS: Final[Mapping[Kind, Callable[[Group, Situation], Telling]]] = {
    Kind.DISK_FULL: _full_disk,
    Kind.PAUSED: _paused,
    Kind.NO_ENGINE: _no_engine,
    Kind.LEASE_HELD: _lease_held,
    Kind.COMMAND_WAITING: _command_waiting,
    Kind.PLANNING_FAILED: _planning_failed,
    Kind.TASK_FAILED: _task_failed,
    Kind.RUN_FAILED: _run_failed,
    Kind.WAITS_IN_VAIN: _waits_in_vain,
    Kind.JOB_HELD: _held,
    Kind.JOB_NEVER_STARTS: _held,
    Kind.JOB_SUSPENDED: _suspended,
    Kind.SSH_OUT: _ssh_out,
    Kind.BACKEND_OUT: _backend_out,
    Kind.ACCOUNTING_OUT: _accounting_out,
    Kind.SITE_LIMIT: _site_limit,
    Kind.SUBMISSION_UNCLEAR: _unclear,
    Kind.BACKEND_CAP: _backend_cap,
    Kind.RUN_CAP: _run_cap,
    Kind.JOB_PENDING: _pending,
    Kind.ANSWER_REJECTED: _answer_rejected,
    Kind.WAITS_FOR_PERSON: _waits_for_person,
    Kind.GATE: _gate,
    Kind.WAITS_FOR_JOB_BY_HAND: _waits_for_job_by_hand,
    Kind.WAITS_FOR_INSTRUMENT: _waits_for_instrument,
    Kind.RETRY_WAITING: _retry_waiting,
    Kind.ENDING: _ending,
    Kind.PLANNING: _planning,
    Kind.ANALYSIS: _analysis,
    Kind.SUBMITTING: _submitting,
    Kind.COLLECTING: _collecting,
    Kind.JOB_RUNNING: _running,
    Kind.COMPLETED: _completed,
    Kind.CANCELLED: _cancelled,
}
