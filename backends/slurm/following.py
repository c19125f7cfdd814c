"""Follow jobs: squeue for all of them, and for those that have left it what else tells of their end."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import attrs
import trio

from matterstack.backends.base import LiveJob
from matterstack.backends.slurm.arrays import covers, element_of
from matterstack.backends.slurm.endings import (
    Ending,
    Traces,
    accounted_ending,
    is_in_doubt,
    observed_alive,
    observed_end,
    queued_ending,
    read_traces,
    runaway_end,
)
from matterstack.backends.slurm.output import AccountedJob, QueuedJob, is_job_id
from matterstack.backends.slurm.owners import is_named_for, is_of_another_attempt
from matterstack.backends.slurm.queries import Queries
from matterstack.backends.slurm.site import Site
from matterstack.backends.slurm.states import job_state, state_word
from matterstack.core.errors import BackendError
from matterstack.core.ids import BackendName, JobId, Token
from matterstack.core.run.messages import Observed
from matterstack.core.states import JobState
from matterstack.storage.threads import RunBlocking

logger: Final = logging.getLogger(__name__)

MISSES_UNTIL_GONE: Final = 2
"""How many answers in a row must lack a job before it counts as gone."""


@attrs.define
class _Doubt:
    """A job of which neither Slurm nor its folder tells how it ended.

    ``is_accounted``: the accounting still has it as alive.
    """

    since: float
    is_accounted: bool
    answers: int = 0


@attrs.define
class _Gone:
    """A job that squeue has as ended, or not at all, and what is known of its end.

    Attributes:
        ending: what Slurm says of the job at work (see `Traces`).
        rest: what Slurm says of those elements of its array that never got a record of their own.
        accounted_word: the accounting has it as alive, in this word.
        is_unanswered: the accounting was to be asked, and did not answer.
    """

    job: LiveJob
    ending: Ending | None = None
    rest: Ending | None = None
    traces: Traces = attrs.Factory(lambda self: Traces(self.job.job_id, None, None), takes_self=True)
    accounted_word: str | None = None
    is_unanswered: bool = False

    @property
    def needs_accounting(self) -> bool:
        """Whether only the accounting can tell more."""
        record = self.traces.record
        return self.ending is None and (record is None or record.exit_code != 0)


@attrs.define
class Following:
    """What it remembers between two polls is lost in a crash without harm.

    Attributes:
        grace_period_s: how long a job must be missing, in the accounting too, until that counts.
        runaway_after_s: the same where the accounting has the job as alive for ever: the controller was the
            only one who could have told it of the end, and has forgotten the job.
    """

    name: BackendName
    grace_period_s: float
    runaway_after_s: float
    _queries: Queries
    _blocking: RunBlocking
    _site: Site
    _doubts: dict[Token, _Doubt] = attrs.field(factory=dict)
    _told_to_end: set[Token] = attrs.field(factory=set)
    _told_to_end_if_waiting: set[Token] = attrs.field(factory=set)
    _stand_ins: dict[Token, JobId] = attrs.field(factory=dict)
    _given_away: set[Token] = attrs.field(factory=set)
    _unknown_words: set[str] = attrs.field(factory=set)
    _accounting_is_out: bool = False

    def tell_to_end(self, jobs: Iterable[LiveJob]) -> None:
        """These jobs were cancelled by MatterStack itself."""
        self._told_to_end.update(job.token for job in jobs)

    def tell_to_end_if_waiting(self, jobs: Iterable[LiveJob]) -> None:
        """These jobs were cancelled by MatterStack itself, unless they have begun."""
        self._told_to_end_if_waiting.update(job.token for job in jobs)

    def ids_at_work(self, jobs: Iterable[LiveJob]) -> list[JobId]:
        """All jobs that may work for these attempts: their own, and second ones that were seen at work.

        An id that was seen to be another attempt's by now is none of them.
        """
        ids: list[JobId] = []
        for job in jobs:
            stand_in = self._stand_ins.get(job.token)
            ids += [] if job.token in self._given_away else [job.job_id]
            ids += [] if stand_in is None else [stand_in]
        return ids

    async def poll(self, jobs: Sequence[LiveJob]) -> list[Observed]:
        """One squeue for all jobs; for those that have left it, their exit records, then one sacct."""
        if not jobs:
            return []
        queued = await self._queries.squeue()
        self._given_away.difference_update(job.token for job in jobs)
        rests = [line for line in queued.values() if _is_rest(line.job_id, line.state)]
        seen: list[Observed] = []
        gone: list[_Gone] = []
        for job in jobs:
            line = queued.get(job.job_id)
            is_others = line is not None and is_of_another_attempt(line.name, job)
            if is_others:
                self._given_away.add(job.token)
            if line is None or is_others:
                rest = next((r for r in rests if _speaks_of(r, job)), None)
                gone.append(_Gone(job, rest=queued_ending(rest) if rest else None))
            elif (ending := queued_ending(line)) is not None:
                gone.append(_Gone(job, ending))
            else:
                seen.append(self._observe_alive(job, line))
        return seen + await self._observe_gone(gone, queued)

    def _observe_alive(self, job: LiveJob, line: QueuedJob) -> Observed:
        word = state_word(line.state)
        if job_state(word) is not JobState.QUEUED:
            self._told_to_end_if_waiting.discard(job.token)
        if job_state(word) is None and word not in self._unknown_words:
            self._unknown_words.add(word)
            logger.warning("%s: unknown job state %r: such jobs are followed", self.name, line.state)
        return observed_alive(job, line)

    # ---- those that are gone ----

    async def _observe_gone(self, gone: Sequence[_Gone], queued: Mapping[str, QueuedJob]) -> list[Observed]:
        home = await self._site.pull([case.job.folder for case in gone])
        away = {case.job.token for case in gone if case.job.folder not in home}
        gone = [case for case in gone if case.job.token not in away]
        doubts, self._doubts = self._doubts, {t: doubt for t, doubt in self._doubts.items() if t in away}
        if not gone:
            return []
        traces = await self._blocking(read_traces, [case.job for case in gone])
        observed: list[Observed] = []
        over: list[_Gone] = []
        alive_by_name = _alive_by_name(queued)
        for case in gone:
            case.traces = traces[case.job.token]
            line = _stand_in(case, queued, alive_by_name)
            if line is None:
                over.append(case)
            else:
                self._stand_ins[case.job.token] = JobId(line.job_id)
                observed.append(self._observe_alive(case.job, line))
        await self._ask_accounting([case for case in over if case.needs_accounting])
        return observed + [end for case in over if (end := self._conclude(case, doubts)) is not None]

    def _conclude(self, case: _Gone, doubts: Mapping[Token, _Doubt]) -> Observed | None:
        """Say how a job ended; None as long as more may come to be known."""
        token = case.job.token
        doubt = doubts.get(token)
        if case.is_unanswered:
            if doubt is not None:
                self._doubts[token] = doubt
            return None
        never_started = case.traces.record is None and case.traces.claimant is None
        ending = case.ending or (case.rest if never_started else None)
        if is_in_doubt(case.traces, ending) and not self._is_overdue(case, doubt):
            return None
        was_told = self._was_told_to_end(case)
        self._told_to_end.discard(token)
        self._told_to_end_if_waiting.discard(token)
        self._stand_ins.pop(token, None)
        self._given_away.discard(token)
        if ending is None and case.accounted_word and case.traces.record is None and not was_told:
            return runaway_end(case.job, case.traces, case.accounted_word)
        return observed_end(case.job, case.traces, ending, told_to_end=was_told)

    def _was_told_to_end(self, case: _Gone) -> bool:
        """Whether MatterStack itself has cancelled it: if only while it waited, it has never begun."""
        token = case.job.token
        never_began = case.traces.record is None and case.traces.claimant is None
        return token in self._told_to_end or (never_began and token in self._told_to_end_if_waiting)

    def _is_overdue(self, case: _Gone, doubt: _Doubt | None) -> bool:
        """Count one more answer without news of a job; whether there were enough, for long enough."""
        now = trio.current_time()
        is_accounted = case.accounted_word is not None
        if doubt is None or doubt.is_accounted is not is_accounted:
            doubt = _Doubt(now, is_accounted)
        doubt.answers += 1
        self._doubts[case.job.token] = doubt
        grace_s = self._grace_s(is_accounted, was_told=self._was_told_to_end(case))
        return doubt.answers >= MISSES_UNTIL_GONE and now - doubt.since >= grace_s

    def _grace_s(self, is_accounted: bool, was_told: bool) -> float:
        if is_accounted:
            return self.grace_period_s if was_told else max(self.grace_period_s, self.runaway_after_s)
        # Of a pending element of an array that was cancelled no record is left, and none will come.
        return 0.0 if was_told else self.grace_period_s

    async def _ask_accounting(self, cases: Sequence[_Gone]) -> None:
        """Note what the accounting says of jobs, or that it could not be asked.

        An outage of the accounting alone must not keep the other jobs from being followed.
        """
        try:
            if not cases or not await self._queries.accounting_is_there():
                return
            workers = [case.traces.worker for case in cases]
            arrays = dict.fromkeys(element_of(job_id)[0] for job_id in workers if is_job_id(job_id))
            records = await self._queries.sacct(f"--jobs={','.join(arrays)}") if arrays else ()
        except BackendError as error:
            if not self._accounting_is_out:
                logger.warning("%s: the accounting does not answer: %s", self.name, error)
            self._accounting_is_out = True
            for case in cases:
                case.is_unanswered = True
            return
        if self._accounting_is_out:
            logger.warning("%s: the accounting answers again", self.name)
        self._accounting_is_out = False
        _note_records(cases, records)


def _note_records(cases: Iterable[_Gone], records: Iterable[AccountedJob]) -> None:
    by_id: dict[str, list[AccountedJob]] = {}
    for record in records:
        by_id.setdefault(record.job_id, []).append(record)
    rests = [record for same in by_id.values() for record in same if _is_rest(record.job_id, record.state)]
    for case in cases:
        job, worker = case.job, case.traces.worker
        is_own = worker == job.job_id
        told = [
            record
            for record in by_id.get(worker, ())
            if (not is_of_another_attempt(record.name, job) if is_own else is_named_for(record.name, job))
        ]
        if is_own and not told and case.rest is None:
            rest = next((record for record in rests if _speaks_of(record, job)), None)
            case.rest = None if rest is None else accounted_ending(rest)
        for newest in told[-1:]:  # a job that was requeued has several, in the order of time
            case.ending = accounted_ending(newest)
            case.accounted_word = state_word(newest.state) if case.ending is None else None


def _stand_in(
    case: _Gone, queued: Mapping[str, QueuedJob], alive_by_name: Mapping[str, Sequence[QueuedJob]]
) -> QueuedJob | None:
    """A second job of the attempt that is alive, where the attempt's own one is gone.

    It was submitted by an sbatch of which nobody knew whether it did, and has claimed the folder, or may yet
    do so.  Where it has ended, its end is the attempt's.
    """
    job, traces = case.job, case.traces
    if traces.record is not None:
        return None
    if traces.worker == job.job_id:
        if traces.claimant is not None:
            return None
        named = alive_by_name.get(job.batch or job.token, ())
        index = element_of(job.job_id)[1]
        twin = next((line for line in named if element_of(line.job_id)[1] == index), None)
        return twin if twin is not None and twin.job_id != job.job_id else None
    line = queued.get(traces.worker)
    if line is not None and not is_named_for(line.name, job):
        case.traces = attrs.evolve(traces, worker=job.job_id)  # the claim was written by nobody of ours
        return None
    case.ending = queued_ending(line) if line is not None else None
    case.rest = None
    return line if line is not None and case.ending is None else None


def _alive_by_name(queued: Mapping[str, QueuedJob]) -> Mapping[str, Sequence[QueuedJob]]:
    by_name: dict[str, list[QueuedJob]] = {}
    for line in queued.values():
        if is_job_id(line.job_id) and queued_ending(line) is None:
            by_name.setdefault(line.name, []).append(line)
    return by_name


def _is_rest(record_id: str, state: str) -> bool:
    """Whether this may be the record of elements that were cancelled before they had one of their own."""
    index = element_of(record_id)[1]
    return index is None and job_state(state) is JobState.CANCELLED


def _speaks_of(rest: QueuedJob | AccountedJob, job: LiveJob) -> bool:
    return covers(rest.job_id, job.job_id) and not is_of_another_attempt(rest.name, job)
