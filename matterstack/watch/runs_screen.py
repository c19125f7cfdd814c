"""All runs at a glance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs
from rich.text import Text

from matterstack.core.states import RunStatus
from matterstack.explain.words import count
from matterstack.watch.colours import style_of
from matterstack.watch.known import Json, is_ending, is_open, live_jobs, run_path, why_not
from matterstack.watch.parts import (
    FAINT,
    HEAD,
    STATUS_WIDTH,
    Body,
    Scene,
    bar,
    caps_text,
    causes_of,
    connection,
    counts_of,
    counts_text,
    done_and_total,
    table_row,
    why_lines,
    window,
)
from matterstack.watch.text import fit, rule, split
from matterstack.watch.view import selected_run

RUN_ID_WIDTH: Final = 22
DONE_WIDTH: Final = 11
JOBS_WIDTH: Final = 5
LEAST_WHY: Final = 16
WIDE: Final = 110
SHORT: Final = 16
"""Fewer rows than these are kept for the runs."""


@attrs.frozen
class _Widths:
    name: int
    bar: int
    why: int

    @classmethod
    def of(cls, width: int, longest_name: int) -> _Widths:
        """Columns for what may be long, of a terminal that is so wide."""
        rest = width - 2 - RUN_ID_WIDTH - STATUS_WIDTH - DONE_WIDTH - JOBS_WIDTH - 5
        bar = 10 if width < WIDE else 24
        name = max(len("WORKSPACE"), min(longest_name, 14 if width < WIDE else 28, rest - bar - 1))
        why = rest - name - 1 - bar - 1
        return cls(name, max(0, min(bar, rest - name - 1)), why if why >= LEAST_WHY else 0)


def runs_body(scene: Scene, rows: int) -> Body:
    """Runs, how far they are, what they may have, and why the selected one does not go on."""
    known = scene.known
    ids = known.newest_first
    head = [_title(scene), _seats(scene)]
    if not ids:
        empty = "no runs yet; start one with: matterstack run start WORKSPACE"
        return Body(head=head, rows=[fit("", scene.width), fit(empty, scene.width)])
    chosen = selected_run(scene.view, known) or ids[0]
    below = _details(scene, known.runs[chosen]) if rows >= SHORT else []
    widths = _Widths.of(scene.width, max(len(run["workspace"]) for run in known.runs.values()))
    head.append(_heading(widths, scene.width))
    room = max(1, rows - len(head) - len(below))
    listed = [
        _row(scene, known.runs[ids[index]], widths, is_selected=ids[index] == chosen)
        for index in window(len(ids), ids.index(chosen), room)
    ]
    listed += [fit("", scene.width)] * (room - len(listed))
    return Body(head=head, rows=[*listed, *below])


def _title(scene: Scene) -> Text:
    runs = scene.known.runs.values()
    text = Text("MatterStack", style=HEAD, end="")
    text.append(f"  {count(len(runs), 'run')}", style="not bold")
    for status in RunStatus:
        number = sum(run["status"] == status for run in runs)
        if number:
            text.append("  ").append(f"{number:,} {status}", style=style_of(status) or "not bold")
    return split(text, connection(scene), scene.width)


def _seats(scene: Scene) -> Text:
    """Of the backends that runs use which have not ended."""
    most: dict[str, int | None] = {}
    for run_id in scene.known.newest_first:
        run = scene.known.runs[run_id]
        if is_open(run):
            for name, backend in run["caps"]["backends"].items():
                most.setdefault(name, backend["max_jobs"])
    parts = []
    for name, cap in sorted(most.items()):
        taken = scene.known.jobs.get(name, 0)
        parts.append(f"{name} {taken:,}" + ("" if cap is None else f" of {cap:,}"))
    return fit("seats taken: " + " · ".join(parts) if parts else "", scene.width, FAINT)


def _heading(widths: _Widths, width: int) -> Text:
    cells = [
        fit("WORKSPACE", widths.name),
        fit("RUN", RUN_ID_WIDTH),
        fit("STATUS", STATUS_WIDTH),
        fit("PROGRESS", widths.bar),
        fit("DONE", DONE_WIDTH, align="right"),
        fit("JOBS", JOBS_WIDTH, align="right"),
        fit("WHY NOT" if widths.why else "", widths.why),
    ]
    row = table_row(cells, width, is_selected=False)
    row.stylize(FAINT)
    return row


def _row(scene: Scene, run: Json, widths: _Widths, *, is_selected: bool) -> Text:
    counts = counts_of(run["tasks"])
    done, total = done_and_total(counts)
    jobs = live_jobs(run)
    cells: Sequence[Text] = [
        fit(run["workspace"], widths.name),
        fit(run["run_id"], RUN_ID_WIDTH),
        fit(run["status"], STATUS_WIDTH, style_of(run["status"])),
        bar(counts, widths.bar),
        fit(f"{done}/{total}", DONE_WIDTH, align="right"),
        fit(f"{jobs}" if jobs else "", JOBS_WIDTH, align="right"),
        fit(why_not(run, scene.known.jobs), widths.why),
    ]
    return table_row(cells, scene.width, is_selected=is_selected)


def _details(scene: Scene, run: Json) -> list[Text]:
    """The selected run, in five rows."""
    run_id, width = run["run_id"], scene.width
    counts = counts_of(run["tasks"])
    made = f"made {scene.clock(run['created_at'])}, " if width >= WIDE else ""
    changed = f"{made}changed {scene.clock(run['updated_at'])}"
    rows = [
        rule("", width, FAINT),
        split(Text(counts_text(counts) or "nothing is planned yet", end=""), Text(changed, end=""), width),
        fit(caps_text(run, scene.known.jobs), width, FAINT),
    ]
    if is_open(run) or run["status_reason"]:
        known = scene.known.documents.get(run_path(run_id, "explain"))
        otherwise = why_not(run, scene.known.jobs) or ("" if known is not None else "…")
        rows += why_lines(scene, [] if is_ending(run) else causes_of(scene, run_id), otherwise, 2)
    return [*rows, *([fit("", width)] * (5 - len(rows)))]
