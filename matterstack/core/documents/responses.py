"""What an answer means: a pure function from what was asked, and the bytes that came back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias, TypeVar

import attrs
from pydantic import ValidationError

from matterstack.core.documents.fields import Problem, field_problems, given_values
from matterstack.core.documents.manifests import (
    ExperimentManifest,
    GateManifest,
    HumanOperatorManifest,
    ManualHPCManifest,
    OperatorManifest,
)
from matterstack.core.documents.model_problems import model_problems
from matterstack.core.documents.operator_documents import (
    ExperimentAcknowledgement,
    ExperimentFailure,
    ExperimentResult,
    GateDecision,
    HandedBackJob,
    HandedBackResult,
    Reply,
)
from matterstack.core.documents.strict_json import MOST_BYTES, DocumentError, parse_document

MOST_PROBLEMS_SHOWN: Final = 20
_ReplyT = TypeVar("_ReplyT", bound=Reply)


@attrs.frozen
class Answered:
    """The task succeeds with this data; ``files`` lie beside the answer."""

    data: Mapping[str, Any]
    files: Sequence[str] = ()


@attrs.frozen
class Declined:
    """The task fails for this reason: an experiment that did not work, a gate that was closed."""

    reason: str
    data: Mapping[str, Any]


@attrs.frozen
class SentBack:
    """What the gate depends on is to be done again, for this reason."""

    comment: str


@attrs.frozen
class JobHandedBack:
    """A person has submitted the job; it is followed from here on."""

    job_id: str


@attrs.frozen
class JobFinished:
    """A job by hand is over; what it left lies in its folder."""

    exit_code: int


@attrs.frozen
class Unusable:
    """The answer cannot be used, and the task goes on waiting."""

    problems: Sequence[Problem]

    def __str__(self) -> str:
        shown = [str(problem) for problem in self.problems[:MOST_PROBLEMS_SHOWN]]
        if len(self.problems) > len(shown):
            shown.append(f"and {len(self.problems) - len(shown)} more")
        return "\n".join(shown)


Answer: TypeAlias = Answered | Declined | SentBack | JobHandedBack | JobFinished | Unusable


def read_response(
    manifest: OperatorManifest, attempt: int, text: bytes, *, most_bytes: int = MOST_BYTES
) -> Answer:
    """Say what a ``response.json`` means.

    Args:
        attempt: the one that is waiting; an answer to another one is unusable.
    """
    try:
        document = parse_document(text, most_bytes=most_bytes)
    except DocumentError as error:
        return Unusable(
            [Problem("", f"the file {error}" if not str(error).startswith("line") else str(error))]
        )
    if not isinstance(document, dict):
        return Unusable([Problem("", 'the answer must be an object: {"NAME": VALUE, ...}')])
    match manifest:
        case HumanOperatorManifest():
            return _values(manifest, document)
        case ExperimentManifest():
            return _measurement(manifest, attempt, document)
        case ManualHPCManifest():
            return _job(attempt, document)
        case GateManifest():
            return _decision(attempt, document)


def read_acknowledgement(attempt: int, text: bytes) -> ExperimentAcknowledgement | Unusable:
    """Say what an ``acknowledgement.json`` means."""
    try:
        document = parse_document(text)
    except DocumentError as error:
        return Unusable([Problem("", str(error))])
    return _reply(ExperimentAcknowledgement, attempt, document)


def _values(manifest: HumanOperatorManifest, document: Mapping[str, Any]) -> Answer:
    problems = list(field_problems(manifest.fields, document))
    return Unusable(problems) if problems else Answered(given_values(manifest.fields, document))


def _measurement(manifest: ExperimentManifest, attempt: int, document: Mapping[str, Any]) -> Answer:
    if ("result" in document) == ("failure" in document):
        return Unusable([Problem("", 'give either "result" or "failure"')])
    if "failure" in document:
        failed = _reply(ExperimentFailure, attempt, document)
        if isinstance(failed, Unusable):
            return failed
        return Declined(f"the experiment failed: {failed.failure}", _said(failed))
    reply = _reply(ExperimentResult, attempt, document)
    if isinstance(reply, Unusable):
        return reply
    problems = [
        Problem(f"result.{problem.field}", problem.message)
        for problem in field_problems(manifest.fields, reply.result)
    ]
    return (
        Unusable(problems) if problems else Answered(given_values(manifest.fields, reply.result), reply.files)
    )


def _job(attempt: int, document: Mapping[str, Any]) -> Answer:
    if ("job_id" in document) == ("exit_code" in document):
        hint = '"job_id" (of the job that you submitted) or "exit_code" (of one that is over)'
        return Unusable([Problem("", f"give either {hint}")])
    if "job_id" in document:
        job = _reply(HandedBackJob, attempt, document)
        return job if isinstance(job, Unusable) else JobHandedBack(job.job_id)
    finished = _reply(HandedBackResult, attempt, document)
    return finished if isinstance(finished, Unusable) else JobFinished(finished.exit_code)


def _decision(attempt: int, document: Mapping[str, Any]) -> Answer:
    decision = _reply(GateDecision, attempt, document)
    if isinstance(decision, Unusable):
        return decision
    match decision.decision:
        case "approve":
            return Answered(_said(decision))
        case "reject":
            comment = decision.comment.strip()
            return Declined(f"it was rejected{f': {comment}' if comment else ''}", _said(decision))
        case "send_back":
            return SentBack(decision.comment.strip())


def _said(reply: Reply) -> dict[str, Any]:
    return reply.model_dump(exclude={"attempt"}, exclude_defaults=True)


def _reply(model: type[_ReplyT], attempt: int, document: object) -> _ReplyT | Unusable:
    try:
        reply = model.model_validate(document)
    except ValidationError as error:
        return Unusable(model_problems(error))
    if reply.attempt not in {None, attempt}:
        message = f"{reply.attempt} is not the attempt that waits now, which is {attempt}"
        return Unusable([Problem("attempt", message)])
    return reply
