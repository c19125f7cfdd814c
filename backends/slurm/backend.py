"""A Slurm cluster whose commands run on this machine."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import attrs
import trio

from matterstack.backends.base import LiveJob, PreparedAttempt, SubmitReport
from matterstack.backends.exit_record import ExitRecord, read_claim, read_exit_record
from matterstack.backends.script import JobScript, render
from matterstack.backends.slurm import commands
from matterstack.backends.slurm.output import (
    SACCT_FIELDS,
    SQUEUE_FORMAT,
    AccountedJob,
    QueuedJob,
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
from matterstack.core.resources import Limits, Resources
from matterstack.core.states import ENDED_JOBS, JobState

SUBMISSIONS_AT_ONCE: Final = 4
MISSES_UNTIL_GONE: Final = 2
"""How many answers in a row must lack a job before it counts as gone."""

_FIND_JOB_ID: Final = ("MATTERSTACK_JOB_ID=$SLURM_JOB_ID",)


@attrs.frozen
class _Ending:
    """What is known of the end of a job that left the queue."""

    raw_state: str
    state: JobState
    reason: str = ""
    exit_code: int | None = None
    nodes: str = ""


class SlurmBackend:
    """See `matterstack.backends.base.Backend`."""

    def __init__(self, name: BackendName, config: SlurmBackendConfig, lock_file: Path) -> None:
        self.name = name
        self.poll_interval_s = config.poll_interval_s
        self.grace_period_s = config.grace_period_s
        self._config = config
        self._lock = SubmitLock(lock_file, wait_s=config.command_timeout_s + 30)
        self._submissions = trio.CapacityLimiter(SUBMISSIONS_AT_ONCE)
        self._threads = trio.CapacityLimiter(2)
        self._misses: dict[Token, int] = {}
        self._has_accounting: bool | None = None

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
            [f"#SBATCH {option}" for option in self.options(attempt.resources)],
        )

    def options(self, wanted: Resources) -> list[str]:
        """The options of sbatch(1) that ask for these resources."""
        options = [f"--nodes={wanted.nodes}", "--ntasks=1", f"--cpus-per-task={wanted.cpus}"]
        if wanted.memory_mib is not None:
            options.append(f"--mem={wanted.memory_mib}M")
        if wanted.walltime_s is not None:
            options.append(f"--time={slurm_time(wanted.walltime_s)}")
        if wanted.gpus:
            options.append(f"--gpus={wanted.gpus}")
        partition = wanted.partition or self._config.partition
        account = wanted.account or self._config.account
        options += [f"--partition={partition}"] if partition else []
        options += [f"--account={account}"] if account else []
        options += [f"--{key}={value}" if value else f"--{key}" for key, value in wanted.extra.items()]
        return [shlex.quote(option) for option in options]

    async def submit(self, batch: Sequence[PreparedAttempt]) -> SubmitReport:
        """Run sbatch for each attempt, a few at once."""
        accepted: dict[Token, JobId] = {}
        refused: dict[Token, str] = {}
        unresolved: dict[Token, str] = {attempt.token: "not submitted yet" for attempt in batch}

        async def submit_one(attempt: PreparedAttempt) -> None:
            async with self._submissions:
                try:
                    outcome = await self._sbatch(attempt)
                except BackendError as error:
                    unresolved[attempt.token] = str(error)
                    return
            del unresolved[attempt.token]
            job_id = parse_sbatch(outcome.stdout) if outcome.exit_code == 0 else None
            if job_id is not None:
                accepted[attempt.token] = JobId(job_id)
            elif outcome.exit_code == 0 or outcome.is_unreachable or outcome.is_limit:
                unresolved[attempt.token] = outcome.complaint
            else:
                refused[attempt.token] = f"sbatch refused the job: {outcome.complaint}"

        async with trio.open_nursery() as nursery:
            for attempt in batch:
                nursery.start_soon(submit_one, attempt)
        return SubmitReport(accepted=accepted, refused=refused, unresolved=unresolved)

    async def _sbatch(self, attempt: PreparedAttempt) -> commands.Finished:
        argv = (
            "sbatch",
            "--parsable",
            f"--job-name={attempt.token}",
            f"--output={attempt.folder / 'scheduler.log'}",
            "--open-mode=append",
            f"--chdir={attempt.folder}",
            str(attempt.folder / "job.sh"),
        )
        async with self._lock.shared_async() as descriptor:
            return await commands.run(argv, timeout_s=self._config.command_timeout_s, inherit=descriptor)

    async def find(self, attempts: Sequence[PreparedAttempt]) -> Mapping[Token, JobId]:
        """Look the tokens up in the queue, in the folders' claims and in the accounting."""
        async with self._lock.alone():
            queued = await self._squeue()
        by_name: dict[str, list[str]] = {}
        for job in queued.values():
            by_name.setdefault(job.name, []).append(job.job_id)
        found: dict[Token, JobId] = {}
        for attempt in attempts:
            claimant = await trio.to_thread.run_sync(read_claim, attempt.folder, limiter=self._threads)
            ids = by_name.get(attempt.token, [])
            if claimant is not None:
                found[attempt.token] = JobId(claimant)
            elif ids:
                found[attempt.token] = JobId(min(ids, key=int))
        missing = [a.token for a in attempts if a.token not in found]
        if missing and await self._accounting_is_there():
            found.update(await self._find_in_accounting(missing))
        return found

    async def _find_in_accounting(self, tokens: Sequence[Token]) -> dict[Token, JobId]:
        argv = ("sacct", "--noheader", "--parsable2", "--allocations", f"--name={','.join(tokens)}",
                "--starttime=now-30days", f"--format={SACCT_FIELDS}")  # fmt: skip
        answer = await self._ask(argv)
        return {Token(job.name): JobId(job.job_id) for job in parse_sacct(answer) if job.name in tokens}

    # ---- following ----

    async def poll(self, jobs: Sequence[LiveJob]) -> list[Observed]:
        """One squeue for all jobs; for those that have left it, their exit records, then one sacct."""
        if not jobs:
            return []
        queued = await self._squeue()
        seen: list[Observed] = []
        gone: list[LiveJob] = []
        endings: dict[Token, _Ending] = {}
        for job in jobs:
            line = queued.get(job.job_id)
            state = job_state(line.state) if line is not None else None
            if line is None:
                gone.append(job)
            elif state is None or state not in ENDED_JOBS:
                self._misses.pop(job.token, None)
                seen.append(_observed_alive(job, line, state))
            else:
                gone.append(job)
                endings[job.token] = _Ending(
                    state_word(line.state), state, _reason(line.reason), nodes=line.nodes
                )
        return seen + await self._observe_ended(gone, endings)

    async def _observe_ended(self, gone: Sequence[LiveJob], endings: dict[Token, _Ending]) -> list[Observed]:
        records: dict[Token, ExitRecord | None] = {}
        for job in gone:
            records[job.token] = await trio.to_thread.run_sync(
                read_exit_record, job.folder, job.job_id, limiter=self._threads
            )
        untold = [j for j in gone if j.token not in endings and records[j.token] is None]
        unexplained = [
            j for j in gone if (r := records[j.token]) is not None and r.exit_code and j not in untold
        ]
        asked = [*untold, *(j for j in unexplained if j.token not in endings)]
        if asked and await self._accounting_is_there():
            endings.update(await self._sacct_endings(asked))
        observed: list[Observed] = []
        for job in gone:
            found = _observed_end(job, records[job.token], endings.get(job.token))
            if found is None:
                found = self._miss(job)
            if found is not None:
                self._misses.pop(job.token, None)
                observed.append(found)
        return observed

    def _miss(self, job: LiveJob) -> Observed | None:
        """A job without any trace: believed only when it is missing again."""
        self._misses[job.token] = self._misses.get(job.token, 0) + 1
        if self._misses[job.token] < MISSES_UNTIL_GONE:
            return None
        claimant = read_claim(job.folder)
        if claimant is None:
            reason = "Slurm does not know its job any more, and the job never started working"
            return Observed(token=job.token, state=JobState.LOST, reason=reason)
        reason = "its job started, but ended without recording how, and Slurm does not know it any more"
        return Observed(token=job.token, state=JobState.COMPLETED_ERROR, raw_state="UNKNOWN", reason=reason)

    async def _sacct_endings(self, jobs: Sequence[LiveJob]) -> dict[Token, _Ending]:
        ids = ",".join(job.job_id for job in jobs)
        argv = ("sacct", "--noheader", "--parsable2", "--allocations", "--jobs", ids,
                f"--format={SACCT_FIELDS}")  # fmt: skip
        records = {record.job_id: record for record in parse_sacct(await self._ask(argv))}
        endings = {}
        for job in jobs:
            record = records.get(job.job_id)
            state = job_state(record.state) if record is not None else None
            if record is not None and state in ENDED_JOBS:
                endings[job.token] = _accounted_ending(record, state)
        return endings

    async def cancel(self, jobs: Sequence[LiveJob]) -> None:
        """One scancel for all.  Its exit code tells nothing: only polling shows that a job has ended."""
        if jobs:
            await self._ask(("scancel", *(job.job_id for job in jobs)))

    async def probe(self) -> Limits:
        """Whether the controller answers.  What a partition can give, sbatch says."""
        await self._ask(("sinfo", "--noheader"))
        return Limits()

    # ---- questions ----

    async def _squeue(self) -> dict[str, QueuedJob]:
        argv = ("squeue", "--noheader", "--states=all", f"--user={os.getuid()}", f"--format={SQUEUE_FORMAT}")
        return {job.job_id: job for job in parse_squeue(await self._ask(argv))}

    async def _accounting_is_there(self) -> bool:
        if self._has_accounting is None:
            answer = await self._ask(("scontrol", "show", "config"))
            for line in answer.splitlines():
                key, _, value = line.partition("=")
                if key.strip() == "AccountingStorageType":
                    self._has_accounting = value.strip() not in {"accounting_storage/none", "(null)", ""}
        return bool(self._has_accounting)

    async def _ask(self, argv: Sequence[str]) -> str:
        answer = await commands.run(argv, timeout_s=self._config.command_timeout_s)
        if answer.exit_code != 0:
            raise BackendError(f"{argv[0]}: {answer.complaint}")
        return answer.stdout


