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
from matterstack.watch.shown_change import ShownChange
from matterstack.watch.text import clean, fit, rule, wrapped
from matterstack.watch.text_screens import explain_body, log_body, task_body
from matterstack.watch.typed_change import TypedChange
from matterstack.watch.view import Screen, SentCommand, is_offered

_BODIES: Final = {
    Screen.RUNS: runs_body,
    Screen.RUN: run_body,
    Screen.TASK: task_body,
    Screen.LOG: log_body,
    Screen.EXPLAIN: explain_body,
}
_ORDERS: Final = (("p", "pause"), ("r", "resume"), ("c", "cancel"))
_CHANGES: Final = (("a", "amend"), ("t", "try again"), ("f", "config"), ("n", "replan"))
_OF_TASK: Final = (*_CHANGES, ("x", "cancel task"))
_OF_TASKS: Final = (
    "tasks or patterns, --failed, --waiting, --kind timeout, --exit-code 3, --reason TEXT; what changes: "
    "resources.walltime_s=7200, env.A=x"
)
_HOW_TO_TYPE: Final = {
    "amend": _OF_TASKS,
    "retry": _OF_TASKS,
    "amend_config": "what changes: priority=3, backends.NAME.max_jobs=50; from-workspace: the config files "
    "as they are now; --resubmit: jobs that wait, too; --why TEXT",
    "replan": "nothing, or: redo-changed (also what succeeded), cancel-gone (end jobs of what is gone), "
    "yes-plan (over what was amended), --why TEXT",
}
_THEN: Final = "enter: show it, nothing is changed yet; esc: leave it"
_CALLED: Final = {"amend_config": "config"}
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
    foot, most_above = _foot(scene)
    foot = foot[-scene.height :]
    room = scene.height - len(foot)
    body = _BODIES[scene.view.screen](scene, room)
    rows = [*body.head, *body.rows][:room]
    rows += [fit("", scene.width)] * (room - len(rows))
    return Picture(rows=[*rows, *foot], most_scroll=body.most_scroll, most_above=most_above)


def page_rows(height: int) -> int:
    """How many rows the keys for a page go."""
    return max(1, height // 2)


def _foot(scene: Scene) -> tuple[list[Text], int]:
    """The last lines, and how far what is shown in them can be scrolled."""
    view, width = scene.view, max(1, scene.width)
    if view.asked is not None:
        run = scene.known.runs.get(view.asked.run_id, {})
        why = clean(str(run.get("status_reason") or "")) if view.asked.command == "resume" else ""
        question = _QUESTIONS[view.asked.command].format(
            run=_name(scene.known, view.asked), why=f" It is paused: {why}." if why else ""
        )
        lines = wrapped(f"{question}  {_YES_OR_NO}", width)
        return [fit(line, width, "bold reverse") for line in lines], 0
    if view.shown is not None:
        return _shown(view.shown, view.above, width, scene.height)
    if view.line is not None:
        return [*_told(scene, width), *_line(view.line, width)], 0
    return [*_told(scene, width), *_keys(scene, width)], 0


def _shown(change: ShownChange, above: int, width: int, height: int) -> tuple[list[Text], int]:
    """What would change, over the question: that stands there however much it is, and how much is not."""
    *told, question = change.lines
    rows = [line for one in told for line in wrapped(one, width, " " * min(_indent(one) + 4, width // 4))]
    asked = wrapped(f"{question}  {_YES_OR_NO}", width)
    if len(rows) + len(asked) < height:
        return [*_bold(rows, width), *_bold(asked, width, "bold reverse")], 0
    asked = wrapped(f"{question}  ↑↓: read on, {_YES_OR_NO}", width)
    room = max(0, height - len(asked) - 2)
    most = len(rows) - room
    first = min(above, most)
    rest = rule(f"lines {first + 1:,}-{first + room:,} of {len(rows):,}; ↑↓: the others", width, PROBLEM)
    shown = _bold(rows[first : first + room], width)
    return [*shown, rest, *_bold(asked, width, "bold reverse")], most


def _bold(lines: Sequence[str], width: int, style: str = "bold") -> list[Text]:
    return [fit(line, width, style) for line in lines]


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _told(scene: Scene, width: int) -> list[Text]:
    notices = [scene.view.notice] if scene.view.notice else []
    if not scene.known.stream.is_live and scene.known.stream.problem:
        notices.append(f"not live: {scene.known.stream.problem}; trying again")
    return [fit(line, width, PROBLEM) for notice in notices for line in wrapped(notice, width)[:2]]


def _line(line: TypedChange, width: int) -> list[Text]:
    """What is typed, of which the end is always there, and what may be."""
    text = clean(f"{_CALLED.get(line.command, line.command)}: {line.text}") + "▏"
    while cell_len(text) > width:
        text = text[1:]
    help_ = wrapped(f"{_HOW_TO_TYPE[line.command]}. {_THEN}", width)
    return [fit(text, width, "bold"), *(fit(row, width, FAINT) for row in help_[:3])]


def _name(known: Known, command: SentCommand) -> str:
    run = known.runs.get(command.run_id)
    return clean(f"{run['workspace']} {command.run_id}" if run is not None else command.run_id)


def _keys(scene: Scene, width: int) -> list[Text]:
    """What the keys do, in as many lines as it takes; none that the run cannot be told."""
    lines: list[Text] = [Text(end="", no_wrap=True)]
    for key, does in _KEYS[scene.view.screen]:
        if not is_offered(scene.view, scene.known, key):
            continue
        if lines[-1].cell_len + cell_len(f"{key} {does}") > width and lines[-1].cell_len:
            lines.append(Text(end="", no_wrap=True))
        lines[-1].append(key, style="bold").append(f" {does}", style="dim").append("  ")
    for line in lines:
        line.truncate(width, overflow="crop", pad=True)
    return lines
