"""The whole picture: what the screen shows, and below it what the keys do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.cells import cell_len
from rich.text import Text

from matterstack.watch.known import Known
from matterstack.watch.parts import PROBLEM, Picture, Scene
from matterstack.watch.run_screen import run_body
from matterstack.watch.runs_screen import runs_body
from matterstack.watch.text import clean, fit, wrapped
from matterstack.watch.text_screens import explain_body, log_body, task_body
from matterstack.watch.view import Screen, SentCommand, View

_BODIES: Final = {
    Screen.RUNS: runs_body,
    Screen.RUN: run_body,
    Screen.TASK: task_body,
    Screen.LOG: log_body,
    Screen.EXPLAIN: explain_body,
}
_ORDERS: Final = (("p", "pause"), ("r", "resume"), ("c", "cancel"))
_KEYS: Final[dict[Screen, Sequence[tuple[str, str]]]] = {
    Screen.RUNS: (("↑↓", "select"), ("enter", "open"), *_ORDERS, ("e", "explain"), ("q", "quit")),
    Screen.RUN: (
        ("↑↓", "select"), ("enter", "open"), ("l", "log"), ("tab", "which tasks"), *_ORDERS,
        ("e", "explain"), ("esc", "all runs"), ("q", "quit"),
    ),
    Screen.TASK: (
        ("↑↓", "scroll"), ("l", "log alone"), ("s", "stdout or stderr"), ("e", "explain"), ("esc", "back"),
        ("q", "quit"),
    ),
    Screen.LOG: (("↑↓", "scroll"), ("s", "stdout or stderr"), ("esc", "back"), ("q", "quit")),
    Screen.EXPLAIN: (("↑↓", "scroll"), *_ORDERS, ("esc", "back"), ("q", "quit")),
}  # fmt: skip
_QUESTIONS: Final = {
    "pause": "Pause {run}? No new job is submitted; jobs that run are followed to their end.",
    "resume": "Resume {run}? Jobs are submitted again.",
    "cancel": "Cancel {run} for ever? All its jobs are ended, and then the run. This cannot be undone.",
}


def draw(scene: Scene) -> Picture:
    """The picture of a moment: as many rows as the terminal has, and each as wide."""
    foot = _foot(scene)[-scene.height :]
    room = scene.height - len(foot)
    body = _BODIES[scene.view.screen](scene, room)
    rows = [*body.head, *body.rows][:room]
    rows += [fit("", scene.width)] * (room - len(rows))
    return Picture(rows=[*rows, *foot], most_scroll=body.most_scroll)


def page_rows(height: int) -> int:
    """How many rows the keys for a page go."""
    return max(1, height // 2)


def _foot(scene: Scene) -> list[Text]:
    view, width = scene.view, max(1, scene.width)
    if view.asked is not None:
        question = _QUESTIONS[view.asked.command].format(run=_name(scene.known, view.asked))
        lines = wrapped(f"{question}  y: yes, any other key: no", width)
        return [fit(line, width, "bold reverse") for line in lines]
    notices = [view.notice] if view.notice else []
    if not scene.known.stream.is_live and scene.known.stream.problem:
        notices.append(f"not live: {scene.known.stream.problem}; trying again")
    told = [fit(line, width, PROBLEM) for notice in notices for line in wrapped(notice, width)[:2]]
    return [*told, *_keys(view, width)]


def _name(known: Known, command: SentCommand) -> str:
    run = known.runs.get(command.run_id)
    return clean(f"{run['workspace']} {command.run_id}" if run is not None else command.run_id)


def _keys(view: View, width: int) -> list[Text]:
    """What the keys do, in as many lines as it takes."""
    lines: list[Text] = [Text(end="", no_wrap=True)]
    for key, does in _KEYS[view.screen]:
        if lines[-1].cell_len + cell_len(f"{key} {does}") > width and lines[-1].cell_len:
            lines.append(Text(end="", no_wrap=True))
        lines[-1].append(key, style="bold").append(f" {does}", style="dim").append("  ")
    for line in lines:
        line.truncate(width, overflow="crop", pad=True)
    return lines
