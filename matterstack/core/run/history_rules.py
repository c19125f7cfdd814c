"""The rules that every history obeys, checked over all facts of a store.

Pure: the events go in, in the order of their sequence numbers, and what contradicts a rule comes out: of
each rule the first fact of each run that breaks it.  The rules are those that people rely on:

    gap      sequence numbers count without gaps, but for those of runs that were deleted, as these say
    fold     every fact follows from those before it: legal transitions, one job and one end per attempt
    cap      an attempt is prepared only while its run and its backend have a free seat
    paused   nothing is prepared, and no job is started, between a pause and the resume
    held     nothing is prepared once so many tasks have failed alike that the run is to be held
    ended    nothing happens to a run after its end, unless a person reopens it; CANCELLED is for ever (what
             the run is about may be said anew at any time; unless it is CANCELLED, tasks may be amended for a
             retry, and its config)
    cancel   what a person cancelled is CANCELLED, or was done in time; it gets no other end, and no other try
    amended  an attempt is prepared with its task's newest definition, never with an older one, and for the
             backend that the config in force says; an amended config tells each change that it makes and no
             other, leaves live attempts their backends, and changes nothing that stays as it was
    code     a campaign that changed is told before what it planned or analyzed (part of ``fold``)
    live     a task or a run that has ended has left no attempt live
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import attrs

from matterstack.core.errors import MatterStackError
from matterstack.core.ids import BackendName, RunId, TaskId, Token
from matterstack.core.model.amending import value_at
from matterstack.core.model.definition_merge import differences
from matterstack.core.model.workflow import Task
from matterstack.core.operators import ASKED
from matterstack.core.run import facts as f
from matterstack.core.run.apply import Touched, apply, new_run
from matterstack.core.run.campaign_code import named
from matterstack.core.run.decide_amend_config import amendment_problem
from matterstack.core.run.decide_jobs import is_to_be_given_up
from matterstack.core.run.numbers import Range, count_numbers, missing_beside, read_numbers
from matterstack.core.run.state import AttemptState, RunState
from matterstack.core.states import ENDED_JOBS, ENDED_RUNS, JobState, Phase, RunStatus, TaskStatus

_FOREIGN = (MatterStackError, LookupError, ValueError, TypeError, AttributeError)
"""What comes of facts that no decision ever made."""
_TASK_ENDS = (
    f.TaskSucceeded,
    f.TaskFailed,
    f.TaskRetried,
    f.TaskResubmitted,
    f.TaskCancelled,
    f.TaskSkipped,
)
_RUN_ENDS = (f.RunCompleted, f.RunFailed, f.RunCancelled)


@attrs.frozen
class Problem:
    """A rule that does not hold.

    Attributes:
        run_id: of the run; None where it concerns the whole store.
        seq: sequence number of the first fact that breaks the rule; None where no single one does.
    """

    run_id: RunId | None
    seq: int | None
    rule: str
    problem: str


@attrs.define
class HistoryChecker:
    """Folds a history and checks it on the way.  O(facts), and what the states of all runs take.

    Attributes:
        states: what the facts so far give; a run whose history cannot be folded is left out.
        broken: the runs that are left out.
        touched: what the last event changed.
        gone: numbers of events of runs that were deleted, ascending, as all deletions of the store name them.
        deleted: the runs that were deleted.
    """

    states: dict[RunId, RunState] = attrs.field(factory=dict)
    broken: set[RunId] = attrs.field(factory=set)
    touched: Touched = attrs.field(factory=Touched)
    gone: Sequence[Range] = ()
    deleted: set[RunId] = attrs.field(factory=set)
    _live: Counter[BackendName] = attrs.field(factory=Counter)
    _tokens: set[Token] = attrs.field(factory=set)
    _reported: set[tuple[RunId | None, str]] = attrs.field(factory=set)
    _last_seq: int = 0

    def check(self, event: f.Event) -> Iterator[Problem]:
        """Take the next event in."""
        yield from self._first(self._check_seq(event.seq))
        if event.run_id not in self.broken:
            yield from self._first(self._check_fact(event))

    def cannot_read(self, seq: int, run_id: RunId, problem: str) -> Iterator[Problem]:
        """Take note of an event whose fact is none that this version knows."""
        yield from self._first(self._check_seq(seq))
        if run_id not in self.broken:
            self._leave_out(run_id)
            yield from self._first(iter([Problem(run_id, seq, "fold", problem)]))

    def _first(self, problems: Iterator[Problem]) -> Iterator[Problem]:
        for problem in problems:
            key = (problem.run_id, problem.rule)
            if key not in self._reported:
                self._reported.add(key)
                yield problem

    def _check_seq(self, seq: int) -> Iterator[Problem]:
        first, last = self._last_seq + 1, seq - 1
        self._last_seq = seq
        found = missing_beside(first, last, self.gone) if last >= first else None
        if found is not None:
            first, last = found
            missing = f"number {first} is" if first == last else f"numbers {first} to {last} are"
            yield Problem(None, seq, "gap", f"the events before this one are incomplete: {missing} missing")

    def _check_fact(self, event: f.Event) -> Iterator[Problem]:
        state = self.states.get(event.run_id)
        try:
            if event.run_id in self.deleted:
                raise ValueError("the run was deleted before")
            if isinstance(event.fact, f.RunDeleted):
                self._delete(event, event.fact)
                return
            if state is not None:
                yield from _check_before(state, event)
                self._refuse_contradiction(state, event.fact)
            ending = None if state is None else _attempt_of(state, event.fact)
            state = self._apply(state, event)
            yield from self._count_seats(state, event, ending)
        except _FOREIGN as error:
            self._leave_out(event.run_id)
            text = str(error) if isinstance(error, MatterStackError | ValueError) else repr(error)
            yield Problem(event.run_id, event.seq, "fold", f"{_name(event)} cannot be: {text}")

    def _delete(self, event: f.Event, fact: f.RunDeleted) -> None:
        if event.run_id in self.states:
            raise ValueError("events of the run are there")
        ranges = read_numbers(fact.numbers)
        if count_numbers(ranges) != fact.events or ranges[-1][1] >= event.seq:
            raise ValueError(f"{fact.events} events before it were not {fact.numbers[:80]}")
        self.deleted.add(event.run_id)
        self.touched = Touched()

    def _refuse_contradiction(self, state: RunState, fact: f.Fact) -> None:
        what = _contradiction(state, fact)
        if isinstance(fact, f.AttemptPrepared) and fact.token in self._tokens:
            what = f"its token {fact.token} is that of an earlier attempt"
        if what is not None:
            raise ValueError(what)

    def _apply(self, state: RunState | None, event: f.Event) -> RunState:
        if state is None:
            if not isinstance(event.fact, f.RunCreated):
                raise ValueError("the first fact of a run must be RunCreated")
            self.touched = Touched(run=True)
            self.states[event.run_id] = state = new_run(event.run_id, event.fact, event.at)
            return state
        self.touched = Touched()
        apply(state, event.fact, event.at, self.touched)
        return state

    def _leave_out(self, run_id: RunId) -> None:
        self.broken.add(run_id)
        state = self.states.pop(run_id, None)
        for attempt in state.live.values() if state else ():
            self._live[attempt.backend] -= 1

    def _count_seats(self, state: RunState, event: f.Event, ending: AttemptState | None) -> Iterator[Problem]:
        if ending is not None and ending.token not in state.live:
            self._live[ending.backend] -= 1
        if not isinstance(event.fact, f.AttemptPrepared):
            return
        self._live[event.fact.backend] += 1
        self._tokens.add(event.fact.token)
        yield from self._check_caps(state, event, event.fact.backend)

    def _check_caps(self, state: RunState, event: f.Event, backend: BackendName) -> Iterator[Problem]:
        if backend == ASKED:
            return
        own, shared = len(state.live) - state.asking, self._live[backend]
        if own > state.job_cap:
            text = f"{_name(event)} is live attempt {own} of its run, which may have {state.job_cap}"
            yield Problem(state.run_id, event.seq, "cap", text)
        if shared > state.backend_cap(backend):
            most = state.backend_cap(backend)
            text = f"{_name(event)} is live attempt {shared} of backend {backend}, which may have {most}"
            yield Problem(state.run_id, event.seq, "cap", text)


def _check_before(state: RunState, event: f.Event) -> Iterator[Problem]:
    fact = event.fact
    if state.has_ended and not _may_come_after_the_end(state, fact):
        text = f"{_name(event)} came after the run was {state.status}"
        yield Problem(state.run_id, event.seq, "ended", text)
    if isinstance(fact, f.ConfigAmended) and (problem := amendment_problem(state, fact)):
        yield Problem(state.run_id, event.seq, "amended", f"{_name(event)} cannot be: {problem}")
    starts = isinstance(fact, f.AttemptPrepared) or (isinstance(fact, f.JobAccepted) and not fact.adopted)
    if state.status is RunStatus.PAUSED and starts:
        yield Problem(state.run_id, event.seq, "paused", f"{_name(event)} came while the run was paused")
    if isinstance(fact, f.AttemptPrepared) and (common := state.to_be_held_for):
        text = (
            f"{_name(event)} came after {state.holding.alike[common].total} tasks had failed alike: {common}"
        )
        yield Problem(state.run_id, event.seq, "held", text)
    if state.ending is not None and isinstance(fact, f.AttemptPrepared):
        yield Problem(state.run_id, event.seq, "ended", f"{_name(event)} came while the run was being ended")
    if isinstance(fact, f.TaskFailed | f.TaskRetried) and _is_cancelled(state, fact.task_id):
        yield Problem(state.run_id, event.seq, "cancel", f"{_name(event)} came while it was being cancelled")
    if isinstance(fact, f.AttemptPrepared) and (why := _is_of_old(state, fact)):
        yield Problem(state.run_id, event.seq, "amended", f"{_name(event)} {why}")
    left = _left_live(state, fact)
    if left is not None:
        yield Problem(state.run_id, event.seq, "live", f"{_name(event)} came while attempt {left} was live")


def _is_of_old(state: RunState, fact: f.AttemptPrepared) -> str | None:
    """Why an attempt is not what its task's definition and the config say; None if it is."""
    task = state.tasks.get(fact.task_id)
    if task is None:
        return None
    if fact.version != task.version:
        return f"is of version {fact.version} of its task, which was amended to version {task.version}"
    if fact.backend != (backend := state.backend_of(task.task)):
        return f"is on backend {fact.backend}, and its task is to run on {backend}"
    asked, wanted = fact.resources, task.task.resources
    grown = attrs.evolve(wanted, walltime_s=asked.walltime_s, memory_mib=asked.memory_mib)
    less = any(
        most is not None and (value is None or value < most)
        for value, most in ((asked.walltime_s, wanted.walltime_s), (asked.memory_mib, wanted.memory_mib))
    )
    return "asks for other resources than its task's definition says" if grown != asked or less else None


