"""People, laboratories, instruments and jobs by hand, followed in the way of a backend.

An attempt of an operator has the same life as a job: submitting it asks the question, polling looks for the
answer, cancelling withdraws it.  So pausing, recovery and retries are the same as for jobs.  Nothing is kept
here: what is asked and what came back lies in ``operators/<task_id>`` of the run, and is found there
by a new engine.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, assert_never

import attrs
import trio

from matterstack.backends.answer_watch import AnswerWatch
from matterstack.backends.base import (
    Backend,
    Health,
    LiveJob,
    PreparedAttempt,
    Question,
    SubmitReport,
)
from matterstack.backends.local import LocalBackend, make_claim_folder
from matterstack.core.documents import Request
from matterstack.core.errors import BackendError, InvariantError
from matterstack.core.fields import Problem, shown_name
from matterstack.core.ids import BackendName, JobId, Token, UtcTime, utc_moment, utc_text
from matterstack.core.manifests import (
    ExperimentManifest,
    GateManifest,
    HumanOperatorManifest,
    ManifestError,
    ManualHPCManifest,
    OperatorManifest,
    read_manifest,
)
from matterstack.core.messages import Observed
from matterstack.core.operators import ASKED, SENT_BACK
from matterstack.core.resources import Limits
from matterstack.core.responses import (
    Answer,
    Answered,
    Declined,
    JobFinished,
    JobHandedBack,
    SentBack,
    Unusable,
    read_acknowledgement,
    read_response,
)
from matterstack.core.states import ENDED_JOBS, JobState
from matterstack.core.workflow_check import unsafe_name
from matterstack.storage import operator_files as files
from matterstack.storage.confine import Confined, ConfinementError, confined
from matterstack.storage.files import chunks, json_bytes, write_all
from matterstack.storage.layout import operator_folder
from matterstack.storage.threads import RunBlocking

logger: Final = logging.getLogger(__name__)

SETTLE_S: Final = 2.0
"""How long an answer that cannot be used must have stayed as it is: it may be half written."""


@attrs.frozen
class _Doubtful:
    """An answer that cannot be used; it is not set aside before it has settled."""

    version: tuple[object, ...]
    problems: Sequence[Problem]
    as_it_was: Observed


@attrs.frozen
class _HandedBack:
    """A job by hand, to be followed on its own backend."""

    job: LiveJob
    seen: files.Seen


@attrs.define
class OperatorBackend:
    """Asks, and follows what was asked.

    Args:
        now: the time of day.
        blocking: runs calls on files.
        hosts: the backend on which a job by hand is followed, by its name.
        watch: tells when something in a folder has changed, earlier than polling would.
    """

    poll_interval_s: float
    now: Callable[[], datetime]
    blocking: RunBlocking
    hosts: Callable[[BackendName], Backend]
    watch: AnswerWatch
    name: BackendName = ASKED
    grace_period_s: float = 0.0
    batch_limit: int = 1
    _withdrawn: set[Token] = attrs.field(factory=set)
    _doubts: dict[Token, tuple[tuple[object, ...], float]] = attrs.field(factory=dict)
    _look_again_at: float | None = None

    async def serve(self) -> None:
        """Watch folders until cancelled."""
        await self.watch.serve()

    def script(self, attempt: PreparedAttempt) -> str:
        """The script that a person submits by hand; nothing for who needs none."""
        question = _question(attempt)
        if question.operator != "manual_hpc":
            return ""
        return self.hosts(question.backend).script(attempt)

    async def probe(self) -> Limits:
        """There is no limit."""
        return Limits()

    def health(self) -> Health:
        """There is nothing that could be out."""
        return Health()

    # ---- asking ----

    async def submit(self, batch: Sequence[PreparedAttempt]) -> SubmitReport:
        """Write the questions.  One whose params are no manifest is refused."""
        report = SubmitReport()
        for attempt in batch:
            question = _question(attempt)
            try:
                manifest = read_manifest(question.operator, question.params)
                if isinstance(manifest, ManualHPCManifest):
                    await self._make_ready(attempt, question.backend)
                await self.blocking(_ask, operator_folder(attempt.folder), _request(question, manifest))
            except ManifestError as error:
                report.refused[attempt.token] = str(error)
            except OSError as error:
                report.refused[attempt.token] = (
                    f"the question could not be written: {error.strerror or error}"
                )
            else:
                report.accepted[attempt.token] = _job_id(question)
                self.watch.also(operator_folder(attempt.folder))
        return report

    async def _make_ready(self, attempt: PreparedAttempt, backend: BackendName) -> None:
        if isinstance(self.hosts(backend), LocalBackend):
            await self.blocking(make_claim_folder, attempt.folder)

    async def find(self, attempts: Sequence[PreparedAttempt]) -> Mapping[Token, JobId]:
        """Which of these were asked already."""
        found = await self.blocking(_find, attempts)
        for attempt in attempts:
            if attempt.token in found:
                # Whoever asked it is gone, and it may have been answered since.
                self.watch.also(operator_folder(attempt.folder))
        return found

    async def cancel(self, jobs: Sequence[LiveJob]) -> None:
        """Withdraw questions; of jobs by hand that were handed back, end them."""
        self._withdrawn.update(job.token for job in jobs)
        for job in jobs:
            looked = await self.blocking(self._look, job)
            if isinstance(looked, _HandedBack):
                await self.hosts(_question(job).backend).cancel([looked.job])
            else:
                await self.blocking(_withdraw, operator_folder(job.folder))

    # ---- following ----

    async def wait_change(self) -> None:
        """Return when something in a folder has changed, or when an answer has had time to settle."""
        deadline = self._look_again_at if self._look_again_at is not None else float("inf")
        with trio.move_on_at(deadline):
            await self.watch.wait_change()
        if self._look_again_at is not None and self._look_again_at <= trio.current_time():
            self._look_again_at = None

    async def poll(self, jobs: Sequence[LiveJob]) -> list[Observed]:
        """Look for answers."""
        self.watch.only({operator_folder(job.folder) for job in jobs})
        live = {job.token for job in jobs}
        self._withdrawn &= live
        self._doubts = {token: doubt for token, doubt in self._doubts.items() if token in live}
        looked = await self.blocking(self._look_at_all, jobs)
        seen: list[Observed] = []
        handed_back: dict[BackendName, list[_HandedBack]] = {}
        for job, found in zip(jobs, looked, strict=True):
            match found:
                case Observed():
                    seen.append(found)
                case _Doubtful():
                    seen.append(await self._judge(job, found))
                case _HandedBack():
                    handed_back.setdefault(_question(job).backend, []).append(found)
                case None:
                    pass
        for name, found_there in handed_back.items():
            seen.extend(await self._ask_host(name, found_there))
        self._note_deadlines(jobs)
        return seen

    async def _judge(self, job: LiveJob, doubtful: _Doubtful) -> Observed:
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
        return await self.blocking(_reject, job, doubtful)

    async def _ask_host(self, name: BackendName, found: Sequence[_HandedBack]) -> list[Observed]:
        given = {one.job.token: one for one in found}
        try:
            observed = await self.hosts(name).poll([one.job for one in found])
        except BackendError as error:
            logger.warning("%s does not answer about jobs by hand: %s", name, error)
            return []
        return [_as_answered(one, given[one.token]) for one in observed]

    def _look_again(self, at: float) -> None:
        if self._look_again_at is None or at < self._look_again_at:
            self._look_again_at = at
            self.watch.stir()

    def _note_deadlines(self, jobs: Sequence[LiveJob]) -> None:
        """Make sure that somebody looks when the next deadline is over."""
        now = utc_text(self.now())
        due = [at for job in jobs for at in _deadlines(_question(job)) if at > now]
        if due:
            wait_s = (utc_moment(min(due)) - self.now()).total_seconds()
            self._look_again(trio.current_time() + max(0.0, wait_s))

    # ---- looking, in a thread ----

    def _look_at_all(self, jobs: Sequence[LiveJob]) -> list[Observed | _Doubtful | _HandedBack | None]:
        return [self._look_or_not(job) for job in jobs]

    def _look_or_not(self, job: LiveJob) -> Observed | _Doubtful | _HandedBack | None:
        try:
            return self._look(job)
        except OSError as error:
            # Nothing is known, so nothing is said: it is as it was.
            logger.warning("the answer to %s cannot be looked for: %s", job.job_id, error)
            return None

    def _look(self, job: LiveJob) -> Observed | _Doubtful | _HandedBack:
        question = _question(job)
        manifest = read_manifest(question.operator, question.params)
        withdrawn = job.token in self._withdrawn
        place = operator_folder(job.folder)
        if not withdrawn:
            # A question that somebody has deleted is asked again; one that is there is left alone.
            _ask(place, _request(question, manifest))
        with confined(place, make=True) as folder:
            seen = files.look_at(folder, files.RESPONSE)
            problems: Sequence[Problem] = ()
            if seen is not None:
                answer = _take_files(folder, job, _meaning(manifest, question, seen))
                if not isinstance(answer, Unusable):
                    return self._taken(folder, job, seen, answer)
                problems = answer.problems
            if withdrawn:
                return _end(job, JobState.CANCELLED, "WITHDRAWN")
            waiting = _waiting(folder, job, manifest, question.n)
            late = self._expired(job, manifest, waiting)
            if seen is not None and late is None:
                return _Doubtful(seen.version, problems, waiting)
            return late or waiting

    def _taken(
        self, folder: Confined, job: LiveJob, seen: files.Seen, answer: Answer
    ) -> Observed | _HandedBack:
        match answer:
            case JobHandedBack(job_id):
                return _HandedBack(attrs.evolve(job, job_id=JobId(job_id), question=None), seen)
            case JobFinished(exit_code):
                end = _end(job, JobState.COMPLETED_ERROR if exit_code else JobState.COMPLETED_OK, "FINISHED")
                end = attrs.evolve(end, exit_code=exit_code)
            case Declined(reason, data):
                _leave_data(job, data)
                end = attrs.evolve(_end(job, JobState.COMPLETED_ERROR, "DECLINED"), reason=reason)
            case Answered(data):
                _leave_data(job, data)
                end = _end(job, JobState.COMPLETED_OK, "ANSWERED")
            case SentBack(comment):
                end = attrs.evolve(_end(job, JobState.COMPLETED_ERROR, SENT_BACK), reason=comment)
            case Unusable():
                raise InvariantError("what cannot be used is not taken")
            case _:
                assert_never(answer)
        files.clear_rejection(folder)
        return attrs.evolve(end, by=seen.by, sha256=seen.sha256, ended_at=utc_text(self.now()))

    def _expired(self, job: LiveJob, manifest: OperatorManifest, waiting: Observed) -> Observed | None:
        """What comes of a question that nobody has answered in time; None while there is time."""
        question = _question(job)
        now = utc_text(self.now())
        if isinstance(manifest, ExperimentManifest) and waiting.state is JobState.QUEUED:
            late = _deadline(question, manifest.acknowledge_within_s)
            if late is not None and now >= late:
                return self._too_late(job, f"nobody took it on within {manifest.acknowledge_within_s:g} s")
        late = _deadline(question, manifest.expires_in_s)
        if late is None or now < late:
            return None
        reason = f"nobody answered within {manifest.expires_in_s:g} s"
        match manifest:
            case HumanOperatorManifest(on_expiry="default", default=dict() as data):
                return self._by_default(job, data, reason)
            case GateManifest(on_expiry="approve"):
                return self._by_default(job, {"decision": "approve", "comment": reason}, reason)
            case GateManifest(on_expiry="reject"):
                _leave_data(job, {"decision": "reject", "comment": reason})
                return self._too_late(job, f"it was rejected: {reason}")
        return self._too_late(job, reason)

    def _by_default(self, job: LiveJob, data: Mapping[str, Any], reason: str) -> Observed:
        _leave_data(job, data)
        end = _end(job, JobState.COMPLETED_OK, "EXPIRED")
        return attrs.evolve(end, reason=reason, ended_at=utc_text(self.now()))

    def _too_late(self, job: LiveJob, reason: str) -> Observed:
        end = _end(job, JobState.COMPLETED_ERROR, "EXPIRED")
        return attrs.evolve(end, reason=reason, ended_at=utc_text(self.now()))


def _question(of: PreparedAttempt | LiveJob) -> Question:
    if of.question is None:
        raise InvariantError(f"attempt {of.token} asks nothing")
    return of.question


def _job_id(question: Question) -> JobId:
    return JobId(f"question-{question.n}")


def _request(question: Question, manifest: OperatorManifest) -> Request:
    return Request(
        run_id=question.run_id,
        task_id=question.task_id,
        attempt=question.n,
        operator=question.operator,
        asked_at=question.asked_at,
        expires_at=_deadline(question, manifest.expires_in_s),
        manifest=dict(question.params),
    )


def _deadline(question: Question, seconds: float | None) -> UtcTime | None:
    """Counted from when it was asked, so that a restart neither forgets nor prolongs it."""
    if seconds is None:
        return None
    return utc_text(utc_moment(question.asked_at) + timedelta(seconds=seconds))


def _deadlines(question: Question) -> Iterator[UtcTime]:
    manifest = read_manifest(question.operator, question.params)
    waits = [manifest.expires_in_s]
    if isinstance(manifest, ExperimentManifest):
        waits.append(manifest.acknowledge_within_s)
    for seconds in waits:
        deadline = _deadline(question, seconds)
        if deadline is not None:
            yield deadline


# ---- in threads ----


def _ask(place: Path, request: Request) -> None:
    with confined(place, make=True) as folder:
        files.ask(folder, request)


def _withdraw(place: Path) -> None:
    with confined(place, make=True) as folder:
        files.withdraw(folder)


def _find(attempts: Sequence[PreparedAttempt]) -> dict[Token, JobId]:
    return {a.token: _job_id(_question(a)) for a in attempts if _was_asked(a)}


def _was_asked(attempt: PreparedAttempt) -> bool:
    try:
        with confined(operator_folder(attempt.folder)) as folder:
            return files.asked_attempt(folder) == attempt.n
    except FileNotFoundError:
        return False


def _meaning(manifest: OperatorManifest, question: Question, seen: files.Seen) -> Answer:
    if seen.text is None:
        return Unusable([Problem("", seen.problem)])
    return read_response(manifest, question.n, seen.text)


def _take_files(folder: Confined, job: LiveJob, answer: Answer) -> Answer:
    """Copy the files that lie beside an answer to where the outputs of a job are."""
    if not isinstance(answer, Answered) or not answer.files:
        return answer
    problems: list[Problem] = []
    with confined(job.folder, make=True) as target:
        for place, name in enumerate(answer.files):
            problem = unsafe_name(name) or _copy(folder, target, name)
            if problem:
                problems.append(Problem(f"files.{place}", f"{shown_name(name)}: {problem}"))
    return Unusable(problems) if problems else answer


def _copy(folder: Confined, target: Confined, name: str) -> str | None:
    """Copy a file; returns why that cannot be done, where it is the fault of who named it."""
    try:
        reading = folder.open_file(name)
    except FileNotFoundError:
        return "is not there; put it beside response.json first"
    except (ConfinementError, PermissionError) as error:
        return str(error.strerror)
    try:
        writing = target.create_file(name)
        try:
            for chunk in chunks(reading):
                write_all(writing, chunk)
        finally:
            os.close(writing)
    except ConfinementError as error:
        return str(error.strerror)
    finally:
        os.close(reading)
    return None


def _leave_data(job: LiveJob, data: Mapping[str, Any]) -> None:
    """Where a job leaves its data for ``analyze``."""
    with confined(job.folder, make=True) as folder:
        folder.replace("result.json", json_bytes(dict(data)))


def _waiting(folder: Confined, job: LiveJob, manifest: OperatorManifest, attempt: int) -> Observed:
    """What is known while there is no answer."""
    rejected, problems = files.last_rejection(folder)
    if rejected:
        reason = f"response.rejected-{rejected}.json: {problems}"
        return Observed(token=job.token, state=JobState.QUEUED, raw_state="REJECTED", reason=reason)
    if isinstance(manifest, ExperimentManifest):
        seen = files.look_at(folder, files.ACKNOWLEDGEMENT)
        if seen is not None and seen.text is not None:
            said = read_acknowledgement(attempt, seen.text)
            if not isinstance(said, Unusable):
                until = f", expected at {said.expected_at}" if said.expected_at else ""
                reason = f"taken on by {said.by}{until}"
                running = Observed(token=job.token, state=JobState.RUNNING, raw_state="ACKNOWLEDGED")
                return attrs.evolve(running, reason=reason, by=seen.by, sha256=seen.sha256)
    return Observed(token=job.token, state=JobState.QUEUED)


def _reject(job: LiveJob, doubtful: _Doubtful) -> Observed:
    """Set an answer aside, unless it has become another one by now."""
    with confined(operator_folder(job.folder)) as folder:
        seen = files.look_at(folder, files.RESPONSE)
        if seen is None or seen.version != doubtful.version:
            return doubtful.as_it_was
        files.set_aside(folder, str(Unusable(doubtful.problems)).splitlines())
        rejected, problems = files.last_rejection(folder)
    reason = f"response.rejected-{rejected}.json: {problems}"
    rejection = Observed(token=job.token, state=JobState.QUEUED, raw_state="REJECTED", reason=reason)
    return attrs.evolve(rejection, by=seen.by, sha256=seen.sha256)


def _as_answered(observed: Observed, given: _HandedBack) -> Observed:
    """What the backend says of a job by hand, with who handed that back."""
    reason = observed.reason
    if observed.state not in ENDED_JOBS:
        reason = f"job {given.job.job_id}{f': {reason}' if reason else ''}"
    return attrs.evolve(observed, reason=reason, by=given.seen.by, sha256=given.seen.sha256)


def _end(job: LiveJob, state: JobState, word: str) -> Observed:
    started_at = _question(job).asked_at
    return Observed(token=job.token, state=state, raw_state=word, started_at=started_at)
