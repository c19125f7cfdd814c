"""``run.json`` and ``config.json``: a snapshot of each run for people and scripts, derived from the store."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import attrs
import trio

from matterstack.actors.runtime import Runtime
from matterstack.core.documents.root_config import MOST_BYTES
from matterstack.core.errors import StoreError
from matterstack.core.ids import RunId
from matterstack.core.run.allowed import Standing, allowed
from matterstack.core.run.state import RunState
from matterstack.core.states import TaskStatus
from matterstack.storage.files import json_bytes, replace_derived
from matterstack.storage.heads import heads_of
from matterstack.storage.layout import Root, RunFolder
from matterstack.storage.read.config_in_force import config_texts
from matterstack.storage.schema import reading
from matterstack.storage.small_files import read_small

logger: Final = logging.getLogger(__name__)

INTERVAL_S: Final = 1.0


def summary(state: RunState, head: str) -> dict[str, Any]:
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
        "head": head,
    }


@attrs.define
class SummaryWriter:
    """Writes what changed, at most once a second.

    Attributes:
        reader: connection for reading the store, through ``runtime.store`` only.
    """

    root: Root
    runtime: Runtime
    reader: sqlite3.Connection
    _changed: dict[RunId, RunState] = attrs.field(factory=dict)
    _configs: dict[RunId, str] = attrs.field(factory=dict)
    _wake: trio.Event = attrs.field(factory=trio.Event)
    _writing: trio.Lock = attrs.field(factory=trio.Lock)

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
        """Return when all that was noted is written; what cannot be is left for the next time."""
        async with self._writing:  # what somebody else is just writing may be what the caller waits for
            changed, self._changed = self._changed, {}
            try:
                await self._write_all(changed)
            finally:
                self._changed = {**changed, **self._changed}

    async def _write_all(self, changed: dict[RunId, RunState]) -> None:
        """Take those out of ``changed`` that have been written."""
        try:
            # From the store: a file must not name a head, or a config, that a crash may still take back.
            heads, configs = await self.runtime.store(self._stored, tuple(changed)) if changed else ({}, {})
        except StoreError as error:
            logger.warning("run.json of %d runs cannot be written yet: %s", len(changed), error)
            return
        for run_id, state in tuple(changed.items()):
            folder = self.root.run_folder(state.workspace, state.run_id)
            try:
                await self.runtime.files(_write, folder, summary(state, heads.get(run_id, "")))
                if run_id in configs and self._configs.get(run_id) != configs[run_id]:
                    await self.runtime.files(write_config, folder, json.loads(configs[run_id]))
                    self._configs[run_id] = configs[run_id]
            except OSError as error:
                # It is derived: the next change writes it again.
                logger.warning("%s: cannot be written: %s", folder.summary_file, error.strerror or error)
            del changed[run_id]

    def _stored(self, run_ids: Sequence[RunId]) -> tuple[dict[RunId, str], dict[RunId, str]]:
        """The heads of runs, and their configs as JSON text."""
        with reading(self.root.database, self.reader):
            return heads_of(self.reader, run_ids), config_texts(self.reader, run_ids)


def _write(folder: RunFolder, content: dict[str, Any]) -> None:
    # A run whose folder somebody deleted has no summary; its state is in the store.
    if folder.path.is_dir():
        replace_derived(folder.summary_file, json_bytes(content))


def write_config(folder: RunFolder, config: Mapping[str, Any]) -> None:
    """See that the run's folder has its config as it is now: a person may have amended it.  Blocking.

    Raises:
        OSError: it cannot be looked at, or written.
    """
    content = json_bytes(config)
    if folder.path.is_dir() and _content_of(folder.config_file) != content:
        replace_derived(folder.config_file, content)


def _content_of(path: Path) -> bytes | None:
    try:
        return read_small(path, MOST_BYTES)
    except OSError:
        return None  # whatever lies there, it is not the config
