"""What a run has found: the campaign's own pictures, its texts for people, and its data."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Final

import attrs

from matterstack.core.run.state import TaskState
from matterstack.core.shown_text import shown
from matterstack.core.states import TaskStatus
from matterstack.evidence.presentation import View
from matterstack.evidence.report.text import json_text, lines_text

MOST_FIGURE_BYTES: Final = 2 << 20
MOST_FIGURES: Final = 24
MOST_TEXT_BYTES: Final = 20_000
MOST_TEXTS: Final = 6
MOST_DATA: Final = 24
_PICTURE_TYPES: Final = {
    "svg": "image/svg+xml",
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
}


@attrs.frozen(kw_only=True)
class Picture:
    """A picture, in the bundle and as the page holds it."""

    title: str
    place: str
    source: str


def figures(view: View) -> Iterator[Picture]:
    """The campaign's own pictures, the newest tasks' first."""
    figures = view.figures(MOST_FIGURE_BYTES)
    figures.sort(key=lambda output: -view.history.state.tasks[output.task_id].position)
    for output in figures[:MOST_FIGURES]:
        if output.place is not None:
            kind = _PICTURE_TYPES[output.path.rpartition(".")[2].lower()]
            yield Picture(
                title=shown(f"{output.path} of {output.task_id}"),
                place=output.place,
                source=data_uri(kind, view.content(output.place)),
            )


def data_uri(kind: str, content: bytes) -> str:
    # In an <img> nothing of a picture is carried out, whatever it holds.
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _last_tasks(view: View) -> list[TaskState]:
    """Tasks of the last iteration that succeeded."""
    state = view.history.state
    return [
        task
        for task in state.tasks.values()
        if task.iteration == state.iteration and task.status is TaskStatus.SUCCEEDED
    ]


def texts(view: View) -> Iterator[tuple[str, str, bool]]:
    """Texts for people that the last tasks wrote, and whether they are Markdown."""
    left = MOST_TEXTS
    for task in _last_tasks(view):
        for output in view.outputs.get((task.task.id, len(task.attempts)), ()):
            is_text = output.path.lower().endswith((".md", ".txt")) and output.bytes <= MOST_TEXT_BYTES
            if is_text and output.place is not None and left:
                left -= 1
                title = shown(f"{output.path} of {task.task.id}")
                yield title, lines_text(view.content(output.place)), output.path.lower().endswith(".md")


def data(view: View) -> Iterator[tuple[str, str]]:
    """What the last tasks handed to the campaign."""
    with_data = [task for task in _last_tasks(view) if task.data is not None]
    if len(with_data) <= MOST_DATA:
        for task in with_data:
            text = json_text(task.data)
            if len(text) <= MOST_TEXT_BYTES:
                yield task.task.id, text
