"""Look for the jobs of attempts of which nobody knows whether they were submitted."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Final

import attrs

from matterstack.backends.base import PreparedAttempt
from matterstack.backends.exit_record import read_claim
from matterstack.backends.slurm.arrays import element_of, merged
from matterstack.backends.slurm.endings import accounted_ending, queued_ending
from matterstack.backends.slurm.output import AccountedJob, QueuedJob, is_job_id
from matterstack.backends.slurm.questions import Questions
from matterstack.backends.slurm.site import Site
from matterstack.backends.slurm.states import job_state
from matterstack.core.ids import BackendName, JobId, Token
from matterstack.core.states import ENDED_JOBS, JobState
from matterstack.storage.threads import RunBlocking

logger: Final = logging.getLogger(__name__)


@attrs.define
class Search:
    """Searches while no submission is under way."""

    _name: BackendName
    _site: Site
    _questions: Questions
    _blocking: RunBlocking

    async def find(self, attempts: Sequence[PreparedAttempt]) -> Mapping[Token, JobId]:
        """Look the tokens up in the queue, in the folders' claims and in the accounting.

        Where an attempt has several jobs, the one that claimed its folder is kept (none has: one that runs,
        the oldest), and the others are cancelled.
        """
        async with self._site.settled(attempts):
            queued = await self._questions.squeue()
        by_name: dict[str, list[QueuedJob]] = {}
        for job in queued.values():
            if is_job_id(job.job_id):
                by_name.setdefault(job.name, []).append(job)
        found: dict[Token, JobId] = {}
        spare: list[str] = []
        doubled: list[PreparedAttempt] = []
        for attempt, claimant in zip(attempts, await self._claimants(attempts), strict=True):
            named = by_name.get(attempt.batch or attempt.token, ())
            jobs = sorted((job for job in named if _is_of(job.job_id, attempt)), key=_age)
            if claimant is not None and is_job_id(claimant):
                found[attempt.token] = JobId(claimant)
            elif jobs:
                found[attempt.token] = JobId(min(jobs, key=_comes_last).job_id)
            kept = found.get(attempt.token)
            others = [job.job_id for job in jobs if job.job_id != kept and queued_ending(job) is None]
            spare += others
            doubled += [attempt] if others else []
        await self._end_spare(spare)
        # One of those may have claimed the folder before its end came.  Then the one that was kept does
        # nothing, and how the claimant ended is how the attempt did.
        for attempt, claimant in zip(doubled, await self._claimants(doubled), strict=True):
            if claimant is not None and is_job_id(claimant):
                found[attempt.token] = JobId(claimant)
        missing = [a for a in attempts if a.token not in found]
        if missing and await self._questions.accounting_is_there():
            found.update(await self._find_in_accounting(missing))
        return found

    async def _claimants(self, attempts: Sequence[PreparedAttempt]) -> list[str | None]:
        def read() -> list[str | None]:
            return [read_claim(attempt.folder) for attempt in attempts]

        await self._site.pull_claims([attempt.folder for attempt in attempts])
        return await self._blocking(read)

    async def _find_in_accounting(self, attempts: Sequence[PreparedAttempt]) -> dict[Token, JobId]:
        names = dict.fromkeys(attempt.batch or attempt.token for attempt in attempts)
        records = await self._questions.sacct(f"--name={','.join(names)}", "--starttime=now-30days")
        by_name: dict[str, list[AccountedJob]] = {}
        for record in records:
            if is_job_id(record.job_id):
                by_name.setdefault(record.name, []).append(record)
        found: dict[Token, JobId] = {}
        spare: list[str] = []
        for attempt in attempts:
            named = by_name.get(attempt.batch or attempt.token, ())
            jobs = sorted((job for job in named if _is_of(job.job_id, attempt)), key=_age)
            if jobs:
                found[attempt.token] = JobId(jobs[0].job_id)
            spare += [job.job_id for job in jobs[1:] if accounted_ending(job) is None]
        await self._end_spare(spare)
        return found

    async def _end_spare(self, spare: Sequence[str]) -> None:
        if spare:
            logger.warning("%s: ends jobs that were submitted twice: %s", self._name, " ".join(spare))
            await self._questions.scancel(merged(spare))


def _is_of(job_id: str, attempt: PreparedAttempt) -> bool:
    """Whether a job that has the attempt's name is the attempt's own."""
    return element_of(job_id)[1] == (None if attempt.batch is None else attempt.index)


def _comes_last(job: QueuedJob) -> tuple[int, int]:
    """Orders jobs by how soon they may claim a folder: those that run, those that wait, those that ended."""
    state = job_state(job.state)
    return (2 if state in ENDED_JOBS else int(state is JobState.QUEUED)), _age(job)


def _age(job: QueuedJob | AccountedJob) -> int:
    return int(element_of(job.job_id)[0])
