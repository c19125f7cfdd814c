"""Runs and their stages in words."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from matterstack.core.ids import utc_moment
from matterstack.core.states import ENDED_RUNS, ENDED_TASKS, TaskStatus
from matterstack.storage.read.runs import RunSummary, Stage

MOST_NAME_LENGTH: Final = 40


def done_and_total(stage: Stage) -> tuple[int, int]:
    """How many tasks of a stage have ended, and how many there are."""
    return sum(n for s, n in stage.tasks.items() if s in ENDED_TASKS), sum(stage.tasks.values())


def stage_title(stage: Stage) -> str:
    """Label of a stage, for a bar."""
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
    """Seconds as hours, minutes and seconds.

    >>> elapsed_text(3725)
    '1:02:05'
    """
    whole = max(0, int(seconds))
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def elapsed_s(summary: RunSummary) -> float:
    """From the run's creation to its end, or to now."""
    end = utc_moment(summary.updated_at) if summary.status in ENDED_RUNS else datetime.now(UTC)
    return (end - utc_moment(summary.created_at)).total_seconds()


HEAD_NOTE: Final = (
    "(note it with your results: with it, matterstack evidence verify DIR --head HEAD finds events that were "
    "changed later)"
)


def head_line(summary: RunSummary) -> str:
    """What speaks for the whole history of a run, in a line for a paper or a lab book."""
    return f"head of run {summary.run_id} at event {summary.seq}: {summary.head}"


def head_lines(summary: RunSummary) -> Iterator[str]:
    """The head of a run, and what it cannot speak for."""
    if summary.head:
        yield head_line(summary)
        yield HEAD_NOTE
    if summary.chained_to:
        yield (
            f"(the events up to {summary.chained_to} are from before there were heads: they were chained as "
            "the store had them when it was brought up to date)"
        )


def said_lines(summary: RunSummary) -> Iterator[str]:
    """What people say of a run."""
    if summary.labels:
        yield f"labels: {', '.join(summary.labels)}"
    if summary.note:
        yield f"note: {summary.note}"


def reason_line(summary: RunSummary, *, is_explained: bool) -> str:
    """Why a run is as it is; ``is_explained``: of one that is held it is said at length elsewhere."""
    if summary.is_held and is_explained:
        return f"held by the engine: matterstack run explain {summary.run_id}"
    return summary.status_reason


def plain_line(summary: RunSummary, *, is_explained: bool = False) -> str:
    """A run in one line of text; ``is_explained``: see `reason_line`."""
    parts = [f"{datetime.now(UTC):%H:%M:%S} {summary.run_id} {summary.status}"]
    if summary.stages:
        stage = summary.stages[-1]
        done, total = done_and_total(stage)
        counts = counts_text(stage)
        parts.append(f"{stage_title(stage)}: {done}/{total} done" + (f", {counts}" if counts else ""))
    if reason := reason_line(summary, is_explained=is_explained):
        parts.append(reason)
    return "  ".join(parts)
