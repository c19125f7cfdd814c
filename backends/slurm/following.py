"""Follow jobs: squeue for all of them, and for those that have left it what else tells of their end."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Final

import attrs
import trio

from matterstack.backends.base import LiveJob
from matterstack.backends.slurm.arrays import covers, element_of
from matterstack.backends.slurm.endings import (
    Ending,
    accounted_ending,
    is_in_doubt,
    observed_end,
    queued_ending,
    read_traces,
    told_reason,
)
from matterstack.backends.slurm.output import QueuedJob, is_job_id
from matterstack.backends.slurm.questions import Questions
from matterstack.backends.slurm.states import job_state, state_word
from matterstack.core.errors import BackendError
from matterstack.core.ids import BackendName, Token
from matterstack.core.messages import Observed
from matterstack.core.states import JobState
from matterstack.storage.threads import RunBlocking

logger: Final = logging.getLogger(__name__)

MISSES_UNTIL_GONE: Final = 2
"""How many answers in a row must lack a job before it counts as gone."""


@attrs.define
class _Doubt:
    """A job of which neither Slurm nor its folder tells how it ended."""

    since: float
    answers: int = 0


@attrs.define
class Following:
    """What it remembers between two polls is lost in a crash without harm."""

    _name: BackendName
    _grace_period_s: float
    _questions: Questions
    _blocking: RunBlocking
    _doubts: dict[Token, _Doubt] = attrs.field(factory=dict)
    _told_to_end: set[Token] = attrs.field(factory=set)
    _unknown_words: set[str] = attrs.field(factory=set)
    _accounting_is_out: bool = False

    def tell_to_end(self, jobs: Iterable[LiveJob]) -> None:
        """These jobs were cancelled by MatterStack itself."""
        self._told_to_end.update(job.token for job in jobs)

    async def poll(self, jobs: Sequence[LiveJob]) -> list[Observed]:
        """One squeue for all jobs; for those that have left it, their exit records, then one sacct."""
        if not jobs:
            return []
        queued = await self._questions.squeue()
        rests = [line for line in queued.values() if _is_rest(line.job_id, line.state)]
        seen: list[Observed] = []
        gone: list[LiveJob] = []
        endings: dict[Token, Ending] = {}
        for job in jobs:
            line = queued.get(job.job_id) or next((r for r in rests if covers(r.job_id, job.job_id)), None)
            if line is None:
                gone.append(job)
            elif (ending := queued_ending(line)) is not None:
                gone.append(job)
                endings[job.token] = ending
            else:
                seen.append(self._observed_alive(job, line))
        return seen + await self._observe_ended(gone, endings)

    def _observed_alive(self, job: LiveJob, line: QueuedJob) -> Observed:
        state, word = job_state(line.state), state_word(line.state)
        if state is None:
            if word not in self._unknown_words:
                self._unknown_words.add(word)
                logger.warning("%s: unknown job state %r: such jobs are followed", self._name, line.state)
            reason = f"Slurm says {line.state!r}, which is unknown here; following it"
            return Observed(token=job.token, state=JobState.RUNNING, raw_state=line.state, reason=reason)
        reason = told_reason(line.reason) if state is JobState.QUEUED else ""
        return Observed(token=job.token, state=state, raw_state=word, reason=reason, host=line.nodes or None)

    async def _observe_ended(self, gone: Sequence[LiveJob], endings: dict[Token, Ending]) -> list[Observed]:
        if not gone:
            self._doubts.clear()
            return []
        traces = await self._blocking(read_traces, gone)
        untold = [
            job
            for job in gone
            if job.token not in endings and ((r := traces[job.token].record) is None or r.exit_code != 0)
        ]
        unanswered = await self._add_accounted_endings(untold, endings)
        observed: list[Observed] = []
        doubts, self._doubts = self._doubts, {}
        for job in gone:
            trace, ending = traces[job.token], endings.get(job.token)
            if job.token in unanswered:
                continue
            if is_in_doubt(job, trace, ending) and not self._is_overdue(job, doubts.get(job.token)):
                continue
            observed.append(observed_end(job, trace, ending, told_to_end=job.token in self._told_to_end))
            self._told_to_end.discard(job.token)
        return observed

    def _is_overdue(self, job: LiveJob, doubt: _Doubt | None) -> bool:
        """Count one more answer without news of a job; whether there were enough, for long enough."""
        now = trio.current_time()
        doubt = doubt or _Doubt(since=now)
        doubt.answers += 1
        self._doubts[job.token] = doubt
        # Of a pending element of an array that was cancelled no record is left, and none will come.
        grace_s = 0.0 if job.token in self._told_to_end else self._grace_period_s
        return doubt.answers >= MISSES_UNTIL_GONE and now - doubt.since >= grace_s

    async def _add_accounted_endings(
        self, jobs: Sequence[LiveJob], endings: dict[Token, Ending]
    ) -> frozenset[Token]:
        """Ask the accounting about jobs; the tokens of those of which it could not be asked.

        An outage of the accounting alone must not keep the other jobs from being followed.
        """
        try:
            if not jobs or not await self._questions.accounting_is_there():
                return frozenset()
            arrays = dict.fromkeys(element_of(job.job_id)[0] for job in jobs if is_job_id(job.job_id))
            ids = ",".join(arrays)
            records = (
                {record.job_id: record for record in await self._questions.sacct(f"--jobs={ids}")}
                if ids
                else {}
            )
        except BackendError as error:
            if not self._accounting_is_out:
                logger.warning("%s: the accounting does not answer: %s", self._name, error)
            self._accounting_is_out = True
            return frozenset(job.token for job in jobs)
        rests = [record for record in records.values() if _is_rest(record.job_id, record.state)]
        if self._accounting_is_out:
            logger.warning("%s: the accounting answers again", self._name)
        self._accounting_is_out = False
        for job in jobs:
            record = records.get(job.job_id) or next((r for r in rests if covers(r.job_id, job.job_id)), None)
            if record is not None and (ending := accounted_ending(record)) is not None:
                endings[job.token] = ending
        return frozenset()


def _is_rest(record_id: str, state: str) -> bool:
    """Whether this may be the record of elements that were cancelled before they had one of their own."""
    index = element_of(record_id)[1]
    return index is None and job_state(state) is JobState.CANCELLED
