"""The plain parts of a bundle: ``tasks.csv``, ``workflow.json`` and ``config.json``."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any, Final

from matterstack.core.run.state import AttemptState, TaskState
from matterstack.core.shown_text import shown
from matterstack.evidence.presentation import View, attempt_word, command_line, cores_of
from matterstack.storage.codec import CONVERTER

COLUMNS: Final = (
    "task_id", "iteration", "status", "reason", "operator", "command", "attempt", "backend", "job_id",
    "state", "raw_state", "exit_code", "host", "outcome", "prepared_at", "submitted_at", "started_at",
    "ended_at", "waiting_s", "running_s", "cores", "gpus", "manifest_sha256",
)  # fmt: skip


def tasks_csv(view: View) -> bytes:
    """One row per attempt, and one for each task without any; RFC 4180, in UTF-8."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for task in view.history.state.tasks.values():
        writer.writerows(_rows(view, task))
    return text.getvalue().encode()


def _rows(view: View, task: TaskState) -> Iterator[list[object]]:
    head = [
        task.task.id,
        task.iteration,
        task.status.value,
        _cell(task.reason),
        task.task.operator,
        _cell(command_line(task)),
    ]
    for attempt in task.attempts:
        yield [*head, *_attempt_cells(view, attempt)]
    if not task.attempts:
        yield [*head, *[""] * (len(COLUMNS) - len(head))]


def _attempt_cells(view: View, attempt: AttemptState) -> Iterator[object]:
    yield attempt.n
    yield attempt.backend
    yield attempt.job_id
    yield attempt_word(attempt)
    yield _cell(attempt.raw_state)
    yield attempt.exit_code
    yield _cell(attempt.host or "")
    yield _cell(view.outcome(attempt))
    yield attempt.prepared_at
    yield attempt.submitted_at
    yield attempt.started_at
    yield attempt.ended_at
    for seconds in (view.waiting_s(attempt), view.running_s(attempt)):
        yield "" if seconds is None else f"{seconds:.3f}"
    yield cores_of(attempt)
    yield attempt.resources.gpus
    yield attempt.manifest_sha256


def _cell(text: str) -> str:
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
    return json.dumps(CONVERTER.unstructure(task.task))


def config_json(view: View) -> bytes:
    """The configuration that the run was made with."""
    return pretty_json(view.history.state.config)


def pretty_json(value: Any) -> bytes:  # noqa: ANN401  any JSON
    """JSON for people; in ASCII, since texts of jobs may be no valid Unicode."""
    return json.dumps(value, indent=2).encode() + b"\n"