def _may_come_after_the_end(state: RunState, fact: f.Fact) -> bool:
    if isinstance(fact, f.ConfigAmended):
        return state.status is not RunStatus.CANCELLED
    return isinstance(fact, f.RunReopened | f.EventsLost | f.AboutChanged | f.TaskAmended)


def _left_live(state: RunState, fact: f.Fact) -> Token | None:
    """An attempt that should have ended before this."""
    if isinstance(fact, _RUN_ENDS):
        return next(iter(state.live), None)
    if isinstance(fact, _TASK_ENDS) and fact.task_id in state.tasks:
        last = state.tasks[fact.task_id].last_attempt
        return last.token if last is not None and last.ended_at is None else None
    return None


def _contradiction(state: RunState, fact: f.Fact) -> str | None:
    """What a fact says that the tables of transitions do not rule out, and no decision ever says."""
    return (
        _run_contradiction(state, fact)
        or _plan_contradiction(state, fact)
        or _replan_contradiction(state, fact)
        or _task_contradiction(state, fact)
        or _resubmit_contradiction(state, fact)
        or _job_contradiction(state, fact)
    )


def _run_contradiction(state: RunState, fact: f.Fact) -> str | None:
    status = state.status
    match fact:
        case f.RunStarted() if status is not RunStatus.PENDING:
            return f"the run was {status}"
        case f.RunPaused(alike=alike) if alike is not None and alike.common != state.to_be_held_for:
            return f"no {alike.count} tasks had failed alike with {alike.common}"
        case f.RunResumed() if status is not RunStatus.PAUSED:
            return f"the run was {status}"
        case f.RunReopened() if status not in ENDED_RUNS:
            return f"the run was {status}"
        case f.TaskAmended() if status is RunStatus.CANCELLED or state.ending is not None:
            return f"the run was {state.ending or status}"
        case f.TaskAmended(task_id=task_id) if task_id in state.tasks and _has_succeeded(state, task_id):
            return "the task had succeeded"
        case f.TaskAmended(task_id=task_id) if task_id in state.tasks:
            return _amendment_contradiction(state.tasks[task_id].task, fact)
        case f.AttemptPrepared() | f.IterationPlanned() if status is RunStatus.PENDING:
            return "the run had not started"
        case _ if isinstance(fact, _RUN_ENDS) and state.open_count and not state.has_ended:
            return f"{state.open_count} of its tasks had not ended"
    return None


