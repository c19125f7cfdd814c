"""Wait for something to become true in the store."""

from __future__ import annotations

from matterstack.core.ids import RunId
from matterstack.core.states import ENDED_RUNS
from matterstack.storage.read.reader import Reader
from matterstack.storage.read.runs import require_run


async def wait_until_cancelled(reader: Reader, run_id: RunId) -> None:
    """Return when the run has ended; its cancellation is durable, so this may be interrupted."""
    async for _ in reader.changes():
        summary = await reader.read(require_run, run_id)
        if summary.status in ENDED_RUNS:
            return
