"""``run.json``: a snapshot of each run for people and scripts, derived from the store."""

from __future__ import annotations

import logging
from typing import Any, Final

import attrs
import trio

from matterstack.actors.runtime import Runtime
from matterstack.core.ids import RunId
from matterstack.core.run.allowed import Standing, allowed
from matterstack.core.run.state import RunState
from matterstack.core.states import TaskStatus
from matterstack.storage.files import json_bytes, replace_derived
from matterstack.storage.layout import Root, RunFolder

logger: Final = logging.getLogger(__name__)

INTERVAL_S: Final = 1.0


def summary(state: RunState) -> dict[str, Any]:
    """The same object that ``run status --json`` prints, but for what engines say of their backends."""
    return {
        "run_id": state.run_id,
        "workspace": state.workspace,
        "status": state.status.value,
        "status_reason": state.status_reason,
        "iteration": state.iteration,
        "tasks": {status.value: state.counts[status] for status in TaskStatus},
        "created_at": state.created_at,
        "updated_at": state.updated_at,
        "ending": None if state.ending is None else state.ending.value,
        "allowed": allowed(Standing.of(state)),
    }


@attrs.define
class SummaryWriter:
    """Writes what changed, at most once a second."""

    root: Root
    runtime: Runtime
    _changed: dict[RunId, RunState] = attrs.field(factory=dict)
    _wake: trio.Event = attrs.field(factory=trio.Event)

    def note(self, state: RunState) -> None:
        """Note that a run has changed: its ``run.json`` is written soon."""
        self._changed[state.run_id] = state
        self._wake.set()

    async def serve(self) -> None:
        """Write until cancelled; what is noted last is written by `flush`."""
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            await self.flush()
            await trio.sleep(INTERVAL_S)

    async def flush(self) -> None:
        """Write what has not been written yet."""
        changed, self._changed = self._changed, {}
        for state in changed.values():
            folder = self.root.run_folder(state.workspace, state.run_id)
            try:
                await self.runtime.files(_write, folder, summary(state))
            except OSError as error:
                # It is derived: the next change writes it again.
                logger.warning("%s: cannot be written: %s", folder.summary_file, error.strerror or error)


def _write(folder: RunFolder, content: dict[str, Any]) -> None:
    # A run whose folder somebody deleted has no summary; its state is in the store.
    if folder.path.is_dir():
        replace_derived(folder.summary_file, json_bytes(content))
