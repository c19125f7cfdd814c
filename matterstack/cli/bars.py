"""Progress of runs as bars on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID
from rich.text import Text

from matterstack.cli.followed_runs import all_ended, keep_looking, newly_ended, relevant
from matterstack.cli.harmless_output import bare, coloured
from matterstack.cli.wording import (
    counts_text,
    done_and_total,
    elapsed_s,
    elapsed_text,
    head_lines,
    reason_line,
    said_lines,
    stage_title,
)
from matterstack.core.ids import RunId
from matterstack.core.shown_text import shown, shown_lines
from matterstack.core.states import RunStatus
from matterstack.storage.read.runs import RunSummary
from matterstack.watch.colours import style_of

if TYPE_CHECKING:
    import trio

    from matterstack.storage.read.reader import Reader

PIPE_WIDTH: Final = 200


def heading(summary: RunSummary, *, is_explained: bool = False) -> Text:
    """One line about a run; ``is_explained``: see `reason_line`."""
    text = Text(f"{shown(summary.workspace)}  {summary.run_id}  ")
    text.append(summary.status.value, style=style_of(summary.status))
    text.append(f"  {elapsed_text(elapsed_s(summary))}", style="dim")
    if summary.status is RunStatus.RUNNING and _is_planning(summary):
        text.append("  planning", style="cyan")
    if reason := reason_line(summary, is_explained=is_explained):
        text.append(f"  {shown(reason)}")
    return text


def _is_planning(summary: RunSummary) -> bool:
    return all(done == total for done, total in map(done_and_total, summary.stages))


def print_summary(summary: RunSummary, *, is_explained: bool = False) -> None:
    """Show once how far a run is, as bars; ``is_explained``: see `reason_line`."""
    width = None if sys.stdout.isatty() else PIPE_WIDTH
    console = Console(file=coloured(sys.stdout), highlight=False, width=width)
    console.print(heading(summary, is_explained=is_explained), soft_wrap=True)
    bars = Progress(*_columns(), console=console, disable=True)  # never started: only its table is wanted
    for stage in summary.stages:
        done, total = done_and_total(stage)
        bars.add_task(stage_title(stage), total=total, completed=done, counts=counts_text(stage))
    if summary.stages:
        console.print(bars.get_renderable())
    for line in said_lines(summary):
        console.print(Text(shown(line)), soft_wrap=True)
    for line in head_lines(summary):
        console.print(Text(line, style="dim"), soft_wrap=True)


def _columns() -> tuple[ProgressColumn, ...]:
    return (
        _NameColumn(),
        BarColumn(bar_width=30),
        _DoneColumn(),
        _CountsColumn(),
    )


class _NameColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        # Not rich's own column: that reads what people wrote as markup.
        return Text(f"  {shown(task.description)}", no_wrap=True)


class _CountsColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(shown(str(task.fields["counts"])), style="dim", no_wrap=True)


class _DoneColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{int(task.completed)}/{int(task.total or 0)}")


class _Bars(Progress):
    """Bars of one run under a heading, or one bar for each of several runs."""

    summaries: Sequence[RunSummary] = ()
    rows: int = 1

    def get_renderables(self) -> Iterable[RenderableType]:
        """What is drawn: the newest stages, as many as there are rows."""
        if len(self.summaries) == 1:
            yield heading(self.summaries[0])
        yield self.make_tasks_table([task for task in self.tasks if task.visible][-self.rows :])


async def follow_with_bars(
    reader: Reader,
    run_ids: Sequence[RunId] | None,
    ended_before: set[RunId],
    *,
    transient: bool,
    over: trio.Event | None,
) -> None:
    """Follow runs with bars; see `matterstack.cli.progress.follow_runs`."""
    console = Console(file=bare(sys.stdout), highlight=False)
    with _Bars(*_columns(), console=console, auto_refresh=False, transient=transient) as bars:
        shown: dict[object, TaskID] = {}
        told: set[object] = set()

        async def look() -> bool:
            bars.summaries = await relevant(reader, run_ids, ended_before)
            bars.rows = max(1, console.height - 3)
            for summary in bars.summaries:
                _show(bars, shown, summary)
            for line in () if transient else await newly_ended(reader, bars.summaries, told):
                console.print(Text(shown_lines(line)), soft_wrap=True)
            bars.refresh()
            return all_ended(bars.summaries, run_ids)

        await keep_looking(reader, look, over)


def _show(bars: _Bars, shown: dict[object, TaskID], summary: RunSummary) -> None:
    """Bring the bars of a run up to date: one for each stage if it is alone, else one in all."""
    alone = len(bars.summaries) == 1
    if summary.run_id not in shown:
        shown[summary.run_id] = bars.add_task("", counts="", visible=False)
    for stage in summary.stages:
        done, total = done_and_total(stage)
        key = (summary.run_id, stage.iteration)
        if key not in shown:
            shown[key] = bars.add_task(stage_title(stage), total=total, counts="")
        bars.update(shown[key], completed=done, total=total, counts=counts_text(stage), visible=alone)
    done, total = _overall(summary)
    running = sum(stage.jobs for stage in summary.stages)
    bars.update(
        shown[summary.run_id],
        description=f"{summary.run_id} {summary.workspace} {summary.status}",
        completed=done,
        total=total,
        counts=f"{running} running" if running else summary.status_reason,
        visible=not alone,
    )


def _overall(summary: RunSummary) -> tuple[int, int]:
    pairs = [done_and_total(stage) for stage in summary.stages]
    return sum(done for done, _ in pairs), sum(total for _, total in pairs)
