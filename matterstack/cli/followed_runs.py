"""Which runs somebody follows, and until when."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final

import attrs

from matterstack.cli.failure_lines import failure_lines
from matterstack.cli.wording import HEAD_NOTE, head_line
from matterstack.core.ids import RunId
from matterstack.core.states import ENDED_RUNS, RunStatus, TaskStatus
from matterstack.storage.leases import is_held
from matterstack.storage.read.failures import failures
from matterstack.storage.read.runs import RunSummary, run_summaries, runs_with_jobs

if TYPE_CHECKING:
    import trio

    from matterstack.storage.read.reader import Reader

LOOK_EVERY_S: Final = 1.0


async def ended_runs(reader: Reader) -> set[RunId]:
    """All runs that have ended: who follows the others does not want to hear of these."""
    return {s.run_id for s in await reader.read(run_summaries) if s.status in ENDED_RUNS}


async def relevant(
    reader: Reader, run_ids: Sequence[RunId] | None, ended_before: set[RunId]
) -> list[RunSummary]:
    """These runs as they are; with None, all but those that had ended before they were followed.

    Args:
        ended_before: those; one that goes on since is taken out.
    """
    summaries = await reader.read(run_summaries, run_ids)
    if run_ids is None:
        ended_before.difference_update(s.run_id for s in summaries if s.status not in ENDED_RUNS)
        summaries = [s for s in summaries if s.run_id not in ended_before]
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

    After the first head a line says what heads are for.  Cancelled while it reads, it has told nothing.

    Args:
        told: what was told already; is added to.
    """
    ended = [s for s in summaries if s.status in ENDED_RUNS and s.head not in told]
    failed = {s.run_id: await reader.read(failures, s.run_id) for s in ended if s.count(TaskStatus.FAILED)}
    lines: list[str] = []
    for summary in ended:
        told.add(summary.head)
        if summary.run_id in failed:
            lines += failure_lines(failed[summary.run_id])
        lines.append(head_line(summary))
        if HEAD_NOTE not in told:
            told.add(HEAD_NOTE)
            lines.append(HEAD_NOTE)
    return lines


async def keep_looking(reader: Reader, look: Callable[[], Awaitable[bool]], over: trio.Event | None) -> None:
    """Look at once and after each change, until a look says that there is nothing more to follow.

    Args:
        look: what is done each time; when it is cancelled, the next one must find what it did not show.
        over: who serves the runs sets it afterwards: then it is looked once more, since the last change may
            not have been seen yet.
    """
    if over is None:
        await _look_at_changes(reader, look)
        return
    import trio  # not for who looks once

    async with trio.open_nursery() as nursery:

        async def look_meanwhile() -> None:
            await _look_at_changes(reader, look)
            nursery.cancel_scope.cancel()

        nursery.start_soon(look_meanwhile)
        await over.wait()
        nursery.cancel_scope.cancel()
    await look()


async def _look_at_changes(reader: Reader, look: Callable[[], Awaitable[bool]]) -> None:
    async for _ in reader.changes(at_least_every_s=LOOK_EVERY_S):
        if await look():
            return


def all_ended(summaries: Sequence[RunSummary], run_ids: Sequence[RunId] | None) -> bool:
    """Whether there is nothing more to follow."""
    return run_ids is not None and all(s.status in ENDED_RUNS for s in summaries)
