"""A Slurm cluster, as a backend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import trio

from matterstack.backends.base import Health, LiveJob, PlannedSubmission, PreparedAttempt, SubmitReport
from matterstack.backends.slurm import programs
from matterstack.backends.slurm.arrays import MOST_AT_ONCE, merged
from matterstack.backends.slurm.config import SlurmBackendConfig
from matterstack.backends.slurm.following import Following
from matterstack.backends.slurm.partition_limits import ClusterLimits
from matterstack.backends.slurm.partitions import read_limits
from matterstack.backends.slurm.queries import Queries
from matterstack.backends.slurm.search import Search
from matterstack.backends.slurm.secret_delivery import SecretDelivery
from matterstack.backends.slurm.site import LocalSite, Site, SubmissionOrder
from matterstack.backends.slurm.site_limits import SubmitLimit, read_submit_limit
from matterstack.backends.slurm.submission import Submission
from matterstack.backends.submit_lock import SubmitLock
from matterstack.core.ids import BackendName, JobId, Token
from matterstack.core.run.messages import Observed
from matterstack.core.states import JobState
from matterstack.storage.modes import JOB_UMASK
from matterstack.storage.threads import RunBlocking, WorkerThreads


class SlurmBackend:
    """A Slurm cluster; see `matterstack.backends.base.Backend`."""

    def __init__(
        self,
        name: BackendName,
        config: SlurmBackendConfig,
        lock_file: Path,
        *,
        run: programs.RunCommand = programs.run,
        blocking: RunBlocking | None = None,
        site: Site | None = None,
        job_umask: int = JOB_UMASK,
    ) -> None:
        """``site``: where the cluster is, if its commands do not run on this machine."""
        self.name = name
        self.poll_interval_s = config.poll_interval_s
        self.grace_period_s = config.grace_period_s
        self.batch_limit = 1
        self._config = config
        blocking = blocking or WorkerThreads(2, abandon_on_cancel=True)
        lock = SubmitLock(lock_file, wait_s=config.command_timeout_s + 30)
        self._site: Site = site or LocalSite(programs.Counted(run), lock, blocking)
        self._submit_limit: SubmitLimit | None = None
        self._queries = Queries(self._site.run, config.command_timeout_s, self._site.account)
        self._search = Search(name, self._site, self._queries, blocking)
        self._secrets = SecretDelivery(name, self._site, blocking)
        self._submission = Submission(config, self._site, self._search, self._secrets, job_umask)
        self._following = Following(
            name, config.grace_period_s, config.runaway_after_s, self._queries, blocking, self._site
        )

    async def serve(self) -> None:
        """Only a cluster that is far away gives work between queries."""
        await self._site.serve()

    async def wait_change(self) -> None:
        """Slurm tells nothing by itself."""
        await trio.sleep_forever()

    def script(self, attempt: PreparedAttempt) -> str:
        """The job script of an attempt, with its ``#SBATCH`` lines."""
        return self._submission.script(attempt)

    def describe(self, batch: Sequence[PreparedAttempt]) -> list[PlannedSubmission]:
        """One sbatch for each attempt, or for all attempts of a batch at once."""
        return [
            PlannedSubmission(
                command=order.argv, stdin=order.script, attempts=tuple(order.tokens), is_queued=True
            )
            for order in self.orders(batch)
        ]

    def orders(self, batch: Sequence[PreparedAttempt]) -> list[SubmissionOrder]:
        """Each sbatch that `submit` would run."""
        return self._submission.orders(batch)

    async def hand_out(self, attempt: PreparedAttempt) -> None:
        """Bring its folder to where the cluster's nodes see it."""
        await self._site.bring([attempt.folder])

    async def submit(self, batch: Sequence[PreparedAttempt]) -> SubmitReport:
        """Run sbatch for each attempt, or for all attempts of a batch at once; a few at a time."""
        report = await self._submission.submit(batch)
        self._queries.note_submitted(len(report.accepted) + len(report.unresolved))
        return report

    async def find(self, attempts: Sequence[PreparedAttempt]) -> Mapping[Token, JobId]:
        """Look the tokens up in the queue, in the folders' claims and in the accounting."""
        found = await self._search.find(attempts)
        await self._secrets.take_away(a for a in attempts if a.token not in found)
        return found

    async def poll(self, jobs: Sequence[LiveJob]) -> list[Observed]:
        """One squeue for all jobs; for those that have left it, their exit records, then one sacct."""
        if not jobs and self._submit_limit is not None:
            await self._queries.squeue()  # how many jobs there are beside ours
        observed = await self._following.poll(jobs)
        await self._secrets.look_after(jobs, observed)
        running = {o.token for o in observed if o.state is JobState.RUNNING}
        self._site.watch([job.folder for job in jobs if job.token in running])
        return observed

    async def cancel(self, jobs: Sequence[LiveJob]) -> None:
        """Ask for the end of all these jobs, with one scancel."""
        self._site.give_up([job.folder for job in jobs])
        if ids := self._following.ids_at_work(jobs):
            await self._queries.scancel(merged(ids))
        self._following.tell_to_end(jobs)

    async def cancel_waiting(self, jobs: Sequence[LiveJob]) -> None:
        """Keep these jobs from beginning, and end those that have not begun."""
        if ids := self._following.ids_at_work(jobs):
            await self._queries.scancel_pending(ids)
        self._following.tell_to_end_if_waiting(jobs)

    async def probe(self) -> ClusterLimits:
        """Whether the controller answers, how it is set up, and what its partitions can give."""
        settings = await self._queries.settings()
        most = settings.get("MaxArraySize", "")
        self.batch_limit = max(1, min(MOST_AT_ONCE, int(most))) if most.isdecimal() else 1
        self._submit_limit = await read_submit_limit(
            self._queries.ask, settings, (await self._site.account()).name
        )
        if self._submit_limit is not None:
            await self._queries.squeue()
        return await read_limits(self._queries.ask, settings, self._config)

    def health(self) -> Health:
        """What its commands have met; how much room the accounting's limits leave."""
        limit, live = self._submit_limit, self._queries.live_jobs
        return Health(
            statistics=dict(self._site.statistics),
            accounting_problem=self._queries.accounting_problem,
            room=None if limit is None or live is None else max(0, limit.most - live),
            limit="" if limit is None else limit.words,
        )
