"""A Slurm cluster whose commands run on this machine."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import attrs
import trio

from matterstack.backends.base import LiveJob, PreparedAttempt, SubmitReport
from matterstack.backends.exit_record import read_claim
from matterstack.backends.script import JobScript, render
from matterstack.backends.slurm import commands
from matterstack.backends.slurm.arrays import (
    MOST_AT_ONCE,
    array_script,
    covers,
    element_of,
    index_list,
    merged,
    submissions,
)
from matterstack.backends.slurm.endings import (
    Ending,
    accounted_ending,
    is_in_doubt,
    observed_end,
    queued_ending,
    read_traces,
    told_reason,
)
from matterstack.backends.slurm.options import directives, reserved_options, sbatch_options
from matterstack.backends.slurm.output import (
    SACCT_FIELDS,
    SQUEUE_FORMAT,
    AccountedJob,
    QueuedJob,
    is_job_id,
    parse_sacct,
    parse_sbatch,
    parse_squeue,
)
from matterstack.backends.slurm.states import job_state, state_word
from matterstack.backends.submit_lock import SubmitLock
from matterstack.core.config import SlurmBackendConfig
from matterstack.core.errors import BackendError
from matterstack.core.ids import BackendName, JobId, Token
from matterstack.core.messages import Observed
from matterstack.core.resources import Limits
from matterstack.core.states import JobState
from matterstack.storage.crash_points import crash_point
from matterstack.storage.threads import RunBlocking, WorkerThreads

logger: Final = logging.getLogger(__name__)

SUBMISSIONS_AT_ONCE: Final = 4
MISSES_UNTIL_GONE: Final = 2
"""How many answers in a row must lack a job before it counts as gone."""

_FIND_JOB_ID: Final = (
    "MATTERSTACK_JOB_ID=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}",
    "MATTERSTACK_JOB_ID=${MATTERSTACK_JOB_ID:-$SLURM_JOB_ID}",
)


@attrs.define
class _Doubt:
    """A job of which neither Slurm nor its folder tells how it ended."""

    since: float
    answers: int = 0


class SlurmBackend:
    """See `matterstack.backends.base.Backend`."""

    def __init__(
        self,
        name: BackendName,
        config: SlurmBackendConfig,
        lock_file: Path,
        *,
        run: commands.RunCommand = commands.run,
        blocking: RunBlocking | None = None,
    ) -> None:
        self.name = name
        self.poll_interval_s = config.poll_interval_s
        self.grace_period_s = config.grace_period_s
        self.batch_limit = 1
        self._config = config
        self._lock = SubmitLock(lock_file, wait_s=config.command_timeout_s + 30)
        self._submissions = trio.CapacityLimiter(SUBMISSIONS_AT_ONCE)
        self._run = run
        self._blocking = blocking or WorkerThreads(2, abandon_on_cancel=True)
        self._doubts: dict[Token, _Doubt] = {}
        self._told_to_end: set[Token] = set()
        self._unknown_words: set[str] = set()
        self._has_accounting: bool | None = None
        self._accounting_is_out = False

    async def serve(self) -> None:
        """Nothing happens here between questions."""
        await trio.sleep_forever()

    async def wait_change(self) -> None:
        """Slurm tells nothing by itself."""
        await trio.sleep_forever()

    # ---- submission ----

    def script(self, attempt: PreparedAttempt) -> str:
        """The job script of an attempt, with its ``#SBATCH`` lines."""
        return render(
            JobScript(
                folder=str(attempt.folder),
                command=attempt.command,
                find_job_id=_FIND_JOB_ID,
                env=attempt.env,
                prologue=tuple(self._config.prologue),
                path=str(Path(sys.executable).parent),
            ),
            directives(sbatch_options(attempt.resources, self._config)),
        )

    async def submit(self, batch: Sequence[PreparedAttempt]) -> SubmitReport:
        """Run sbatch for each attempt, or for all attempts of a batch at once; a few at a time."""
        report = SubmitReport(accepted={}, refused={}, unresolved={})
        # In the order of the batch, which is that of the priorities: a queue serves the older job first.
        waiting = iter(submissions(batch))

        async def submit_in_turn() -> None:
            for group in waiting:
                part = await self._submit(group)
                report.accepted.update(part.accepted)
                report.refused.update(part.refused)
                report.unresolved.update(part.unresolved)

        async with trio.open_nursery() as nursery:
            for _ in range(min(SUBMISSIONS_AT_ONCE, len(batch))):
                nursery.start_soon(submit_in_turn)
        return report

    async def _submit(self, group: Sequence[PreparedAttempt]) -> SubmitReport:
        tokens = [attempt.token for attempt in group]
        if reserved := reserved_options(group[0].resources):
            reason = f"resources.extra: {', '.join(reserved)} cannot be set by a campaign"
            return SubmitReport(refused=dict.fromkeys(tokens, reason))
        async with self._submissions:
            try:
                outcome = await self._sbatch(group)
            except BackendError as error:
                return SubmitReport(unresolved=dict.fromkeys(tokens, str(error)))
        job_id = parse_sbatch(outcome.stdout)
        if job_id is not None and outcome.exit_code == 0:
            return SubmitReport(accepted={a.token: _job_id(job_id, a) for a in group})
        if job_id is None and outcome.is_refusal:
            reason = f"sbatch refused the job: {outcome.complaint}"
            return SubmitReport(refused=dict.fromkeys(tokens, reason))
        return SubmitReport(unresolved=dict.fromkeys(tokens, f"sbatch: {outcome.complaint}"))

    async def _sbatch(self, group: Sequence[PreparedAttempt]) -> commands.Finished:
        first = group[0]
        options = sbatch_options(first.resources, self._config)
        log = str(first.folder / "scheduler.log").replace("%", "%%")
        which: tuple[str, ...] = (f"--output={log}", str(first.folder / "job.sh"))
        script = ""
        if first.batch is not None:
            # The elements have folders of their own, which no pattern of --output can name.
            which = (f"--array={index_list(a.index for a in group)}", "--output=/dev/null")
            script = array_script(group, directives(options))
        argv = (
            "sbatch",
            # Here too, because SBATCH_* variables of the user overrule what stands in the script.
            *options,
            "--parsable",
            f"--job-name={first.batch or first.token}",
            "--open-mode=append",
            f"--chdir={first.folder}",
            *which,
        )
        async with self._lock.shared_async() as descriptor:
            crash_point("before_submit")
            done = await self._run(
                argv, timeout_s=self._config.command_timeout_s, inherit=descriptor, stdin=script
            )
            crash_point("after_submit")
            return done

    async def find(self, attempts: Sequence[PreparedAttempt]) -> Mapping[Token, JobId]:
        """Look the tokens up in the queue, in the folders' claims and in the accounting.

        Where an attempt has several jobs, the one that claimed its folder is kept (none has: the oldest),
        and the others are cancelled.
        """
        async with self._lock.alone():
            queued = await self._squeue()
        by_name: dict[str, list[QueuedJob]] = {}
        for job in queued.values():
            if is_job_id(job.job_id):
                by_name.setdefault(job.name, []).append(job)
        found: dict[Token, JobId] = {}
        spare: list[str] = []
        for attempt, claimant in zip(attempts, await self._claimants(attempts), strict=True):
            named = by_name.get(attempt.batch or attempt.token, ())
            jobs = sorted((job for job in named if _is_of(job.job_id, attempt)), key=_age)
            if claimant is not None and is_job_id(claimant):
                found[attempt.token] = JobId(claimant)
            elif jobs:
                found[attempt.token] = JobId(jobs[0].job_id)
            kept = found.get(attempt.token)
            spare += [job.job_id for job in jobs if job.job_id != kept and queued_ending(job) is None]
        await self._end_spare(spare)
        missing = [a for a in attempts if a.token not in found]
        if missing and await self._accounting_is_there():
            found.update(await self._find_in_accounting(missing))
        return found

    async def _claimants(self, attempts: Sequence[PreparedAttempt]) -> list[str | None]:
        def read() -> list[str | None]:
            return [read_claim(attempt.folder) for attempt in attempts]

        return await self._blocking(read)

    async def _find_in_accounting(self, attempts: Sequence[PreparedAttempt]) -> dict[Token, JobId]:
        names = dict.fromkeys(attempt.batch or attempt.token for attempt in attempts)
        records = await self._sacct(f"--name={','.join(names)}", "--starttime=now-30days")
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
            logger.warning("%s: ends jobs that were submitted twice: %s", self.name, " ".join(spare))
            await self._ask(("scancel", *merged(spare)))

    # ---- following ----

    async def poll(self, jobs: Sequence[LiveJob]) -> list[Observed]:
        """One squeue for all jobs; for those that have left it, their exit records, then one sacct."""
        if not jobs:
            return []
        queued = await self._squeue()
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
                logger.warning("%s: unknown job state %r: such jobs are followed", self.name, line.state)
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
        grace_s = 0.0 if job.token in self._told_to_end else self.grace_period_s
        return doubt.answers >= MISSES_UNTIL_GONE and now - doubt.since >= grace_s

    async def _add_accounted_endings(
        self, jobs: Sequence[LiveJob], endings: dict[Token, Ending]
    ) -> frozenset[Token]:
        """Ask the accounting about jobs; the tokens of those of which it could not be asked.

        An outage of the accounting alone must not keep the other jobs from being followed.
        """
        try:
            if not jobs or not await self._accounting_is_there():
                return frozenset()
            arrays = dict.fromkeys(element_of(job.job_id)[0] for job in jobs if is_job_id(job.job_id))
            ids = ",".join(arrays)
            records = {record.job_id: record for record in await self._sacct(f"--jobs={ids}")} if ids else {}
        except BackendError as error:
            if not self._accounting_is_out:
                logger.warning("%s: the accounting does not answer: %s", self.name, error)
            self._accounting_is_out = True
            return frozenset(job.token for job in jobs)
        rests = [record for record in records.values() if _is_rest(record.job_id, record.state)]
        if self._accounting_is_out:
            logger.warning("%s: the accounting answers again", self.name)
        self._accounting_is_out = False
        for job in jobs:
            record = records.get(job.job_id) or next((r for r in rests if covers(r.job_id, job.job_id)), None)
            if record is not None and (ending := accounted_ending(record)) is not None:
                endings[job.token] = ending
        return frozenset()

    async def cancel(self, jobs: Sequence[LiveJob]) -> None:
        """One scancel for all.  Its exit code tells nothing: only polling shows that a job has ended."""
        if jobs:
            await self._ask(("scancel", *merged(job.job_id for job in jobs)))
            self._told_to_end.update(job.token for job in jobs)

    async def probe(self) -> Limits:
        """Whether the controller answers, and how it is set up.  What a partition can give, sbatch says."""
        answer = await self._ask(("scontrol", "show", "config"))
        settings = {}
        for line in answer.splitlines():
            key, _, value = line.partition("=")
            settings[key.strip()] = value.strip()
        storage = settings.get("AccountingStorageType", "")
        self._has_accounting = storage not in {"accounting_storage/none", "(null)", ""}
        most = settings.get("MaxArraySize", "")
        self.batch_limit = max(1, min(MOST_AT_ONCE, int(most))) if most.isdecimal() else 1
        return Limits()

    # ---- questions ----

    async def _squeue(self) -> dict[str, QueuedJob]:
        answer = await self._ask(
            ("squeue", "--array", "--states=all", f"--user={os.getuid()}", f"--format={SQUEUE_FORMAT}")
        )
        table = parse_squeue(answer)
        if not table.is_whole:
            raise BackendError(_not_whole("squeue", answer))
        return {job.job_id: job for job in table.rows}

    async def _sacct(self, *which: str) -> Sequence[AccountedJob]:
        answer = await self._ask(
            ("sacct", "--parsable2", "--allocations", *which, f"--format={SACCT_FIELDS}")
        )
        table = parse_sacct(answer)
        if not table.is_whole:
            raise BackendError(_not_whole("sacct", answer))
        return table.rows

    async def _accounting_is_there(self) -> bool:
        if self._has_accounting is None:
            await self.probe()
        return bool(self._has_accounting)

    async def _ask(self, argv: Sequence[str]) -> str:
        answer = await self._run(argv, timeout_s=self._config.command_timeout_s)
        if answer.exit_code != 0:
            raise BackendError(f"{argv[0]}: {answer.complaint}")
        return answer.stdout


def _job_id(submitted: str, attempt: PreparedAttempt) -> JobId:
    return JobId(submitted if attempt.batch is None else f"{submitted}_{attempt.index}")


def _is_rest(record_id: str, state: str) -> bool:
    """Whether this may be the record of elements that were cancelled before they had one of their own."""
    index = element_of(record_id)[1]
    return index is None and job_state(state) is JobState.CANCELLED


def _is_of(job_id: str, attempt: PreparedAttempt) -> bool:
    """Whether a job that has the attempt's name is the attempt's own."""
    return element_of(job_id)[1] == (None if attempt.batch is None else attempt.index)


def _age(job: QueuedJob | AccountedJob) -> int:
    return int(element_of(job.job_id)[0])


def _not_whole(command: str, answer: str) -> str:
    end = answer.strip().rpartition("\n")[2][:80]
    return f"{command} printed no whole table" + (f"; the last line is {end!r}" if end else "")
