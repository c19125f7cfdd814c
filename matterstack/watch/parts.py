"""Parts that several screens have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, tzinfo
from typing import Any, Final

import attrs
from rich.text import Text

from matterstack.core.states import ENDED_TASKS, TaskStatus
from matterstack.explain.words import count
from matterstack.watch.colours import style_of
from matterstack.watch.known import Json, Known, is_open, live_jobs, run_path
from matterstack.watch.tasks import ATTENTION
from matterstack.watch.text import clean, clock, fit, wrapped
from matterstack.watch.view import View

HEAD: Final = "bold"
FAINT: Final = "dim"
PROBLEM: Final = "bold red"
SELECTED: Final = "reverse"
MARK: Final = "▸ "
NARROWEST: Final = 20
STATUS_WIDTH: Final = 9
_BAR: Final = (
    ("█", "green", frozenset({TaskStatus.SUCCEEDED})),
    ("█", "red", frozenset({TaskStatus.FAILED})),
    ("█", "yellow", frozenset({TaskStatus.SKIPPED, TaskStatus.CANCELLED})),
    ("▒", "cyan", frozenset({TaskStatus.ACTIVE})),
    ("░", "dim", frozenset({TaskStatus.READY, TaskStatus.WAITING})),
)


@attrs.frozen(kw_only=True)
class Scene:
    """All that a picture is made of.

    Attributes:
        zone: where the reader is; None: as this machine has it.
    """

    known: Known
    view: View
    width: int
    height: int
    now: datetime
    zone: tzinfo | None = None

    def clock(self, at: str | None) -> str:
        """A time of day, or nothing."""
        return clock(at, self.zone, self.now)


@attrs.frozen(kw_only=True)
class Picture:
    """Rows from top to bottom, each as wide as the terminal, and how far its text can be scrolled.

    Attributes:
        most_above: how far a change that is shown can be.
    """

    rows: Sequence[Text]
    most_scroll: int = 0
    most_above: int = 0


@attrs.frozen(kw_only=True)
class Body:
    """A picture without its last lines: ``head`` stays whole, ``rows`` fill what is left."""

    head: Sequence[Text]
    rows: Sequence[Text]
    most_scroll: int = 0


def table_row(cells: Sequence[Text], width: int, *, is_selected: bool) -> Text:
    """Cells beside each other; the selected row is marked, also without colours."""
    row = Text(MARK if is_selected else " " * len(MARK), end="", no_wrap=True)
    for number, cell in enumerate(cells):
        row.append("" if number == 0 else " ").append_text(cell)
    row.truncate(width, overflow="crop", pad=True)
    if is_selected:
        row.stylize(SELECTED)
    return row


def window(count: int, selected: int, rows: int) -> range:
    """Which of so many entries are shown in so many rows, with the selected one among them."""
    first = max(0, min(selected - rows // 2, count - rows))
    return range(first, min(count, first + max(0, rows)))


def counts_of(tasks: Mapping[Any, int]) -> dict[TaskStatus, int]:
    """Numbers of tasks by status, whatever they are keyed by."""
    return {status: tasks.get(status, 0) for status in TaskStatus}


def done_and_total(counts: Mapping[TaskStatus, int]) -> tuple[int, int]:
    """How many tasks have ended, and how many there are."""
    return sum(counts[status] for status in ENDED_TASKS), sum(counts.values())


def counts_text(counts: Mapping[TaskStatus, int]) -> str:
    """Those that are not zero, in words."""
    return ", ".join(f"{counts[status]:,} {status.lower()}" for status in ATTENTION if counts[status])


def bar(counts: Mapping[TaskStatus, int], width: int) -> Text:
    """What has become of the tasks, as a bar of so many columns."""
    total = sum(counts.values())
    text = Text(end="", no_wrap=True)
    if not total:
        return text.append("·" * width, style=FAINT)
    drawn = seen = 0
    for character, style, statuses in _BAR:
        seen += sum(counts[status] for status in statuses)
        until = width * seen // total
        text.append(character * (until - drawn), style=style)
        drawn = until
    return text


def caps_text(run: Json, jobs: Mapping[str, int]) -> str:
    """What may run at once, and what does."""
    cap = run["caps"]["run"]
    parts = [f"{live_jobs(run):,} of {'any number of' if cap is None else format(cap, ',')} jobs"]
    for name, backend in run["caps"]["backends"].items():
        if is_open(run):
            most = backend["max_jobs"]
            taken = jobs.get(name, 0)
            of = "" if most is None else f" of {most:,}"
            parts.append(f"{name}: {taken:,}{of} seats taken")
    return " · ".join(parts)


def title(workspace: str, run_id: str, status: str) -> Text:
    """Which run, and how it stands."""
    text = Text(clean(workspace), style=HEAD, end="", no_wrap=True)
    text.append(f"  {clean(run_id)}  ", style="not bold")
    return text.append(clean(status), style=style_of(status) or "not bold")


def connection(scene: Scene) -> Text:
    """Whether what is shown is how things stand."""
    stream = scene.known.stream
    if stream.is_live:
        return Text("● live", style="green", end="")
    if not stream.problem:
        return Text("○ connecting…", style=FAINT, end="")
    return Text(f"○ not live since {scene.clock(stream.lost_at)}", style=PROBLEM, end="")


def causes_of(scene: Scene, run_id: str) -> list[Json] | None:
    """Why a run does not go on, the most important first; None when that is not known yet."""
    document = scene.known.documents.get(run_path(run_id, "explain"))
    return None if document is None or "causes" not in document else list(document["causes"])


def why_lines(scene: Scene, causes: Sequence[Json] | None, otherwise: str, most: int) -> list[Text]:
    """The first cause, or something else where there is none, in at most so many lines."""
    message = causes[0]["message"] if causes else otherwise
    if not message:
        return []
    needs_person = bool(causes and causes[0].get("needs_person"))
    more = f" (and {count(len(causes) - 1, 'more cause')}: e)" if causes and len(causes) > 1 else ""
    label = "needs you: " if needs_person else "why: "
    lines = wrapped(f"{label}{clean(message)}{more}", max(NARROWEST, scene.width), "  ")
    shown = [fit(line, scene.width) for line in lines[:most]]
    if len(lines) > most and shown:
        shown[-1] = fit(f"{lines[most - 1]} {lines[most].strip()}", scene.width)
    if shown:
        shown[0].stylize("bold magenta" if needs_person else "yellow", 0, len(label))
    return shown
