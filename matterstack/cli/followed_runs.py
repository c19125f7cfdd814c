"""Which runs somebody follows, and until when."""

from __future__ import annotations

from collections.abc import Container, Sequence

import attrs

from matterstack.cli.failure_lines import failure_lines
from matterstack.cli.wording import HEAD_NOTE, head_line
from matterstack.core.ids import RunId
from matterstack.core.states import ENDED_RUNS, RunStatus, TaskStatus
from matterstack.storage.leases import is_held
from matterstack.storage.read.failures import failures
from matterstack.storage.read.reader import Reader
from matterstack.storage.read.runs import RunSummary, run_summaries, runs_with_jobs


async def relevant(
    reader: Reader, run_ids: Sequence[RunId] | None, shown: Container[object]
) -> list[RunSummary]:
    """These runs as they are; with None, those that have not ended, and those that were shown before."""
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


async def newly_ended(reader: Reader, summaries: Sequence[RunSummary], told: set[object]) -> list[str]:
    """How tasks of runs that have ended have failed, and the heads of these runs; of each end once.

    After the first head a line says what heads are for.

    Args:
        told: what was told already; is added to.
    """
    lines: list[str] = []
    for summary in summaries:
        if summary.status in ENDED_RUNS and summary.head not in told:
            told.add(summary.head)
            if summary.count(TaskStatus.FAILED):
                lines += failure_lines(await reader.read(failures, summary.run_id))
            lines.append(head_line(summary))
            if HEAD_NOTE not in told:
                told.add(HEAD_NOTE)
                lines.append(HEAD_NOTE)
    return lines


def all_ended(summaries: Sequence[RunSummary], run_ids: Sequence[RunId] | None) -> bool:
    """Whether there is nothing more to follow."""
    return run_ids is not None and all(s.status in ENDED_RUNS for s in summaries)
