"""What a run asks, for every face: list its questions, find one, check an answer, hand it over.

Blocking: for `matterstack.storage.read.reader.Reader.read`.  What counts is what the store has, not what
lies in the folder of a task, where people and instruments may have put anything.  Whatever that is, the
other questions are listed, and this one with what is wrong.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import attrs

from matterstack.actors.preparing import prepared_attempt
from matterstack.backends.questions import question_of, request_of
from matterstack.backends.registry import whereabouts
from matterstack.core.documents.manifests import (
    ManifestError,
    OperatorManifest,
    read_manifest,
)
from matterstack.core.documents.responses import Unusable, read_response
from matterstack.core.errors import NotFoundError, RefusedError, UsageError
from matterstack.core.ids import RunId, TaskId, UtcTime, utc_moment, utc_text
from matterstack.core.json_rules import json_problem
from matterstack.core.model.workflow import Task
from matterstack.core.operators import ASKING
from matterstack.core.run.asked_again import why_again
from matterstack.core.run.state import AttemptState, RunState
from matterstack.core.states import TaskStatus
from matterstack.storage.confine import Confined, confined
from matterstack.storage.file_errors import file_error, file_errors
from matterstack.storage.files import json_bytes
from matterstack.storage.layout import Root, operator_folder
from matterstack.storage.operator_files import (
    REQUEST,
    RESPONSE,
    ask,
    asked_attempt,
    last_rejection,
    request_problem,
)
from matterstack.storage.read.deleted_runs import no_such_run
from matterstack.storage.read.runs import require_run
from matterstack.storage.read.tasks import asking_tasks
from matterstack.storage.snapshot import load_run
from matterstack.usecases.open_question import MOST_DATA, MOST_RESULTS, EarlierResult, OpenQuestion


@attrs.frozen
class Questions:
    """What a run asks now; ``count``: also of those that are not among the first."""

    first: Sequence[OpenQuestion]
    count: int


# ---- what every face calls ----


def list_questions(
    connection: sqlite3.Connection, root: Root, run_id: RunId, most: int | None = None
) -> Questions:
    """What a run asks now, at most so much of it, in the order of its tasks.

    Raises:
        NotFoundError: there is no such run.
    """
    require_run(connection, run_id)
    asking = asking_tasks(connection, run_id)
    if not asking:  # to load a run of ten thousand tasks takes its time
        return Questions([], 0)
    state = _state(connection, run_id)
    found: list[OpenQuestion] = []
    for task_id in asking[:most]:
        try:
            found.append(_open(root, state, task_id))
        except RefusedError:
            continue  # answered in this moment
    return Questions(found, len(asking))


def find_question(connection: sqlite3.Connection, root: Root, run_id: RunId, task_id: TaskId) -> OpenQuestion:
    """What a task asks now.

    Raises:
        NotFoundError: there is no such run or task.
        RefusedError: it waits for no answer.
    """
    require_run(connection, run_id)
    return _open(root, _state(connection, run_id), task_id)


def answer_question(
    connection: sqlite3.Connection,
    root: Root,
    run_id: RunId,
    task_id: TaskId,
    answer: object,
    *,
    attempt: int | None = None,
) -> OpenQuestion:
    """Put an answer where it is waited for, whole; whoever serves the run takes it.

    A question that is not (any more) in its folder is put there before, as an engine would, so that the
    answer is known to be one to it.

    Args:
        answer: a document, or the bytes of one.
        attempt: which time it was asked, if it must be that one.

    Raises:
        NotFoundError: there is no such run or task.
        RefusedError: it waits for no answer (any more), has one, or its folder is not what may be used.
        UsageError: the answer cannot be used, and why; nothing was written.
        StoreError: it cannot be written: names the file.
    """
    require_run(connection, run_id)
    state = _state(connection, run_id)
    question = _open(root, state, task_id)
    manifest = _manifest(question)
    if attempt is not None and question.attempt != attempt:
        raise _asked_anew(question)
    text = answer if isinstance(answer, bytes) else _document(answer)
    read = read_response(manifest, question.attempt, text)
    if isinstance(read, Unusable):
        raise UsageError(f"the answer cannot be used, and nothing was written:\n{read}")
    with file_errors(question.folder), confined(question.folder, make=True) as folder:
        if folder.exists(RESPONSE):
            raise RefusedError(
                f"task {task_id} has an answer already, which is about to be taken",
                hint=f"take {question.folder / RESPONSE} away first to give another one",
            )
        _put_question(folder, root, state, question, manifest)
        with file_errors(question.folder / RESPONSE):
            folder.replace(RESPONSE, text)
    return question


def problems_of(question: OpenQuestion, document: Mapping[str, Any]) -> str:
    """What is wrong with an answer, in words; empty when it can be used."""
    read = read_response(_manifest(question), question.attempt, _document(document))
    return str(read) if isinstance(read, Unusable) else ""


# ---- finding ----


def _state(connection: sqlite3.Connection, run_id: RunId) -> RunState:
    state = load_run(connection, run_id)
    if state is None:
        raise no_such_run(connection, run_id)
    return state


def _open(root: Root, state: RunState, task_id: TaskId) -> OpenQuestion:
    task, attempt = _asking(state, task_id)
    work = root.run_folder(state.workspace, state.run_id).attempt(task_id, attempt.n).path
    folder = operator_folder(work)
    rejected, problem = _found_in(folder, attempt)
    manifest: OperatorManifest | None = None
    try:
        manifest = read_manifest(task.operator, task.params)
    except ManifestError as error:
        problem = f"task {task_id} is about to fail: {error}"
    return OpenQuestion(
        run_id=state.run_id,
        task_id=task_id,
        attempt=attempt.n,
        operator=task.operator,
        manifest=manifest,
        folder=folder,
        script=_script(root, state, task, work),
        expires_at=None if manifest is None else _expiry(attempt.prepared_at, manifest),
        rejected=rejected,
        again=why_again(state, attempt),
        problem=problem,
        results=list(_results(root, state, task)),
    )


def _asking(state: RunState, task_id: TaskId) -> tuple[Task, AttemptState]:
    """What is asked, which may be another question than the task would ask next."""
    task = state.tasks.get(task_id)
    if task is None:
        raise NotFoundError(
            f"run {state.run_id} has no task {task_id!r}",
            hint=f"list them with: matterstack run tasks {state.run_id}",
        )
    attempt = task.last_attempt
    asked = task.task if attempt is None or attempt.ended_at is not None else state.definition_of(attempt)
    if asked.operator not in ASKING:
        raise RefusedError(f"task {task_id} is a {asked.operator} task and asks nobody")
    if task.status is not TaskStatus.ACTIVE or attempt is None or attempt.ended_at is not None:
        raise RefusedError(
            f"task {task_id} is {task.status} and waits for no answer",
            hint="it was answered already" if task.status is TaskStatus.SUCCEEDED else "",
        )
    return asked, attempt


def _found_in(folder: Path, attempt: AttemptState) -> tuple[str, str]:
    """What was wrong with the last answer, and what is wrong with the folder or the question in it."""
    try:
        with confined(folder) as inside:
            _, rejected = last_rejection(inside)
            return rejected, _question_problem(inside, folder / REQUEST, attempt)
    except FileNotFoundError:
        return "", _missing(folder, "is not there", attempt)
    except OSError as error:
        told = file_error(folder, error)
        return "", f"{told} ({told.hint})" if told.hint else str(told)


def _question_problem(folder: Confined, path: Path, attempt: AttemptState) -> str:
    problem = request_problem(folder)
    if problem:
        return _missing(path, problem, attempt)
    there = asked_attempt(folder)
    if there is None or there == attempt.n:
        return ""
    what = f"is the question of attempt {there}, and attempt {attempt.n} is asked"
    if there > attempt.n:
        return f"{path}: {what}; delete it: the engine that serves the run puts the question there again"
    return _missing(path, what, attempt)


def _missing(path: Path, what: str, attempt: AttemptState) -> str:
    """Nothing is wrong before the question was written for the first time."""
    if attempt.job_id is None:
        return ""
    return (
        f"{path}: {what}; the question is put there again by the engine that serves the run, and by an answer"
    )


# ---- handing over ----


def _manifest(question: OpenQuestion) -> OperatorManifest:
    if question.manifest is None:
        raise RefusedError(question.problem)
    return question.manifest


def _asked_anew(question: OpenQuestion, hint: str = "") -> RefusedError:
    return RefusedError(
        f"task {question.task_id} was asked anew since: look at the question again", hint=hint
    )


def _document(answer: object) -> bytes:
    if not isinstance(answer, Mapping):
        raise UsageError(f"the answer cannot be used: it must be a JSON object, not {answer!r}"[:500])
    if problem := json_problem(dict(answer)):
        raise UsageError(f"the answer cannot be used: {problem}")
    return json_bytes(dict(answer))


def _put_question(
    folder: Confined, root: Root, state: RunState, question: OpenQuestion, manifest: OperatorManifest
) -> None:
    attempt = state.tasks[question.task_id].last_attempt
    there = asked_attempt(folder)
    if attempt is None or (there is not None and there > attempt.n):
        hint = f"or delete {question.folder / REQUEST}, where attempt {there} is none of the run"
        raise _asked_anew(question, hint)
    prepared = prepared_attempt(state, root.run_folder(state.workspace, state.run_id), attempt)
    with file_errors(question.folder / REQUEST):
        ask(folder, request_of(question_of(prepared), manifest))


# ---- what is shown with a question ----


def _script(root: Root, state: RunState, task: Task, work: Path) -> str:
    config = state.backend_config(state.job_backend_of(task))
    return str(whereabouts(config, root, work / "job.sh"))


def _results(root: Root, state: RunState, task: Task) -> Iterator[EarlierResult]:
    run_folder = root.run_folder(state.workspace, state.run_id)
    for need in islice(task.dependencies(), MOST_RESULTS):
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
