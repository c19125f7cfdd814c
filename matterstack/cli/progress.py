"""Progress of runs: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import json
import sys
from collections.abc import Container, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import asyncclick as click
import attrs
import trio
from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

from matterstack.cli.waiting import changes
from matterstack.colours import style_of
from matterstack.core.ids import RunId, utc_moment
from matterstack.core.states import ENDED_RUNS, ENDED_TASKS, RunStatus, TaskStatus
from matterstack.storage.leases import is_held
from matterstack.storage.queries import RunSummary, Stage, run_summaries, runs_with_jobs
from matterstack.storage.reader import Reader

PLAIN_INTERVAL_S: Final = 1.0
MOST_NAME_LENGTH: Final = 40
MOST_STATE_LINES: Final = 24


def done_and_total(stage: Stage) -> tuple[int, int]:
    """How many tasks of a stage have ended, and how many there are."""
    return sum(n for s, n in stage.tasks.items() if s in ENDED_TASKS), sum(stage.tasks.values())


def stage_title(stage: Stage) -> str:
    """Label of a stage."""
    title = f"{stage.iteration} {stage.name}" if stage.name else f"iteration {stage.iteration}"
    return title if len(title) <= MOST_NAME_LENGTH else title[: MOST_NAME_LENGTH - 1] + "…"


def counts_text(stage: Stage) -> str:
    """Counts that are not zero, in words."""
    get = stage.tasks.get
    parts = (
        (stage.jobs, "running"),
        (get(TaskStatus.ACTIVE, 0) - stage.jobs, "finishing"),
        (get(TaskStatus.READY, 0) + get(TaskStatus.WAITING, 0), "waiting"),
        (get(TaskStatus.FAILED, 0), "failed"),
        (get(TaskStatus.SKIPPED, 0), "skipped"),
        (get(TaskStatus.CANCELLED, 0), "cancelled"),
    )
    return ", ".join(f"{count} {word}" for count, word in parts if count)


def elapsed_text(seconds: float) -> str:
    """Hours, minutes and seconds.

    >>> elapsed_text(3725)
    '1:02:05'
    """
    whole = max(0, int(seconds))
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def elapsed_s(summary: RunSummary) -> float:
    """From the run's creation to its end, or to now."""
    end = utc_moment(summary.updated_at) if summary.status in ENDED_RUNS else datetime.now(UTC)
    return (end - utc_moment(summary.created_at)).total_seconds()


def heading(summary: RunSummary) -> Text:
    """One line about a run."""
    text = Text(f"{summary.workspace}  {summary.run_id}  ")
    text.append(summary.status.value, style=style_of(summary.status))
    text.append(f"  {elapsed_text(elapsed_s(summary))}", style="dim")
    if summary.status is RunStatus.RUNNING and _is_planning(summary):
        text.append("  planning", style="cyan")
    if summary.status_reason:
        text.append(f"  {summary.status_reason}")
    return text


def _is_planning(summary: RunSummary) -> bool:
    return all(done == total for done, total in map(done_and_total, summary.stages))


def print_summary(summary: RunSummary) -> None:
    """Show a run once."""
    console = Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=200)
    console.print(heading(summary), soft_wrap=True)
    bars = Progress(*_columns(), console=console, disable=True)  # never started: only its table is wanted
    for stage in summary.stages:
        done, total = done_and_total(stage)
        bars.add_task(stage_title(stage), total=total, completed=done, counts=counts_text(stage))
    if summary.stages:
        console.print(bars.get_renderable())


def print_state(state: Mapping[str, Any]) -> None:
    """Show what the campaign found out (what its last ``analyze`` returned), where that is short."""
    text = json.dumps(state, indent=2, ensure_ascii=False)
    if state and text.count("\n") < MOST_STATE_LINES:
        click.echo(f"What the campaign found: {text}")


def _columns() -> tuple[ProgressColumn, ...]:
    return (
        TextColumn("  {task.description}", table_column=None),
        BarColumn(bar_width=30),
        _DoneColumn(),
        TextColumn("[dim]{task.fields[counts]}"),
    )


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


