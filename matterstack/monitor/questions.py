"""Open questions of a run, and answers to them."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, Final

from matterstack.core.errors import NotFoundError, RefusedError, StoreError
from matterstack.core.ids import RunId, TaskId
from matterstack.storage.layout import Root
from matterstack.storage.read.runs import require_run
from matterstack.storage.read.tasks import asking_tasks
from matterstack.storage.snapshot import load_run
from matterstack.usecases.questions import OpenQuestion, hand_over, open_question

MOST_QUESTIONS: Final = 50


def questions_view(connection: sqlite3.Connection, root: Root, run_id: RunId) -> dict[str, Any]:
    """What a run asks now, at most `MOST_QUESTIONS` of it, in the order of its tasks.  Blocking.

    Raises:
        NotFoundError: there is no such run.
    """
    require_run(connection, run_id)
    asking = asking_tasks(connection, run_id)
    # To load a run of ten thousand tasks takes its time: not where nothing is asked.
    questions = _open(connection, root, run_id, asking[:MOST_QUESTIONS]) if asking else []
    return {"questions": [_as_json(question) for question in questions], "count": len(asking)}


def answer_question(
    connection: sqlite3.Connection,
    root: Root,
    run_id: RunId,
    task_id: TaskId,
    attempt: int,
    answer: Mapping[str, Any],
) -> None:
    """Hand an answer over; whoever serves the run takes it.  Blocking.

    Raises:
        NotFoundError: no such run or task.
        RefusedError: the task waits for no answer (any more), or has one already.
        UsageError: the answer cannot be used, and why; nothing was written.
        StoreError: it cannot be written.
    """
    state = load_run(connection, run_id)
    if state is None:
        raise NotFoundError(f"no run {run_id}", hint="list them with: matterstack run list")
    question = open_question(root, state, task_id)
    if question.attempt != attempt:
        raise RefusedError(f"task {task_id} was asked anew since: look at the question again")
    try:
        hand_over(question, answer)
    except OSError as error:
        problem = error.strerror or error
        raise StoreError(f"{question.folder}: the answer cannot be written: {problem}") from error


def _open(
    connection: sqlite3.Connection, root: Root, run_id: RunId, task_ids: Sequence[TaskId]
) -> list[OpenQuestion]:
    state = load_run(connection, run_id)
    if state is None:
        return []
    found: list[OpenQuestion] = []
    for task_id in task_ids:
        try:
            found.append(open_question(root, state, task_id))
        except (RefusedError, ValueError, OSError):
            # Answered in this moment, a manifest that is none (its task is about to fail of it), or a folder
            # that cannot be read: of this one there is nothing to show.
            continue
    return found


def _as_json(question: OpenQuestion) -> dict[str, Any]:
    fields = [
        {"name": name, **field.model_dump(mode="json", exclude_none=True)}
        for name, field in question.fields.items()
    ]
    return {**question.as_json(), "text": question.text, "fields": fields}
