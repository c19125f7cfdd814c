"""Ask: from an attempt to the question that lies in the folder of its task.  Blocking."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

from matterstack.backends.base import LiveJob, PreparedAttempt, Question
from matterstack.core.documents.manifests import ExperimentManifest, OperatorManifest, read_manifest
from matterstack.core.documents.operator_documents import Request
from matterstack.core.errors import InvariantError
from matterstack.core.ids import JobId, Token, UtcTime, utc_moment, utc_text
from matterstack.storage import operator_files as files
from matterstack.storage.confine import confined
from matterstack.storage.layout import operator_folder


def question_of(of: PreparedAttempt | LiveJob) -> Question:
    """The question that an attempt, or its job, asks."""
    if of.question is None:
        raise InvariantError(f"attempt {of.token} asks nothing")
    return of.question


def job_id_of(question: Question) -> JobId:
    """What stands in the place of the id of a job."""
    return JobId(f"question-{question.n}")


def request_of(question: Question, manifest: OperatorManifest) -> Request:
    """The document that is handed out."""
    return Request(
        run_id=question.run_id,
        task_id=question.task_id,
        attempt=question.n,
        operator=question.operator,
        asked_at=question.asked_at,
        expires_at=deadline(question, manifest.expires_in_s),
        again=question.again,
        manifest=dict(question.params),
    )


def deadline(question: Question, seconds: float | None) -> UtcTime | None:
    """Counted from when it was asked, so that a restart neither forgets nor prolongs it."""
    if seconds is None:
        return None
    return utc_text(utc_moment(question.asked_at) + timedelta(seconds=seconds))


def deadlines(question: Question) -> Iterator[UtcTime]:
    """All times at which somebody has to look, whether there is an answer or not."""
    manifest = read_manifest(question.operator, question.params)
    waits = [manifest.expires_in_s]
    if isinstance(manifest, ExperimentManifest):
        waits.append(manifest.acknowledge_within_s)
    for seconds in waits:
        at = deadline(question, seconds)
        if at is not None:
            yield at


def ask(place: Path, request: Request) -> None:
    """Write the question, unless it is there."""
    with confined(place, make=True) as folder:
        files.ask(folder, request)


def withdraw(place: Path) -> None:
    """Nobody needs to answer any more."""
    with confined(place, make=True) as folder:
        files.withdraw(folder)


def find_asked(attempts: Sequence[PreparedAttempt]) -> dict[Token, JobId]:
    """Which of these were asked."""
    return {a.token: job_id_of(question_of(a)) for a in attempts if _was_asked(a)}


def _was_asked(attempt: PreparedAttempt) -> bool:
    try:
        with confined(operator_folder(attempt.folder)) as folder:
            return files.has_asked(folder, attempt.n, question_of(attempt).asked_at)
    except FileNotFoundError:
        return False
