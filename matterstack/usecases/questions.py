"""Answer what a run asks: find the question, check the answer before anything is written, hand it over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

import attrs

from matterstack.backends.registry import whereabouts
from matterstack.core.documents.fields import AnyField, BooleanField, Fields, IntegerField, NumberField
from matterstack.core.documents.manifests import (
    ExperimentManifest,
    GateManifest,
    HumanOperatorManifest,
    ManualHPCManifest,
    OperatorManifest,
    read_manifest,
)
from matterstack.core.documents.responses import Unusable, read_response
from matterstack.core.errors import NotFoundError, RefusedError, UsageError
from matterstack.core.ids import RunId, TaskId, UtcTime, utc_moment, utc_text
from matterstack.core.operators import ASKING
from matterstack.core.run.asked_again import why_again
from matterstack.core.run.state import RunState, TaskState
from matterstack.core.states import TaskStatus
from matterstack.storage.confine import confined
from matterstack.storage.files import json_bytes
from matterstack.storage.layout import Root, operator_folder
from matterstack.storage.operator_files import RESPONSE, last_rejection

_FLAGS: Final = {
    **dict.fromkeys(("true", "yes", "y"), True),
    **dict.fromkeys(("false", "no", "n"), False),
}
MOST_RESULTS: Final = 100
"""How many results of earlier tasks are shown with a question."""
MOST_DATA: Final = 2000
"""How many characters of JSON are shown of one of them."""


@attrs.frozen(kw_only=True)
class EarlierResult:
    """What came of a task that the question depends on.

    Attributes:
        data: its ``result.json``; None where it left none, or a long one.
        folder: where its outputs are.
        outputs: paths in that folder.
    """

    task_id: TaskId
    status: TaskStatus
    data: Any
    folder: Path
    outputs: Sequence[str]

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "task_id": self.task_id,
            "status": self.status.value,
            "data": self.data,
            "folder": str(self.folder),
            "outputs": list(self.outputs),
        }


@attrs.frozen(kw_only=True)
class OpenQuestion:
    """What a task waits for.

    Attributes:
        attempt: which time it is asked.
        folder: where the answer is put.
        script: where the script of a job by hand is, for whoever submits it.
        rejected: what was wrong with the last answer; empty when there was none.
        again: why it is asked once more; empty the first time.
        results: of the tasks that it depends on, at most `MOST_RESULTS`: what a gate approves.
    """

    run_id: RunId
    task_id: TaskId
    attempt: int
    operator: str
    manifest: OperatorManifest
    folder: Path
    script: str
    expires_at: UtcTime | None
    rejected: str
    again: str = ""
    results: Sequence[EarlierResult] = ()

    @property
    def fields(self) -> Mapping[str, AnyField]:
        """What is to be filled in; nothing for a gate or a job by hand."""
        if isinstance(self.manifest, HumanOperatorManifest | ExperimentManifest):
            return self.manifest.fields
        return {}

    @property
    def text(self) -> str:
        """What is asked, in words."""
        match self.manifest:
            case HumanOperatorManifest(question=text) | GateManifest(question=text):
                return text
            case ExperimentManifest(instructions=text):
                return text or "Measure this."
            case ManualHPCManifest(instructions=text):
                return text or "Submit this job, then hand it back."

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "run_id": self.run_id,
            "task_id": self.task_id,
            "attempt": self.attempt,
            "operator": self.operator,
            "manifest": self.manifest.model_dump(mode="json", exclude_none=True),
            "folder": str(self.folder),
            "expires_at": self.expires_at,
            "rejected": self.rejected,
            "again": self.again,
            "results": [result.as_json() for result in self.results],
        }


def open_question(root: Root, state: RunState, task_id: TaskId) -> OpenQuestion:
    """Find what a task asks now.  What counts is what the store has, not what lies in the folder.

    Raises:
        NotFoundError: there is no such task.
        RefusedError: it waits for no answer.
    """
    task = state.tasks.get(task_id)
    if task is None:
        raise NotFoundError(f"run {state.run_id} has no task {task_id!r}")
    attempt = task.last_attempt
    if task.task.operator not in ASKING:
        raise RefusedError(f"task {task_id} is a {task.task.operator} task and asks nobody")
    if task.status is not TaskStatus.ACTIVE or attempt is None or attempt.ended_at is not None:
        raise RefusedError(
            f"task {task_id} is {task.status} and waits for no answer",
            hint="it was answered already" if task.status is TaskStatus.SUCCEEDED else "",
        )
    work = root.run_folder(state.workspace, state.run_id).attempt(task_id, attempt.n).path
    folder = operator_folder(work)
    manifest = read_manifest(task.task.operator, task.task.params)
    with confined(folder, make=True) as inside:
        _, rejected = last_rejection(inside)
    return OpenQuestion(
        run_id=state.run_id,
        task_id=task_id,
        attempt=attempt.n,
        operator=task.task.operator,
        manifest=manifest,
        folder=folder,
        script=_script(root, state, task, work),
        expires_at=_expiry(attempt.prepared_at, manifest),
        rejected=rejected,
        again=why_again(state, attempt),
        results=list(_results(root, state, task)),
    )


def _script(root: Root, state: RunState, task: TaskState, work: Path) -> str:
    config = state.backend_config(state.job_backend_of(task.task))
    return str(whereabouts(config, root, work / "job.sh"))


def _results(root: Root, state: RunState, task: TaskState) -> Iterator[EarlierResult]:
    run_folder = root.run_folder(state.workspace, state.run_id)
    for need in islice(task.task.dependencies(), MOST_RESULTS):
        earlier = state.tasks[need]
        is_short = len(json_bytes(earlier.data)) <= MOST_DATA
        yield EarlierResult(
            task_id=need,
            status=earlier.status,
            data=earlier.data if is_short else None,
            folder=run_folder.attempt(need, max(1, len(earlier.attempts))).path,
            outputs=[output.path for output in earlier.outputs],
        )


def _expiry(asked_at: UtcTime, manifest: OperatorManifest) -> UtcTime | None:
    if manifest.expires_in_s is None:
        return None
    moment = utc_moment(asked_at)
    return utc_text(moment.fromtimestamp(moment.timestamp() + manifest.expires_in_s, moment.tzinfo))


def document_of(question: OpenQuestion, settings: Mapping[str, str]) -> dict[str, Any]:
    """Make an answer of what was typed: ``{NAME: TEXT}``.

    Raises:
        UsageError: a text is no value of its field.
    """
    match question.manifest:
        case HumanOperatorManifest(fields=fields):
            return _typed_values(fields, settings)
        case ExperimentManifest(fields=fields):
            return {"result": _typed_values(fields, settings)}
        case ManualHPCManifest():
            return {k: _whole(k, v) if k == "exit_code" else v for k, v in settings.items()}
        case GateManifest():
            raise UsageError("a gate is answered with --approve, --reject or --send-back")


def _typed_values(fields: Fields, settings: Mapping[str, str]) -> dict[str, Any]:
    # A name that is not asked for is found, with all other problems, when the answer is checked.
    return {name: typed_value(fields[name], text, name) if name in fields else text
            for name, text in settings.items()}  # fmt: skip


def typed_value(field: AnyField, text: str, name: str) -> Any:  # noqa: ANN401  any JSON
    """Read what a person typed as the value of a field.

    Raises:
        UsageError: it is none.
    """
    match field:
        case IntegerField():
            return _whole(name, text)
        case NumberField():
            try:
                return float(text)
            except ValueError:
                raise UsageError(f"{name}: {text!r} is no number") from None
        case BooleanField():
            if text.strip().lower() not in _FLAGS:
                raise UsageError(f"{name}: {text!r} is neither true nor false")
            return _FLAGS[text.strip().lower()]
        case _:
            return text


def _whole(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"{name}: {text!r} is no whole number") from None


def problems_of(question: OpenQuestion, document: Mapping[str, Any]) -> str:
    """What is wrong with an answer, in words; empty when it can be used."""
    answer = read_response(question.manifest, question.attempt, json_bytes(dict(document)))
    return str(answer) if isinstance(answer, Unusable) else ""


def hand_over(question: OpenQuestion, document: Mapping[str, Any]) -> None:
    """Put an answer where it is waited for, whole.

    Raises:
        UsageError: it cannot be used; nothing was written.
        RefusedError: an answer lies there already, and is about to be taken.
    """
    try:
        text = json_bytes(dict(document))
    except ValueError as error:
        raise UsageError(f"the answer cannot be used: {error}") from None
    hand_over_text(question, text)


def hand_over_text(question: OpenQuestion, text: bytes) -> None:
    """Like `hand_over`, for a document as it is."""
    answer = read_response(question.manifest, question.attempt, text)
    if isinstance(answer, Unusable):
        raise UsageError(f"the answer cannot be used, and nothing was written:\n{answer}")
    with confined(question.folder, make=True) as folder:
        if folder.exists(RESPONSE):
            raise RefusedError(
                f"task {question.task_id} has an answer already, which is about to be taken",
                hint=f"take {question.folder / RESPONSE} away first to give another one",
            )
        folder.replace(RESPONSE, text)