async def follow_runs(reader: Reader, run_ids: Sequence[RunId] | None, *, transient: bool = False) -> None:
    """Show progress until all these runs have ended; with None, of all runs, until cancelled.

    Args:
        transient: bars are wiped off at the end, since the caller prints a summary.
    """
    if sys.stdout.isatty():
        await _follow_with_bars(reader, run_ids, transient=transient)
    else:
        await _follow_with_lines(reader, run_ids)


async def _follow_with_bars(reader: Reader, run_ids: Sequence[RunId] | None, *, transient: bool) -> None:
    console = Console(highlight=False)
    with _Bars(*_columns(), console=console, auto_refresh=False, transient=transient) as bars:
        shown: dict[object, TaskID] = {}
        async for _ in changes(reader, at_least_every_s=1.0):
            bars.summaries = await _relevant(reader, run_ids, shown)
            bars.rows = max(1, console.height - 3)
            for summary in bars.summaries:
                _show(bars, shown, summary)
            bars.refresh()
            if _all_ended(bars.summaries, run_ids):
                return


async def _relevant(
    reader: Reader, run_ids: Sequence[RunId] | None, shown: Container[object]
) -> list[RunSummary]:
    summaries = await reader.read(run_summaries, run_ids)
    if run_ids is None:
        summaries = [s for s in summaries if s.status not in ENDED_RUNS or s.run_id in shown]
    if not any(map(_waits_for_a_seat, summaries)):
        return summaries
    unserved = [run for run in await reader.read(runs_with_jobs) if not is_held(reader.root, run)]
    if not unserved:
        return summaries
    note = (
        "waits for seats that are taken by jobs of runs that no engine serves; "
        f"serve them with: matterstack run loop {' '.join(unserved)}"
    )
    return [attrs.evolve(s, status_reason=note) if _waits_for_a_seat(s) else s for s in summaries]


def _waits_for_a_seat(summary: RunSummary) -> bool:
    waits = summary.count(TaskStatus.READY) > 0 and summary.count(TaskStatus.ACTIVE) == 0
    return waits and summary.status is RunStatus.RUNNING and not summary.status_reason


def _all_ended(summaries: Sequence[RunSummary], run_ids: Sequence[RunId] | None) -> bool:
    return run_ids is not None and all(s.status in ENDED_RUNS for s in summaries)


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


async def _follow_with_lines(reader: Reader, run_ids: Sequence[RunId] | None) -> None:
    shown: dict[object, TaskID] = {}
    last: dict[RunId, tuple[object, ...]] = {}
    said_at: dict[RunId, float] = {}
    async for _ in changes(reader, at_least_every_s=PLAIN_INTERVAL_S):
        summaries = await _relevant(reader, run_ids, shown)
        now = trio.current_time()
        for summary in summaries:
            shown[summary.run_id] = TaskID(0)
            key = (summary.status, summary.status_reason, summary.stages)
            news = last.get(summary.run_id, (None,))
            soon = now - said_at.get(summary.run_id, -PLAIN_INTERVAL_S) < PLAIN_INTERVAL_S
            if key == news or (soon and summary.status == news[0]):
                continue
            last[summary.run_id], said_at[summary.run_id] = key, now
            click.echo(plain_line(summary))
        if _all_ended(summaries, run_ids):
            return


def plain_line(summary: RunSummary) -> str:
    """A run in one line of text."""
    parts = [f"{datetime.now(UTC):%H:%M:%S} {summary.run_id} {summary.status}"]
    if summary.stages:
        stage = summary.stages[-1]
        done, total = done_and_total(stage)
        counts = counts_text(stage)
        parts.append(f"{stage_title(stage)}: {done}/{total} done" + (f", {counts}" if counts else ""))
    if summary.status_reason:
        parts.append(summary.status_reason)
    return "  ".join(parts)
