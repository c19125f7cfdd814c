"""The plain parts of a bundle: ``tasks.csv``, ``workflow.json`` and ``config.json``."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Final

from matterstack.core.model.workflow import Task
from matterstack.core.run.state import AttemptState, TaskState
from matterstack.core.shown_text import shown
from matterstack.evidence.lineage import definition_text
from matterstack.evidence.presentation import View, attempt_word, command_line, cores_of, pretty_json

COLUMNS: Final = (
    "task_id", "iteration", "status", "reason", "operator", "command", "attempt", "backend", "job_id",
    "state", "raw_state", "exit_code", "host", "outcome", "prepared_at", "submitted_at", "started_at",
    "ended_at", "waiting_s", "running_s", "cores", "gpus", "manifest_sha256",
)  # fmt: skip
VERSION_COLUMNS: Final = ("definition", "definition_sha256", "config", "campaign")
"""Numbers of the versions that an attempt was made under, and the hash of its definition."""


def tasks_csv(view: View) -> bytes:
    """One row per attempt, and one for each task without any; RFC 4180, in UTF-8."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    columns = (*COLUMNS, *VERSION_COLUMNS) if view.survey.tells_versions else COLUMNS
    writer.writerow(columns)
    for task in view.history.state.tasks.values():
        writer.writerows(_rows(view, task, len(columns)))
    return text.getvalue().encode()


def _rows(view: View, task: TaskState, width: int) -> Iterator[list[object]]:
    for attempt in task.attempts:
        made_with = view.made_with(attempt)
        yield [*_task_cells(task, made_with), *_attempt_cells(view, attempt), *_version_cells(view, attempt)]
    if not task.attempts:
        head = _task_cells(task, task.task)
        yield [*head, *[""] * (width - len(head))]


def _task_cells(task: TaskState, definition: Task) -> list[object]:
    return [
        task.task.id,
        task.iteration,
        task.status.value,
        cell(task.reason),
        definition.operator,
        cell(command_line(definition)),
    ]


def _version_cells(view: View, attempt: AttemptState) -> Iterator[object]:
    if view.survey.tells_versions:
        lineage = view.history.lineage
        definition = lineage.definition_of(view.history.state, attempt)
        yield definition.number
        yield view.definition_sha256(attempt.task_id, definition)
        yield lineage.config_of(attempt)
        yield definition.campaign


def _attempt_cells(view: View, attempt: AttemptState) -> Iterator[object]:
    yield attempt.n
    yield attempt.backend
    yield attempt.job_id
    yield attempt_word(attempt)
    yield cell(attempt.raw_state)
    yield attempt.exit_code
    yield cell(attempt.host or "")
    yield cell(view.outcome(attempt))
    yield attempt.prepared_at
    yield attempt.submitted_at
    yield attempt.started_at
    yield attempt.ended_at
    for seconds in (view.waiting_s(attempt), view.running_s(attempt)):
        yield "" if seconds is None else f"{seconds:.3f}"
    yield cores_of(attempt)
    yield attempt.resources.gpus
    yield attempt.manifest_sha256


def cell(text: str) -> str:
    """Text that a spreadsheet does not take for a formula."""
    text = shown(text)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def workflow_json(view: View) -> bytes:
    """What the campaign planned, iteration by iteration: the workflow as it was carried out."""
    tasks: dict[int, list[TaskState]] = {}
    for task in view.history.state.tasks.values():
        tasks.setdefault(task.iteration, []).append(task)
    parts = []
    for iteration in view.history.iterations:
        head = {
            "number": iteration.number,
            "name": iteration.name,
            "planned_at": iteration.planned_at,
            "analyzed_at": iteration.analyzed_at,
        }
        lines = ",\n".join(f"   {_line(task)}" for task in tasks.get(iteration.number, ()))
        parts.append(f' {json.dumps(head)[:-1]}, "tasks": [\n{lines}\n  ]}}')
    head = {"run_id": view.history.run_id, "workspace": view.history.state.workspace}
    return f'{json.dumps(head)[:-1]}, "iterations": [\n{",".join(parts)}\n]}}\n'.encode()


def _line(task: TaskState) -> str:
    return definition_text(task.task)


def config_json(view: View) -> bytes:
    """The configuration that the run was made with."""
    return pretty_json(view.history.state.config)
