"""The backend: a job is a file in the folder ``waiting`` of a spool, until `spool.py` takes it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import trio

from matterstack.backends.base import Health, LiveJob, PlannedSubmission, PreparedAttempt, SubmitReport
from matterstack.backends.exit_record import read_claim, read_exit_record
from matterstack.backends.script import BASH, JobScript, render
from matterstack.core.errors import BackendError
from matterstack.core.ids import BackendName, JobId, Token
from matterstack.core.model.resources import Limits
from matterstack.core.run.messages import Observed
from matterstack.core.states import JobState
from matterstack_toy.spool import FOLDERS, is_at_work

START = '"$@" </dev/null >/dev/null 2>&1 &'


class ToyBackend:
    """See `matterstack.backends.base.Backend`."""

    grace_period_s = 0.0
    batch_limit = 1

    def __init__(self, name: BackendName, spool: Path, poll_interval_s: float) -> None:
        self.name = name
        self.poll_interval_s = poll_interval_s
        self._spool = spool

    async def serve(self) -> None:
        """There is no background work."""
        await trio.sleep_forever()

    async def wait_change(self) -> None:
        """A folder tells nothing by itself."""
        await trio.sleep_forever()

    def script(self, attempt: PreparedAttempt) -> str:
        """The script claims the attempt's folder, runs the command, and leaves a record of how it ended."""
        return render(
            JobScript(
                folder=str(attempt.folder),
                command=attempt.command,
                find_job_id=("MATTERSTACK_JOB_ID=$TOY_JOB_ID",),
                env=attempt.env,
                walltime_s=attempt.resources.walltime_s,
                path=str(Path(sys.executable).parent),
                nonce=attempt.nonce,
                given=attempt.given,
            )
        )

    def describe(self, batch: Sequence[PreparedAttempt]) -> list[PlannedSubmission]:
        """For ``run init --show-script``."""
        return [
            PlannedSubmission(command=(BASH, str(a.folder / "job.sh")), attempts=(a.token,), is_queued=True)
            for a in batch
        ]

    async def hand_out(self, attempt: PreparedAttempt) -> None:
        """A person finds all in the attempt's folder."""

    async def submit(self, batch: Sequence[PreparedAttempt]) -> SubmitReport:
        """Not abandoned when cancelled: no submission is under way when `find` looks."""
        return await trio.to_thread.run_sync(self._submit, batch)

    def _submit(self, batch: Sequence[PreparedAttempt]) -> SubmitReport:
        report = SubmitReport()
        for attempt in batch:
            job_id = JobId(f"{attempt.token}.{time.time_ns()}")
            order = {"folder": str(attempt.folder), "cpus": attempt.resources.cpus}
            try:
                for folder in FOLDERS:
                    (self._spool / folder).mkdir(parents=True, exist_ok=True)
                part = self._spool / f"{job_id}.part"
                part.write_text(json.dumps(order))
                part.rename(self._spool / "waiting" / job_id)  # from here on there is a job
            except OSError as error:
                report.unresolved[attempt.token] = f"{self._spool}: {error.strerror}"
            else:
                report.accepted[attempt.token] = job_id
        self._see_to_the_spool()
        return report

    def _see_to_the_spool(self) -> None:
        """The program that runs jobs ends when there are none, and is nobody's child."""
        if _names(self._spool / "waiting") and not is_at_work(self._spool):
            argv = (sys.executable, "-m", "matterstack_toy.spool", str(self._spool))
            subprocess.run(("sh", "-c", START, "sh", *argv), check=True, start_new_session=True)

    async def poll(self, jobs: Sequence[LiveJob]) -> list[Observed]:
        """All at once; nothing is asked about no jobs."""
        return await trio.to_thread.run_sync(self._look_at_all, jobs) if jobs else []

    def _look_at_all(self, jobs: Sequence[LiveJob]) -> list[Observed]:
        try:
            self._see_to_the_spool()
            return [self._look_at(job) for job in jobs]
        except OSError as error:
            raise BackendError(f"{self._spool}: {error.strerror}") from error

    def _look_at(self, job: LiveJob) -> Observed:
        # In the order in which a job goes through them, so that it cannot slip by.
        if (self._spool / "waiting" / job.job_id).exists():
            return Observed(token=job.token, state=JobState.QUEUED, raw_state="waiting", reason="cpus")
        if (self._spool / "running" / job.job_id).exists():
            return Observed(token=job.token, state=JobState.RUNNING, raw_state="running")
        if (self._spool / "cancelled" / job.job_id).exists():
            return Observed(token=job.token, state=JobState.CANCELLED, raw_state="cancelled")
        if (record := read_exit_record(job.folder, job.job_id, job.nonce_sha256)) is not None:
            return record.observed(job.token)
        if read_claim(job.folder, job.nonce_sha256) is None:
            return Observed(token=job.token, state=JobState.LOST, reason="its job never started working")
        reason = "its job ended before it could record how"
        return Observed(token=job.token, state=JobState.COMPLETED_ERROR, raw_state="gone", reason=reason)

    async def cancel(self, jobs: Sequence[LiveJob]) -> None:
        """A job that waits is taken out; of one that runs, the spool is told."""
        for job in jobs:
            if not self._take_out(job) and (self._spool / "running" / job.job_id).exists():
                (self._spool / "to-cancel" / job.job_id).touch()

    async def cancel_waiting(self, jobs: Sequence[LiveJob]) -> None:
        """A job that waits is taken out; the spool begins one by the same kind of step, so never both."""
        for job in jobs:
            self._take_out(job)

    def _take_out(self, job: LiveJob) -> bool:
        try:
            (self._spool / "waiting" / job.job_id).rename(self._spool / "cancelled" / job.job_id)
        except FileNotFoundError:
            return False
        return True

    async def find(self, attempts: Sequence[PreparedAttempt]) -> Mapping[Token, JobId]:
        """By the names of the files, which begin with the token, and by the claims of those that worked."""
        names = [name for folder in FOLDERS[:4] for name in _names(self._spool / folder)]
        found = {a.token: name for a in attempts for name in names if name.startswith(f"{a.token}.")}
        claims = {a.token: claim for a in attempts if (claim := read_claim(a.folder, a.nonce_sha256))}
        return {token: JobId(job_id) for token, job_id in {**found, **claims}.items()}

    async def probe(self) -> Limits:
        """What this machine has."""
        return Limits(cpus=os.cpu_count(), nodes=1)

    def health(self) -> Health:
        """Nothing is counted."""
        return Health()


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()] if folder.is_dir() else []
