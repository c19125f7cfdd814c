"""Look for answers: from what lies in the folder of a question to what is known of its attempt.  Blocking."""

from __future__ import annotations

import logging
from collections.abc import Container, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, TypeAlias, assert_never

import attrs

from matterstack.backends.base import LiveJob, Question
from matterstack.backends.questions import ask, deadline, question_of, request_of
from matterstack.backends.taking_over import TakingOver, files_beside, own_names
from matterstack.core.documents.fields import Problem
from matterstack.core.documents.manifests import (
    ExperimentManifest,
    GateManifest,
    HumanOperatorManifest,
    OperatorManifest,
    read_manifest,
)
from matterstack.core.documents.responses import (
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
from matterstack.core.errors import InvariantError
from matterstack.core.ids import JobId, Token, UtcTime
from matterstack.core.model.size_limits import GIB
from matterstack.core.operators import REJECTED, SENT_BACK
from matterstack.core.run.messages import Observed
from matterstack.core.states import ENDED_JOBS, JobState
from matterstack.storage import operator_files as files
from matterstack.storage.confine import Confined, confined
from matterstack.storage.files import json_bytes
from matterstack.storage.foreign_files import set_foreign_aside
from matterstack.storage.layout import operator_folder

logger: Final = logging.getLogger(__name__)


@attrs.frozen
class Doubtful:
    """An answer that cannot be used; it is not set aside before it has settled."""

    version: tuple[object, ...]
    problems: Sequence[Problem]
    as_it_was: Observed


@attrs.frozen
class HandedBack:
    """A job by hand, to be followed on its own backend."""

    job: LiveJob
    seen: files.Seen


@attrs.frozen
class WithFiles:
    """An answer with files that are too large to be copied while others wait."""

    taking: TakingOver
    as_it_is: Observed


Found: TypeAlias = Observed | Doubtful | HandedBack | WithFiles


def look_at_all(
    jobs: Sequence[LiveJob],
    withdrawn: Container[Token],
    now: UtcTime,
    takings: Mapping[Token, TakingOver] = MappingProxyType({}),
) -> list[Found | None]:
    """Look at each of several; None where nothing can be known now.

    ``takings``: files of answers that are being copied, or were.
    """
    return [_look_or_not(job, job.token in withdrawn, now, takings.get(job.token)) for job in jobs]


def _look_or_not(job: LiveJob, withdrawn: bool, now: UtcTime, taking: TakingOver | None) -> Found | None:
    try:
        return look(job, withdrawn=withdrawn, now=now, taking=taking)
    except OSError as error:
        # Nothing is known, so nothing is said: it is as it was.
        logger.warning("the answer to %s cannot be looked for: %s", job.job_id, error)
        return None


def look(job: LiveJob, *, withdrawn: bool, now: UtcTime, taking: TakingOver | None = None) -> Found:
    """What became of a question: asked (again) if it must be, and answered, late or waiting.

    Raises:
        OSError: the disk does not answer, so that nothing is known.
    """
    question = question_of(job)
    manifest = read_manifest(question.operator, question.params)
    place = operator_folder(job.folder)
    if not withdrawn:
        # A question that somebody has deleted is asked again; one that is there is left alone.
        ask(place, request_of(question, manifest))
    with confined(place, make=True) as folder:
        seen = files.look_at(folder, files.RESPONSE)
        problems: Sequence[Problem] = ()
        if seen is not None:
            answer = _meaning(manifest, question, seen)
            if not isinstance(answer, Unusable) and (taking is None or taking.version != seen.version):
                _set_foreign_aside(job, own_names(answer.files) if isinstance(answer, Answered) else ())
            if isinstance(answer, Answered) and answer.files:
                if taking is None or taking.version != seen.version:
                    most_gib = question.max_output_gib
                    taking = files_beside(place, job.folder, answer.files, seen.version, most_gib)
                if not taking.is_done and not withdrawn:
                    return WithFiles(taking, _with_files(_waiting(folder, job, manifest, question.n), taking))
                answer = Unusable(taking.problems) if taking.problems or not taking.is_done else answer
            if not isinstance(answer, Unusable):
                return _taken(folder, job, seen, answer, now)
            problems = answer.problems
        if withdrawn:
            return _end(job, JobState.CANCELLED, "WITHDRAWN")
        waiting = _waiting(folder, job, manifest, question.n)
        late = _expired(job, manifest, waiting, now)
        if seen is not None and late is None:
            return Doubtful(seen.version, problems, waiting)
        return late or waiting


def _set_foreign_aside(job: LiveJob, taken: Sequence[str] = ()) -> None:
    """Nobody but the one who asks has anything to put into the folder of the attempt.

    A job by hand works in it.
    """
    question = question_of(job)
    if question.operator != "manual_hpc":
        set_foreign_aside(job.folder, {*question.given, *taken})


def _taken(
    folder: Confined, job: LiveJob, seen: files.Seen, answer: Answer, now: UtcTime
) -> Observed | HandedBack:
    match answer:
        case JobHandedBack(job_id):
            return HandedBack(attrs.evolve(job, job_id=JobId(job_id), question=None, nonce_sha256=None), seen)
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
    return attrs.evolve(end, by=seen.by, sha256=seen.sha256, ended_at=now)


def _expired(job: LiveJob, manifest: OperatorManifest, waiting: Observed, now: UtcTime) -> Observed | None:
    """What comes of a question that nobody has answered in time; None while there is time."""
    question = question_of(job)
    if isinstance(manifest, ExperimentManifest) and waiting.state is JobState.QUEUED:
        late = deadline(question, manifest.acknowledge_within_s)
        if late is not None and now >= late:
            _set_foreign_aside(job)
            return _too_late(job, f"nobody took it on within {manifest.acknowledge_within_s:g} s", now)
    late = deadline(question, manifest.expires_in_s)
    if late is None or now < late:
        return None
    _set_foreign_aside(job)
    reason = f"nobody answered within {manifest.expires_in_s:g} s"
    match manifest:
        case HumanOperatorManifest(on_expiry="default", default=dict() as data):
            return _by_default(job, data, reason, now)
        case GateManifest(on_expiry="approve"):
            return _by_default(job, {"decision": "approve", "comment": reason}, reason, now)
        case GateManifest(on_expiry="reject"):
            _leave_data(job, {"decision": "reject", "comment": reason})
            return _too_late(job, f"it was rejected: {reason}", now)
    return _too_late(job, reason, now)


def _by_default(job: LiveJob, data: Mapping[str, Any], reason: str, now: UtcTime) -> Observed:
    _leave_data(job, data)
    end = _end(job, JobState.COMPLETED_OK, "EXPIRED")
    return attrs.evolve(end, reason=reason, ended_at=now)


def _too_late(job: LiveJob, reason: str, now: UtcTime) -> Observed:
    end = _end(job, JobState.COMPLETED_ERROR, "EXPIRED")
    return attrs.evolve(end, reason=reason, ended_at=now)


def _meaning(manifest: OperatorManifest, question: Question, seen: files.Seen) -> Answer:
    if seen.text is None:
        return Unusable([Problem("", seen.problem)])
    return read_response(manifest, question.n, seen.text)


def _with_files(waiting: Observed, taking: TakingOver) -> Observed:
    # No figure that changes: each change would be an event of the run.
    size = f"{taking.total_bytes / GIB:.3g} GiB"
    return attrs.evolve(waiting, reason=f"it was answered; {size} of files are taken over")


def _leave_data(job: LiveJob, data: Mapping[str, Any]) -> None:
    """Where a job leaves its data for ``analyze``."""
    with confined(job.folder, make=True) as folder:
        folder.replace("result.json", json_bytes(dict(data)))


def _waiting(folder: Confined, job: LiveJob, manifest: OperatorManifest, attempt: int) -> Observed:
    """What is known while there is no answer."""
    rejected, problems = files.last_rejection(folder)
    if rejected:
        reason = f"response.rejected-{rejected}.json: {problems}"
        return Observed(token=job.token, state=JobState.QUEUED, raw_state=REJECTED, reason=reason)
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


def reject(job: LiveJob, doubtful: Doubtful) -> Observed:
    """Set an answer aside, unless it has become another one by now."""
    with confined(operator_folder(job.folder)) as folder:
        seen = files.look_at(folder, files.RESPONSE)
        if seen is None or seen.version != doubtful.version:
            return doubtful.as_it_was
        files.set_aside(folder, str(Unusable(doubtful.problems)).splitlines())
        rejected, problems = files.last_rejection(folder)
    reason = f"response.rejected-{rejected}.json: {problems}"
    rejection = Observed(token=job.token, state=JobState.QUEUED, raw_state=REJECTED, reason=reason)
    return attrs.evolve(rejection, by=seen.by, sha256=seen.sha256)


def as_answered(observed: Observed, given: HandedBack) -> Observed:
    """What the backend says of a job by hand, with who handed that back."""
    reason = observed.reason
    if observed.state not in ENDED_JOBS:
        reason = f"job {given.job.job_id}{f': {reason}' if reason else ''}"
    return attrs.evolve(observed, reason=reason, by=given.seen.by, sha256=given.seen.sha256)


def _end(job: LiveJob, state: JobState, word: str) -> Observed:
    started_at = question_of(job).asked_at
    return Observed(token=job.token, state=state, raw_state=word, started_at=started_at)