def slurm_time(seconds: int) -> str:
    """Format a walltime, rounded up to the minutes that Slurm counts in.

    >>> slurm_time(3600), slurm_time(61), slurm_time(90_000)
    ('0-01:00:00', '0-00:02:00', '1-01:00:00')
    """
    minutes = -(-seconds // 60)
    return f"{minutes // 1440}-{minutes // 60 % 24:02}:{minutes % 60:02}:00"


def _reason(raw: str) -> str:
    return "" if raw in {"None", "(null)", ""} else raw


def _observed_alive(job: LiveJob, line: QueuedJob, state: JobState | None) -> Observed:
    if state is None:
        reason = f"Slurm says {line.state!r}, which is unknown here; following it"
        return Observed(token=job.token, state=JobState.RUNNING, raw_state=line.state, reason=reason)
    word = state_word(line.state)
    return Observed(
        token=job.token,
        state=state,
        raw_state=word,
        reason=_reason(line.reason) if state is JobState.QUEUED else "",
        host=line.nodes or None,
    )


def _accounted_ending(record: AccountedJob, state: JobState | None) -> _Ending:
    exit_code = record.exit_code
    if record.signal:
        exit_code = 128 + record.signal
    return _Ending(state_word(record.state), state or JobState.COMPLETED_ERROR, "", exit_code, record.nodes)


def _observed_end(job: LiveJob, record: ExitRecord | None, ending: _Ending | None) -> Observed | None:
    """Put the exit record and Slurm's own word together.

    A command that ended well has ended well, whatever came after it.  For everything else Slurm's word
    tells more: TIMEOUT or PREEMPTED rather than an exit code of 143.
    """
    if record is not None and (record.exit_code == 0 or ending is None):
        return record.observed(job.token, raw_state=ending.raw_state if ending else "")
    if ending is None:
        return None
    if record is not None:
        state = ending.state if ending.state is not JobState.COMPLETED_OK else JobState.COMPLETED_ERROR
        observed = record.observed(job.token, raw_state=ending.raw_state)
        return attrs.evolve(observed, state=state, reason=_words(ending))
    if ending.state is JobState.COMPLETED_OK:
        if read_claim(job.folder) not in {None, job.job_id}:
            reason = "its job found the folder claimed by another job, and did no work"
        else:
            reason = "its job ended without an exit record: is this folder seen by the compute nodes?"
        return Observed(
            token=job.token, state=JobState.COMPLETED_ERROR, raw_state=ending.raw_state, reason=reason
        )
    return Observed(
        token=job.token,
        state=ending.state,
        raw_state=ending.raw_state,
        reason=_words(ending),
        exit_code=ending.exit_code,
        host=ending.nodes or None,
    )


def _words(ending: _Ending) -> str:
    """Say in words why Slurm ended a job; empty when the exit code says it all."""
    told = {
        "TIMEOUT": "its job reached its walltime and was ended by Slurm",
        "OUT_OF_MEMORY": "its job used more memory than it asked for, and was ended by Slurm",
        "NODE_FAIL": "the node of its job failed",
        "BOOT_FAIL": "the node of its job did not boot",
        "PREEMPTED": "its job was preempted by another one",
        "DEADLINE": "its job reached its deadline",
    }
    if ending.raw_state in told:
        return told[ending.raw_state]
    return (
        "" if ending.reason in {"", "NonZeroExitCode"} else f"Slurm says {ending.raw_state}: {ending.reason}"
    )
