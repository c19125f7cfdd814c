"""The whole picture: what the screen shows, and below it what the keys do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.cells import cell_len
from rich.text import Text

from matterstack.watch.known import Known
from matterstack.watch.parts import FAINT, PROBLEM, Picture, Scene
from matterstack.watch.run_screen import run_body
from matterstack.watch.runs_screen import runs_body
from matterstack.watch.text import clean, fit, wrapped
from matterstack.watch.text_screens import explain_body, log_body, task_body
from matterstack.watch.typed_change import TypedChange
from matterstack.watch.view import Screen, SentCommand, View

_BODIES: Final = {
    Screen.RUNS: runs_body,
    Screen.RUN: run_body,
    Screen.TASK: task_body,
    Screen.LOG: log_body,
    Screen.EXPLAIN: explain_body,
}
_ORDERS: Final = (("p", "pause"), ("r", "resume"), ("c", "cancel"))
_CHANGES: Final = (("a", "amend"), ("t", "try again"))
_OF_TASK: Final = (*_CHANGES, ("x", "cancel task"))
_HOW_TO_TYPE: Final = (
    "tasks or patterns, --failed, --waiting, --kind timeout, --exit-code 3, --reason TEXT; what changes: "
    "resources.walltime_s=7200, env.A=x. enter: show it, nothing is changed yet; esc: leave it"
)
_KEYS: Final[dict[Screen, Sequence[tuple[str, str]]]] = {
    Screen.RUNS: (("↑↓", "select"), ("enter", "open"), *_ORDERS, *_CHANGES, ("e", "explain"), ("q", "quit")),
    Screen.RUN: (
        ("↑↓", "select"), ("enter", "open"), ("l", "log"), ("tab", "which tasks"), *_ORDERS,
        *_OF_TASK, ("e", "explain"), ("esc", "all runs"), ("q", "quit"),
    ),
    Screen.TASK: (
        ("↑↓", "scroll"), ("l", "log alone"), ("s", "stdout or stderr"), *_OF_TASK, ("e", "explain"),
        ("esc", "back"), ("q", "quit"),
    ),
    Screen.LOG: (("↑↓", "scroll"), ("s", "stdout or stderr"), *_CHANGES, ("esc", "back"), ("q", "quit")),
    Screen.EXPLAIN: (("↑↓", "scroll"), *_ORDERS, *_CHANGES, ("esc", "back"), ("q", "quit")),
}  # fmt: skip
_QUESTIONS: Final = {
    "pause": "Pause {run}? No new job is submitted; jobs that run are followed to their end.",
    "resume": "Resume {run}?{why} Jobs are submitted again.",
    "cancel": "Cancel {run} for ever? All its jobs are ended, and then the run. This cannot be undone.",
}


_YES_OR_NO: Final = "y: yes, any other key: no"


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
        run = scene.known.runs.get(view.asked.run_id, {})
        why = clean(str(run.get("status_reason") or "")) if view.asked.command == "resume" else ""
        question = _QUESTIONS[view.asked.command].format(
            run=_name(scene.known, view.asked), why=f" It is paused: {why}." if why else ""
        )
        lines = wrapped(f"{question}  {_YES_OR_NO}", width)
        return [fit(line, width, "bold reverse") for line in lines]
    if view.shown is not None:
        *told, question = view.shown.lines
        rows = [line for one in told for line in wrapped(one, width)]
        asked = fit(f"{question}  {_YES_OR_NO}", width, "bold reverse")
        # What is asked must stand there, however much would change.
        return [*(fit(line, width, "bold") for line in rows[: max(0, scene.height - 2)]), asked]
    if view.line is not None:
        return [*_told(scene, width), *_line(view.line, width)]
    return [*_told(scene, width), *_keys(view, width)]


def _told(scene: Scene, width: int) -> list[Text]:
    notices = [scene.view.notice] if scene.view.notice else []
    if not scene.known.stream.is_live and scene.known.stream.problem:
        notices.append(f"not live: {scene.known.stream.problem}; trying again")
    return [fit(line, width, PROBLEM) for notice in notices for line in wrapped(notice, width)[:2]]


def _line(line: TypedChange, width: int) -> list[Text]:
    """What is typed, of which the end is always there, and what may be."""
    text = clean(f"{line.command}: {line.text}") + "▏"
    while cell_len(text) > width:
        text = text[1:]
    return [fit(text, width, "bold"), *(fit(row, width, FAINT) for row in wrapped(_HOW_TO_TYPE, width)[:3])]


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