def _amendment_contradiction(task: Task, fact: f.TaskAmended) -> str | None:
    for path, change in fact.changes.items():
        if (value := value_at(task, path)) != change.old:
            return f"{path} was {value!r}, not {change.old!r}"
    if all(change.old == change.new for change in fact.changes.values()):
        return "it changes nothing"
    return None


def _has_succeeded(state: RunState, task_id: TaskId) -> bool:
    return state.tasks[task_id].status is TaskStatus.SUCCEEDED


def _plan_contradiction(state: RunState, fact: f.Fact) -> str | None:
    match fact:
        case f.IterationPlanned(iteration=number) if number != state.iteration + 1:
            return f"iteration {number} was planned after iteration {state.iteration}"
        case f.IterationPlanned() | f.RunCompleted() if state.phase is not Phase.PLANNING:
            return f"iteration {state.iteration} had not been analyzed"
        case f.IterationAnalyzed() if state.phase is not Phase.EXECUTING:
            return f"iteration {state.iteration} had been analyzed"
        case f.IterationAnalyzed(iteration=number) if number != state.iteration:
            return f"iteration {number} was analyzed after iteration {state.iteration} was planned"
        case f.IterationAnalyzed() if state.open_count:
            return f"{state.open_count} tasks had not ended"
        case f.CampaignChanged(files=files):
            return _code_contradiction(state, files, fact.before)
        case (
            f.IterationPlanned(code=code)
            | f.IterationAnalyzed(code=code)
            | f.RunCompleted(code=code)
            | f.Replanned(code=code)
        ):
            # What else the campaign used for the first time needs no fact of its own.
            changed = sorted(path for path in code if state.code.files.get(path, code[path]) != code[path])
            if changed:
                return f"nothing had said that the campaign's {named(changed)} changed"
        case f.TaskPlanned(task=task) if task.id in state.tasks:
            return "the run has this task already"
        case f.TaskPlanned() if state.phase is not Phase.EXECUTING:
            return "no iteration was being planned"
        case f.TaskPlanned(position=place) if place != len(state.tasks):
            return f"it is task {place}, after {len(state.tasks)} tasks"
    return None


