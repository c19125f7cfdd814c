"""A cluster in virtual time, and a backend in front of it.

The cluster outlives engines, as a real one does.  It starts whatever reaches it, even a second job for the
same attempt: that this never happens is for the tests to find out.  ``tests/actors/test_fake_backend.py``
checks it against what `matterstack.backends.base.Backend` says.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import attrs
import trio

from matterstack.backends.base import Health, LiveJob, PlannedSubmission, PreparedAttempt, SubmitReport
from matterstack.core.errors import BackendError
from matterstack.core.ids import BackendName, JobId, RunId, TaskId, Token
from matterstack.core.model.resources import Limits
from matterstack.core.run.messages import Observed
from matterstack.core.states import JobState


@attrs.frozen(kw_only=True)
class Behaviour:
    """What becomes of the job of one attempt.

    Attributes:
        queue_s: seconds in the queue.
        duration_s: seconds at work.
        exit_code: of its command.
        raw_state: the scheduler's word for a failed job, such as TIMEOUT.
        vanishes: it ends without a trace.
        refused: the cluster will not take it, for this reason.
        reply_lost: the submission is unclear, and the job is there.
        never_arrives: the submission is unclear, and there is no job.
        data: what it hands to ``analyze``.
    """

    queue_s: float = 0.0
    duration_s: float = 1.0
    exit_code: int = 0
    raw_state: str = ""
    vanishes: bool = False
    refused: str | None = None
    reply_lost: bool = False
    never_arrives: bool = False
    data: Any = None


@attrs.define(kw_only=True)
class FakeJob:
    """A job that reached the cluster."""

    job_id: JobId
    run_id: RunId
    task_id: TaskId
    n: int
    token: Token
    submitted_at: float
    starts_at: float
    ends_at: float
    behaviour: Behaviour
    is_cancelled: bool = False

    def state(self, now: float) -> JobState:
        """Where it stands."""
        if now < self.ends_at:
            return JobState.QUEUED if now < self.starts_at else JobState.RUNNING
        if self.is_cancelled:
            return JobState.CANCELLED
        if self.behaviour.vanishes:
            return JobState.LOST
        return JobState.COMPLETED_OK if self.behaviour.exit_code == 0 else JobState.COMPLETED_ERROR

    def observed(self, now: float) -> Observed:
        """What a poll tells of it."""
        state = self.state(now)
        has_code = state in {JobState.COMPLETED_OK, JobState.COMPLETED_ERROR}
        return Observed(
            token=self.token,
            state=state,
            raw_state=self.behaviour.raw_state if has_code else "",
            exit_code=self.behaviour.exit_code if has_code else None,
        )


def _usual(_attempt: PreparedAttempt) -> Behaviour:
    return Behaviour()


@attrs.define
class FakeCluster:
    """Jobs, and what happened to them.

    Attributes:
        behave: what becomes of an attempt's job.
        submit_s: seconds before a batch reaches the cluster; a submission cancelled by then leaves no job.
        poll_s: seconds until a question is answered.
        reply_s: seconds after that until the answer is there; one cancelled by then leaves its jobs.
        cancel_s: seconds a cancelled job takes to end.
        outage: why it cannot be asked; None when it can.
        submit_limit: most jobs that it takes; a batch goes in whole, or not at all.
        limits: which attempts count for that.
        others: how many jobs of other people's making count there, too.
        batch_limit: most attempts that are submitted as one.
        tells_room: whether the backend can know how much of the limit is left.
        faults: errors to raise at the next calls of an operation, each once.
        calls: when each operation was called.
        asked: how many jobs each poll asked about.
    """

    behave: Callable[[PreparedAttempt], Behaviour] = _usual
    submit_s: float = 0.0
    poll_s: float = 0.0
    reply_s: float = 0.0
    cancel_s: float = 0.0
    outage: str | None = None
    submit_limit: int | None = None
    limits: Callable[[PreparedAttempt], bool] = lambda _attempt: True
    others: int = 0
    tells_room: bool = False
    batch_limit: int = 1
    faults: dict[str, list[Exception]] = attrs.field(factory=dict)
    jobs: list[FakeJob] = attrs.field(factory=list)
    calls: dict[str, list[float]] = attrs.field(factory=dict)
    asked: list[int] = attrs.field(factory=list)
    most_live: int = 0
    _under_way: int = 0
    _none_under_way: trio.Event = attrs.field(factory=trio.Event)

    def live(self) -> list[FakeJob]:
        """Jobs that have not ended."""
        now = trio.current_time()
        return [job for job in self.jobs if now < job.ends_at]

    def tokens_with_two_jobs(self) -> list[Token]:
        """Attempts that were started more than once."""
        return [token for token, count in Counter(job.token for job in self.jobs).items() if count > 1]

    def tasks_run(self) -> Counter[tuple[RunId, TaskId]]:
        """How many jobs each task had."""
        return Counter((job.run_id, job.task_id) for job in self.jobs)

    def times(self, operation: str) -> list[float]:
        """When an operation was called."""
        return self.calls.get(operation, [])

    def called(self, operation: str) -> None:
        """Note a call; fail where the cluster is to fail.

        Raises:
            BackendError: it is down.
        """
        self.calls.setdefault(operation, []).append(trio.current_time())
        if self.faults.get(operation):
            raise self.faults[operation].pop(0)
        if self.outage is not None:
            raise BackendError(self.outage)

    async def submit(self, batch: Sequence[PreparedAttempt]) -> SubmitReport:
        """Start a job for each attempt that is not refused."""
        self.called("submit")
        self._under_way += 1
        try:
            await trio.sleep(self.submit_s)
            report = self._start_all(batch)
            await trio.sleep(self.reply_s)
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._none_under_way.set()
        return report

    def _start_all(self, batch: Sequence[PreparedAttempt]) -> SubmitReport:
        accepted: dict[Token, JobId] = {}
        refused: dict[Token, str] = {}
        unresolved: dict[Token, str] = {}
        deferred = self._beyond_limit(batch)
        for attempt in batch:
            behaviour = self.behave(attempt)
            if attempt.token in deferred:
                continue
            if behaviour.refused is not None:
                refused[attempt.token] = behaviour.refused
                continue
            if behaviour.reply_lost or behaviour.never_arrives:
                unresolved[attempt.token] = "the connection broke"
            if not behaviour.never_arrives:
                job_id = self._start(attempt, behaviour)
                if not behaviour.reply_lost:
                    accepted[attempt.token] = job_id
        self.most_live = max(self.most_live, len(self.live()))
        return SubmitReport(accepted=accepted, refused=refused, unresolved=unresolved, deferred=deferred)

    def _beyond_limit(self, batch: Sequence[PreparedAttempt]) -> dict[Token, str]:
        if self.submit_limit is None:
            return {}
        groups: dict[Token, list[PreparedAttempt]] = {}
        for attempt in filter(self.limits, batch):
            groups.setdefault(attempt.batch or attempt.token, []).append(attempt)
        left = self.submit_limit - self.others - len(self.live())
        deferred: dict[Token, str] = {}
        for group in groups.values():
            if len(group) <= left:
                left -= len(group)
            else:
                deferred.update(dict.fromkeys((a.token for a in group), "AssocMaxSubmitJobLimit"))
        return deferred

    def health(self) -> Health:
        """How much room there is, where that can be told."""
        if self.submit_limit is None or not self.tells_room:
            return Health()
        room = max(0, self.submit_limit - self.others - len(self.live()))
        return Health(room=room, limit=f"at most {self.submit_limit} jobs")

    def _start(self, attempt: PreparedAttempt, behaviour: Behaviour) -> JobId:
        now = trio.current_time()
        job = FakeJob(
            job_id=JobId(str(len(self.jobs) + 1)),
            run_id=attempt.run_id,
            task_id=attempt.task_id,
            n=attempt.n,
            token=attempt.token,
            submitted_at=now,
            starts_at=now + behaviour.queue_s,
            ends_at=now + behaviour.queue_s + behaviour.duration_s,
            behaviour=behaviour,
        )
        self.jobs.append(job)
        if behaviour.data is not None:
            (attempt.folder / "result.json").write_text(json.dumps(behaviour.data))
        return job.job_id

    def poll(self, jobs: Sequence[LiveJob]) -> list[Observed]:
        """How the jobs stand."""
        self.called("poll")
        self.asked.append(len(jobs))
        now = trio.current_time()
        wanted = {job.job_id for job in jobs}
        return [job.observed(now) for job in self.jobs if job.job_id in wanted]

    def cancel(self, job_ids: Iterable[JobId]) -> None:
        """Begin to end jobs."""
        self.called("cancel")
        ids = set(job_ids)
        for job in self.live():
            if job.job_id in ids and not job.is_cancelled:
                job.is_cancelled = True
                job.ends_at = min(job.ends_at, trio.current_time() + self.cancel_s)

    def cancel_waiting(self, job_ids: Iterable[JobId]) -> None:
        """Begin to end jobs that are in the queue."""
        now, ids = trio.current_time(), set(job_ids)
        waiting = [job for job in self.live() if job.job_id in ids and job.state(now) is JobState.QUEUED]
        self.cancel(job.job_id for job in waiting)

    async def find(self, attempts: Sequence[PreparedAttempt]) -> Mapping[Token, JobId]:
        """Which attempts have a job, once no submission is under way."""
        self.called("find")
        while self._under_way:
            self._none_under_way = trio.Event()
            await self._none_under_way.wait()
        wanted = {attempt.token for attempt in attempts}
        return {job.token: job.job_id for job in self.jobs if job.token in wanted}


@attrs.define
class FakeBackend:
    """One engine's way to the cluster."""

    name: BackendName
    cluster: FakeCluster
    poll_interval_s: float = 1.0
    grace_period_s: float = 0.0
    batch_limit: int = 1

    async def serve(self) -> None:
        """Nothing to do in the background."""
        await trio.sleep_forever()

    def describe(self, batch: Sequence[PreparedAttempt]) -> list[PlannedSubmission]:
        """One submission for each."""
        return [PlannedSubmission(command=("submit", a.token), attempts=(a.token,)) for a in batch]

    def script(self, attempt: PreparedAttempt) -> str:
        """Nobody runs it."""
        if self.cluster.faults.get(f"script of {attempt.task_id}"):
            raise self.cluster.faults[f"script of {attempt.task_id}"].pop(0)
        return f"# {attempt.token}\n"

    async def hand_out(self, _attempt: PreparedAttempt) -> None:
        """Nobody runs it."""
        await trio.lowlevel.checkpoint()

    async def submit(self, batch: Sequence[PreparedAttempt]) -> SubmitReport:
        """Start one job for each attempt."""
        await trio.lowlevel.checkpoint()
        return await self.cluster.submit(batch)

    async def poll(self, jobs: Sequence[LiveJob]) -> list[Observed]:
        """Ask once about all live jobs."""
        observed = self.cluster.poll(jobs)
        await trio.sleep(self.cluster.poll_s)
        return observed

    async def wait_change(self) -> None:
        """This cluster announces nothing."""
        await trio.sleep_forever()

    async def cancel(self, jobs: Sequence[LiveJob]) -> None:
        """Ask for the end of jobs."""
        await trio.lowlevel.checkpoint()
        self.cluster.cancel(job.job_id for job in jobs)

    async def cancel_waiting(self, jobs: Sequence[LiveJob]) -> None:
        """Ask for the end of jobs that have not begun."""
        await trio.lowlevel.checkpoint()
        self.cluster.cancel_waiting(job.job_id for job in jobs)

    async def find(self, attempts: Sequence[PreparedAttempt]) -> Mapping[Token, JobId]:
        """Which of these attempts have a job."""
        await trio.lowlevel.checkpoint()
        return await self.cluster.find(attempts)

    async def probe(self) -> Limits:
        """It has no limits."""
        await trio.lowlevel.checkpoint()
        if self.cluster.faults.get("probe"):
            raise self.cluster.faults["probe"].pop(0)
        return Limits()

    def health(self) -> Health:
        """How the cluster does."""
        return self.cluster.health()
