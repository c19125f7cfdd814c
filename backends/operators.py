"""People, laboratories, instruments and jobs by hand, followed in the way of a backend.

An attempt of an operator has the same life as a job: submitting it asks the question, polling looks for the
answer, cancelling withdraws it.  So pausing, recovery and retries are the same as for jobs.  Nothing is kept
here: what is asked and what came back lies in ``operators/<task_id>`` of the run, and is found there
by a new engine.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Final

import attrs
import trio

from matterstack.backends.answer_watch import AnswerWatch
from matterstack.backends.answers import (
    Doubtful,
    Found,
    HandedBack,
    WithFiles,
    as_answered,
    look,
    look_at_all,
    reject,
)
from matterstack.backends.base import (
    Backend,
    Health,
    LiveJob,
    PlannedSubmission,
    PreparedAttempt,
    SubmitReport,
)
from matterstack.backends.questions import (
    ask,
    deadlines,
    find_asked,
    job_id_of,
    question_of,
    request_of,
    withdraw,
)
from matterstack.backends.taking_over import PIECE_BYTES, TakingOver
from matterstack.core.documents.manifests import (
    ManifestError,
    ManualHPCManifest,
    read_manifest,
)
from matterstack.core.errors import BackendError, InvariantError
from matterstack.core.ids import BackendName, JobId, Token, utc_moment, utc_text
from matterstack.core.model.resources import Limits
from matterstack.core.operators import ASKED
from matterstack.core.run.messages import Observed
from matterstack.storage.finishing_reports import Finishing, FinishingNews
from matterstack.storage.layout import Root, operator_folder
from matterstack.storage.threads import RunBlocking, WorkerThreads

logger: Final = logging.getLogger(__name__)

SETTLE_S: Final = 2.0
"""How long an answer that cannot be used must have stayed as it is: it may be half written."""

HOST_INTERVALS: Final = 3
"""How many intervals of its backend's polls lie between two questions about jobs by hand."""


def _like(blocking: RunBlocking) -> RunBlocking:
    """Threads of their own for large files; where nothing is called in threads, this is not, either."""
    return WorkerThreads(2, abandon_on_cancel=True) if isinstance(blocking, WorkerThreads) else blocking


