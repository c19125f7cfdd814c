"""Wait for something to become true in the store."""

from __future__ import annotations

from collections.abc import Sequence

from matterstack.core.ids import RunId, TaskId
from matterstack.core.states import ENDED_RUNS, OPEN_TASKS, TaskStatus
from matterstack.storage.read.reader import Reader
from matterstack.storage.read.runs import require_run
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