def _code_contradiction(state: RunState, files: Mapping[str, str], before: Mapping[str, str]) -> str | None:
    known = state.code.files
    if {path: known[path] for path in files if path in known} != dict(before):
        return "the campaign's files had been others before"
    same = sorted(path for path, digest in files.items() if known.get(path) == digest)
    return f"the campaign's {named(same)} had been the same" if same or not files else None


def _task_contradiction(state: RunState, fact: f.Fact) -> str | None:
    match fact:
        case f.TaskCancelRequested(task_id=task_id) if task_id in state.tasks:
            status = state.tasks[task_id].status
            if status is not TaskStatus.ACTIVE:
                return f"the task was {status}: it had no job to be ended"
            if task_id in state.being_cancelled:
                return "the task was being cancelled already"
        case f.TaskCancelled(by="") if state.ending is None:
            return "nobody had cancelled it, and the run was not being ended"
        case f.TaskCancelled(task_id=task_id) if fact.by and task_id in state.tasks:
            if state.tasks[task_id].status is TaskStatus.ACTIVE and not _is_cancelled(state, task_id):
                return "nobody had asked for the end of its job"
    return None


def _resubmit_contradiction(state: RunState, fact: f.Fact) -> str | None:
    """What is said of an attempt that is to be given up before it begins, and cannot be so."""
    match fact:
        case f.TaskResubmitRequested(token=token) if token in state.live:
            attempt = state.live[token]
            if attempt.state is JobState.RUNNING:
                return "its job had begun"
            if attempt.backend == ASKED:
                return "it has no job that waits in a queue"
            if token in state.resubmitting or is_to_be_given_up(state, attempt):
                return "it was to be given up already"
        case f.TaskResubmitted(task_id=task_id, token=token) if task_id in state.tasks:
            last = state.tasks[task_id].last_attempt
            if last is None or last.token != token or last.resubmission is None:
                return "nobody had asked for that"
            if last.ended_at is not None and last.job_id is not None and last.state is not JobState.CANCELLED:
                return f"its job had not been cancelled: it was {last.state}"
        case f.TaskResubmitMissed(token=token) if token not in state.resubmitting:
            return "nobody had asked for it to be submitted anew"
    return None


