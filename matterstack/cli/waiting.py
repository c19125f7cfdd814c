"""Wait for something to become true in the store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

import trio

from matterstack.core.ids import RunId
from matterstack.core.states import ENDED_RUNS
from matterstack.storage.queries import data_version, require_run
from matterstack.storage.reader import Reader

LOOK_INTERVAL_S: Final = 0.1
QUIET_INTERVAL_S: Final = 1.0
"""How often it is looked when nothing has changed for a while: to wait for days costs next to nothing."""
QUIET_AFTER_S: Final = 10.0


async def changes(reader: Reader, at_least_every_s: float | None = None) -> AsyncIterator[None]:
    """Come back at once, then whenever another process has committed (or so much time has passed)."""
    seen = None
    due = changed = trio.current_time()
    while True:
        version = await reader.read(data_version)
        now = trio.current_time()
        if version != seen:
            changed = now
        if version != seen or (at_least_every_s is not None and now >= due):
            seen = version
            due = now + (at_least_every_s or 0)
            yield
        await trio.sleep(LOOK_INTERVAL_S if now - changed < QUIET_AFTER_S else QUIET_INTERVAL_S)


async def wait_until_cancelled(reader: Reader, run_id: RunId) -> None:
    """Return when the run has ended; its cancellation is durable, so this may be interrupted."""
    async for _ in changes(reader):
        summary = await reader.read(require_run, run_id)
        if summary.status in ENDED_RUNS:
            return
