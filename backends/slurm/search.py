"""Look for the jobs of attempts of which nobody knows whether they were submitted.

Measured with Slurm 22.05: an sbatch that is killed 0.5 to 9 ms after its start has submitted its job all
the same in 19 of 97 cases, and so has one that timed out. Right after sbatch, squeue finds the job by its
name at once; sacct only after about 0.4 s, and a job that is held never. So absence counts only in both,
after a while.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Final

import attrs

from matterstack.backends.base import LiveJob, PreparedAttempt
from matterstack.backends.exit_record import read_claim, read_exit_record
from matterstack.backends.slurm.arrays import element_of, merged
from matterstack.backends.slurm.endings import accounted_ending, queued_ending
from matterstack.backends.slurm.output import AccountedJob, QueuedJob, is_job_id
from matterstack.backends.slurm.owners import is_of_another_attempt
from matterstack.backends.slurm.queries import Queries
from matterstack.backends.slurm.site import Site
from matterstack.backends.slurm.states import job_state
from matterstack.core.ids import BackendName, JobId, Token
from matterstack.core.states import ENDED_JOBS, JobState
from matterstack.storage.threads import RunBlocking

logger: Final = logging.getLogger(__name__)


@attrs.frozen
class _Claim:
    """A job that says that it works in a folder.  ``has_record``: and has left there how it ended."""

    job_id: JobId
    has_record: bool


@attrs.define
class Search:
    """Searches while no submission is under way."""

    _name: BackendName
    _site: Site
    _queries: Queries
    _blocking: RunBlocking

    async def find(self, attempts: Sequence[PreparedAttempt]) -> Mapping[Token, JobId]:
        """Look the tokens up in the queue, in the folders' claims and in the accounting.

        Where an attempt has several jobs, the one that claimed its folder is kept (none has: one that runs,
        the oldest), and the others are cancelled.
        """
        async with self._site.settled(attempts):
            queued = await self._queries.squeue()
        by_name: dict[str, list[QueuedJob]] = {}
        for job in queued.values():
            if is_job_id(job.job_id):
                by_name.setdefault(job.name, []).append(job)
        found: dict[Token, JobId] = {}
        spare: list[str] = []
        doubled: list[PreparedAttempt] = []
        for attempt, claimant in zip(attempts, await self._claimants(attempts, queued), strict=True):
            named = by_name.get(attempt.batch or attempt.token, ())
            jobs = sorted((job for job in named if _is_of(job.job_id, attempt)), key=_age)
            if claimant is not None:
                found[attempt.token] = claimant
            elif jobs:
                found[attempt.token] = JobId(min(jobs, key=_comes_last).job_id)
            kept = found.get(attempt.token)
            others = [job.job_id for job in jobs if job.job_id != kept and queued_ending(job) is None]
            spare += others
            doubled += [attempt] if others else []
        await self._end_spare(spare)
        # One of those may have claimed the folder before its end came.  Then the one that was kept does
        # nothing, and how the claimant ended is how the attempt did.
        for attempt, claimant in zip(doubled, await self._claimants(doubled, queued), strict=True):
            if claimant is not None:
                found[attempt.token] = claimant
        missing = [a for a in attempts if a.token not in found]
        if missing and await self._queries.accounting_is_there():
            found.update(await self._find_in_accounting(missing))
        return found

    async def _claimants(
        self, attempts: Sequence[PreparedAttempt], queued: Mapping[str, QueuedJob]
    ) -> list[JobId | None]:
        """Which jobs have claimed the folders; None where none has, or none of the attempt's can have."""
        await self._site.pull_claims([attempt.folder for attempt in attempts])
        claims = await self._blocking(_read_claims, attempts)
        return [
            self._believed(attempt, claim, queued) for attempt, claim in zip(attempts, claims, strict=True)
        ]

    def _believed(
        self, attempt: PreparedAttempt, claim: _Claim | None, queued: Mapping[str, QueuedJob]
    ) -> JobId | None:
        if claim is None:
            return None
        line = queued.get(claim.job_id)
        job = LiveJob(token=attempt.token, job_id=claim.job_id, folder=attempt.folder, batch=attempt.batch)
        is_others = line is not None and is_of_another_attempt(line.name, job)
        if claim.has_record or not (is_others or _is_other_element(claim.job_id, attempt)):
            return claim.job_id
        whose = line.name if line is not None else "another element of its array"
        logger.warning(
            "%s: the claim in %s names job %s, which is not its own but %s: it is not believed",
            self._name, attempt.folder, claim.job_id, whose,
        )  # fmt: skip
        return None

    async def _find_in_accounting(self, attempts: Sequence[PreparedAttempt]) -> dict[Token, JobId]:
        names = dict.fromkeys(attempt.batch or attempt.token for attempt in attempts)
        records = await self._queries.sacct(f"--name={','.join(names)}", "--starttime=now-30days")
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
            await self._queries.scancel(merged(spare))


def _read_claims(attempts: Sequence[PreparedAttempt]) -> list[_Claim | None]:
    return [_read_claim(attempt) for attempt in attempts]


def _read_claim(attempt: PreparedAttempt) -> _Claim | None:
    claimant = read_claim(attempt.folder, attempt.nonce_sha256)
    if claimant is None or not is_job_id(claimant):
        return None
    record = read_exit_record(attempt.folder, claimant, attempt.nonce_sha256)
    return _Claim(JobId(claimant), record is not None)


def _is_other_element(job_id: str, attempt: PreparedAttempt) -> bool:
    """Whether this is an element of an array that cannot be the attempt's.

    A script that somebody has submitted by hand makes a job that is no element at all.
    """
    index = element_of(job_id)[1]
    return index is not None and (attempt.batch is None or index != attempt.index)


def _is_of(job_id: str, attempt: PreparedAttempt) -> bool:
    """Whether a job that has the attempt's name is the attempt's own."""
    return element_of(job_id)[1] == (None if attempt.batch is None else attempt.index)


def _comes_last(job: QueuedJob) -> tuple[int, int]:
    """Orders jobs by how soon they may claim a folder: those that run, those that wait, those that ended."""
    state = job_state(job.state)
    return (2 if state in ENDED_JOBS else int(state is JobState.QUEUED)), _age(job)


def _age(job: QueuedJob | AccountedJob) -> int:
    return int(element_of(job.job_id)[0])
