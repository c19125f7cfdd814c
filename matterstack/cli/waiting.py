"""Wait for something to become true in the store."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from matterstack.core.ids import RunId, TaskId
from matterstack.core.states import ENDED_RUNS, OPEN_TASKS, TaskStatus
from matterstack.storage.read.reader import Reader
from matterstack.storage.read.runs import held_runs, require_run, runs_to_serve
from matterstack.storage.read.tasks import task_statuses


async def wait_until_cancelled(reader: Reader, run_id: RunId) -> None:
    """Return when the run has ended; its cancellation is durable, so this may be interrupted."""
    async for _ in reader.changes():
        summary = await reader.read(require_run, run_id)
        if summary.status in ENDED_RUNS:
            return


async def wait_until_ended(
    reader: Reader, run_id: RunId, task_ids: Sequence[TaskId]
) -> dict[TaskId, TaskStatus]:
    """Return when these tasks have ended, and how; as above, this may be interrupted."""
    statuses: dict[TaskId, TaskStatus] = {}
    async for _ in reader.changes():
        statuses = await reader.read(task_statuses, run_id, task_ids)
        if not OPEN_TASKS.intersection(statuses.values()):
            break
    return statuses


async def stop_when_held(reader: Reader, run_ids: Sequence[RunId] | None, stop: Callable[[], None]) -> None:
    """Stop the engine when it holds all of its runs that have not ended: nobody is there to let them go on.

    Args:
        run_ids: which runs it serves; None: all of the root.
    """
    async for _ in reader.changes():
        left = await reader.read(runs_to_serve)
        if run_ids is not None:
            left = [run_id for run_id in left if run_id in run_ids]
        if left and await reader.read(held_runs, left) == left:
            stop()
            return