@attrs.define
class OperatorBackend:
    """Asks, and follows what was asked.

    Args:
        now: the time of day.
        blocking: runs calls on files.
        hosts: the backend on which a job by hand is followed, by its name.
        watch: tells when something in a folder has changed, earlier than polling would.
        root: where people are told how far the copying of large files is; None: nowhere.
    """

    poll_interval_s: float
    now: Callable[[], datetime]
    blocking: RunBlocking
    hosts: Callable[[BackendName], Backend]
    watch: AnswerWatch
    root: Root | None = None
    name: BackendName = ASKED
    grace_period_s: float = 0.0
    batch_limit: int = 1
    _withdrawn: set[Token] = attrs.field(factory=set)
    _doubts: dict[Token, tuple[tuple[object, ...], float]] = attrs.field(factory=dict)
    _takings: dict[Token, TakingOver] = attrs.field(factory=dict)
    _copying: RunBlocking = attrs.Factory(lambda self: _like(self.blocking), takes_self=True)
    _nursery: trio.Nursery | None = None
    _look_again_at: float | None = None

    async def serve(self) -> None:
        """Watch the folders of questions, and take large files over, until cancelled."""
        try:
            async with trio.open_nursery() as self._nursery:
                await self.watch.serve()
        finally:
            self._nursery = None

    def script(self, attempt: PreparedAttempt) -> str:
        """The script that a person submits by hand; nothing for who needs none."""
        question = question_of(attempt)
        if question.operator != "manual_hpc":
            return ""
        return self.hosts(question.backend).script(attempt)

    async def probe(self) -> Limits:
        """No limits: a question takes nothing that could run out."""
        return Limits()

    def health(self) -> Health:
        """There is nothing that could be out."""
        return Health()

    # ---- asking ----

    async def submit(self, batch: Sequence[PreparedAttempt]) -> SubmitReport:
        """Write the questions.  One whose params are no manifest is refused."""
        report = SubmitReport()
        for attempt in batch:
            question = question_of(attempt)
            try:
                manifest = read_manifest(question.operator, question.params)
                if isinstance(manifest, ManualHPCManifest):
                    await self.hosts(question.backend).hand_out(attempt)
                await self.blocking(ask, operator_folder(attempt.folder), request_of(question, manifest))
            except ManifestError as error:
                report.refused[attempt.token] = str(error)
            except BackendError as error:
                report.unresolved[attempt.token] = str(error)
            except OSError as error:
                report.refused[attempt.token] = (
                    f"the question could not be written: {error.strerror or error}"
                )
            else:
                report.accepted[attempt.token] = job_id_of(question)
                self.watch.also(operator_folder(attempt.folder))
        return report

    def describe(self, batch: Sequence[PreparedAttempt]) -> list[PlannedSubmission]:  # noqa: ARG002
        """No descriptions: questions are no jobs that are submitted."""
        return []

    async def hand_out(self, attempt: PreparedAttempt) -> None:
        """Nobody is asked to ask."""
        raise InvariantError(f"{self.name} has no jobs: attempt {attempt.token}")

    async def find(self, attempts: Sequence[PreparedAttempt]) -> Mapping[Token, JobId]:
        """Which of these were asked already."""
        found = await self.blocking(find_asked, attempts)
        for attempt in attempts:
            if attempt.token in found:
                # Whoever asked it is gone, and it may have been answered since.
                self.watch.also(operator_folder(attempt.folder))
        return found

    async def cancel(self, jobs: Sequence[LiveJob]) -> None:
        """Withdraw questions; of jobs by hand that were handed back, end them."""
        self._withdrawn.update(job.token for job in jobs)
        for job in jobs:
            looked = await self.blocking(look, job, withdrawn=True, now=utc_text(self.now()))
            if isinstance(looked, HandedBack):
                await self.hosts(question_of(job).backend).cancel([looked.job])
            else:
                await self.blocking(withdraw, operator_folder(job.folder))

    async def cancel_waiting(self, jobs: Sequence[LiveJob]) -> None:  # noqa: ARG002
        """Leave them alone: what somebody was asked for stands."""
        await trio.lowlevel.checkpoint()

    # ---- following ----

    async def wait_change(self) -> None:
        """Return when something in a folder has changed, or when an answer has had time to settle."""
        deadline = self._look_again_at if self._look_again_at is not None else float("inf")
        with trio.move_on_at(deadline):
            await self.watch.wait_change()
        if self._look_again_at is not None and self._look_again_at <= trio.current_time():
            self._look_again_at = None

    async def poll(self, jobs: Sequence[LiveJob]) -> list[Observed]:
        """Look once for answers to all open questions."""
        self.watch.only({operator_folder(job.folder) for job in jobs})
        live = {job.token for job in jobs}
        self._withdrawn &= live
        self._doubts = {token: doubt for token, doubt in self._doubts.items() if token in live}
        self._drop_takings(live)
        looked = await self._look_at(jobs)
        seen: list[Observed] = []
        handed_back: dict[BackendName, list[HandedBack]] = {}
        for job, found in zip(jobs, looked, strict=True):
            match found:
                case Observed():
                    seen.append(found)
                case Doubtful():
                    seen.append(await self._judge(job, found))
                case WithFiles():
                    seen.append(found.as_it_is)
                case HandedBack():
                    handed_back.setdefault(question_of(job).backend, []).append(found)
                case None:
                    pass
        for name, found_there in handed_back.items():
            seen.extend(await self._ask_host(name, found_there))
            self._look_again(trio.current_time() + HOST_INTERVALS * self.hosts(name).poll_interval_s)
        self._note_deadlines(jobs)
        return seen

    async def _look_at(self, jobs: Sequence[LiveJob]) -> list[Found | None]:
        """Look at all, and see that the files of answers are taken over."""
        now = utc_text(self.now())
        looked = await self.blocking(look_at_all, jobs, self._withdrawn, now, dict(self._takings))
        for place, (job, found) in enumerate(zip(jobs, looked, strict=True)):
            if isinstance(found, WithFiles) and self._takings.get(job.token) is not found.taking:
                self._drop_taking(job.token)
                self._takings[job.token] = found.taking
                if self._nursery is not None:
                    self._nursery.start_soon(self._take_over, job, found.taking)
                else:
                    await self._take_over(job, found.taking)
                    taken = {job.token: found.taking}
                    looked[place] = (await self.blocking(look_at_all, [job], self._withdrawn, now, taken))[0]
        return looked

    async def _take_over(self, job: LiveJob, taking: TakingOver) -> None:
        """Copy the files of an answer, a piece at a time, then have it looked at again."""
        try:
            with self._telling(job) as news:
                while not taking.is_done and not taking.is_dropped:
                    await self._copying(taking.advance, PIECE_BYTES)
                    if news is not None:
                        far = Finishing(taking.done_bytes, taking.total_bytes)
                        await self._copying(news.tell, {question_of(job).task_id: far})
        except OSError as error:
            # The next poll begins anew: there may be room by then.
            logger.warning("the files of an answer cannot be taken over: %s", error.strerror or error)
            if self._takings.get(job.token) is taking:
                del self._takings[job.token]
        else:
            self.watch.stir()

    @contextmanager
    def _telling(self, job: LiveJob) -> Iterator[FinishingNews | None]:
        if self.root is None:
            yield None
            return
        question = question_of(job)
        news = FinishingNews(self.root, question.run_id, f"answer to {question.task_id}")
        try:
            yield news
        finally:
            news.end()

    def _drop_takings(self, live: Container[Token]) -> None:
        """Nobody waits for the files of what is over, or withdrawn."""
        for token in [t for t in self._takings if t not in live or t in self._withdrawn]:
            self._drop_taking(token)

    def _drop_taking(self, token: Token) -> None:
        if (old := self._takings.pop(token, None)) is not None:
            old.is_dropped = True

    async def _judge(self, job: LiveJob, doubtful: Doubtful) -> Observed:
        """Set an answer aside that nobody goes on writing."""
        now = trio.current_time()
        version, since = self._doubts.get(job.token, (None, now))
        if version != doubtful.version:
            version, since = doubtful.version, now
            self._doubts[job.token] = (doubtful.version, now)
        if now - since < SETTLE_S:
            self._look_again(since + SETTLE_S)
            return doubtful.as_it_was
        del self._doubts[job.token]
        return await self.blocking(reject, job, doubtful)

    async def _ask_host(self, name: BackendName, found: Sequence[HandedBack]) -> list[Observed]:
        given = {one.job.token: one for one in found}
        try:
            observed = await self.hosts(name).poll([one.job for one in found])
        except BackendError as error:
            logger.warning("%s does not answer about jobs by hand: %s", name, error)
            return []
        return [as_answered(one, given[one.token]) for one in observed]

    def _look_again(self, at: float) -> None:
        if self._look_again_at is None or at < self._look_again_at:
            self._look_again_at = at
            self.watch.stir()

    def _note_deadlines(self, jobs: Sequence[LiveJob]) -> None:
        """Make sure that somebody looks when the next deadline is over."""
        now = utc_text(self.now())
        due = [at for job in jobs for at in deadlines(question_of(job)) if at > now]
        if due:
            wait_s = (utc_moment(min(due)) - self.now()).total_seconds()
            self._look_again(trio.current_time() + max(0.0, wait_s))