def _job_contradiction(state: RunState, fact: f.Fact) -> str | None:
    match fact:
        case f.JobEnded(state=job_state) if job_state not in ENDED_JOBS:
            return f"a job that is {job_state} has not ended"
        case f.JobAccepted(state=job_state) | f.JobStateChanged(state=job_state) if job_state in ENDED_JOBS:
            return f"a job that is {job_state} has ended"
        case f.JobEnded(token=token) | f.JobStateChanged(token=token):
            attempt = state.live.get(token)
            if attempt is not None and attempt.job_id is None:
                return "the attempt has no job"
    return None


def _is_cancelled(state: RunState, task_id: TaskId) -> bool:
    """Whether a person had a task ended, or the plan has it no more, and its job may be left."""
    return task_id in state.tasks and state.tasks[task_id].cancellation is not None


def _replan_contradiction(state: RunState, fact: f.Fact) -> str | None:
    match fact:
        case f.Replanned() | f.TaskReplanned() | f.TaskWithdrawn() if state.ending is not None:
            return f"the run was being {state.ending}"
        case f.Replanned(iteration=number) if number != state.iteration or not number:
            return f"iteration {number} was planned anew when iteration {state.iteration} was in hand"
        case f.TaskReplanned(task_id=task_id) | f.TaskWithdrawn(task_id=task_id) if task_id in state.tasks:
            task = state.tasks[task_id]
            if task.status is TaskStatus.SUCCEEDED:
                return "the task had succeeded"
            if task.iteration != state.iteration:
                return f"the task is of iteration {task.iteration}, and {state.iteration} was in hand"
            if isinstance(fact, f.TaskReplanned):
                new = fact.task or fact.planned
                found = {path: f.Change(*values) for path, values in differences(task.task, new).items()}
                if new.id != task_id or found != dict(fact.changes):
                    return "its changes are not those between the definition before it and its own"
    return None


def _attempt_of(state: RunState, fact: f.Fact) -> AttemptState | None:
    token: Token | None = getattr(fact, "token", None)
    return None if token is None else state.live.get(token)


def _name(event: f.Event) -> str:
    fact = event.fact
    planned = fact.task.id if isinstance(fact, f.TaskPlanned) else None
    what: TaskId | Token | None = planned or getattr(fact, "task_id", None) or getattr(fact, "token", None)
    return type(fact).__name__ + (f" of {what}" if what else "")
