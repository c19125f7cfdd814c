"""A Slurm cluster whose commands run on this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import trio

from matterstack.backends.base import LiveJob, PreparedAttempt, SubmitReport
from matterstack.backends.slurm import commands
from matterstack.backends.slurm.arrays import MOST_AT_ONCE, merged
from matterstack.backends.slurm.following import Following
from matterstack.backends.slurm.questions import Questions
from matterstack.backends.slurm.search import Search
from matterstack.backends.slurm.submission import Submission
from matterstack.backends.submit_lock import SubmitLock
from matterstack.core.config import SlurmBackendConfig
from matterstack.core.ids import BackendName, JobId, Token
from matterstack.core.messages import Observed
from matterstack.core.resources import Limits
from matterstack.storage.threads import RunBlocking, WorkerThreads


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
        blocking = blocking or WorkerThreads(2, abandon_on_cancel=True)
        lock = SubmitLock(lock_file, wait_s=config.command_timeout_s + 30)
        self._questions = Questions(run, config.command_timeout_s)
        self._submission = Submission(config, lock, run)
        self._search = Search(name, lock, self._questions, blocking)
        self._following = Following(name, config.grace_period_s, self._questions, blocking)

    async def serve(self) -> None:
        """Nothing happens here between questions."""
        await trio.sleep_forever()

    async def wait_change(self) -> None:
        """Slurm tells nothing by itself."""
        await trio.sleep_forever()

    def script(self, attempt: PreparedAttempt) -> str:
        """The job script of an attempt, with its ``#SBATCH`` lines."""
        return self._submission.script(attempt)

    async def submit(self, batch: Sequence[PreparedAttempt]) -> SubmitReport:
        """Run sbatch for each attempt, or for all attempts of a batch at once; a few at a time."""
        return await self._submission.submit(batch)

    async def find(self, attempts: Sequence[PreparedAttempt]) -> Mapping[Token, JobId]:
        """Look the tokens up in the queue, in the folders' claims and in the accounting."""
        return await self._search.find(attempts)

    async def poll(self, jobs: Sequence[LiveJob]) -> list[Observed]:
        """One squeue for all jobs; for those that have left it, their exit records, then one sacct."""
        return await self._following.poll(jobs)

    async def cancel(self, jobs: Sequence[LiveJob]) -> None:
        """One scancel for all."""
        if jobs:
            await self._questions.scancel(merged(job.job_id for job in jobs))
            self._following.tell_to_end(jobs)

    async def probe(self) -> Limits:
        """Whether the controller answers, and how it is set up.  What a partition can give, sbatch says."""
        most = (await self._questions.settings()).get("MaxArraySize", "")
        self.batch_limit = max(1, min(MOST_AT_ONCE, int(most))) if most.isdecimal() else 1
        return Limits()
