"""Commands as a durable mailbox: a row is written first, the engine that holds the run answers in it."""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Mapping
from typing import Any, Final

import attrs

from matterstack.core.ids import RunId, UtcTime
from matterstack.core.run.messages import (
    AmendAbout,
    AmendConfig,
    AmendTasks,
    Cancel,
    CancelTasks,
    Command,
    Pause,
    Replan,
    Rerun,
    Resume,
    Retry,
)
from matterstack.storage.codec import CONVERTER, dumps

_TYPES: Final[Mapping[str, type[Command]]] = {
    "pause": Pause,
    "resume": Resume,
    "cancel": Cancel,
    "retry": Retry,
    "rerun": Rerun,
    "amend_about": AmendAbout,
    "cancel_tasks": CancelTasks,
    "amend_tasks": AmendTasks,
    "amend_config": AmendConfig,
    "replan": Replan,
}
_NAMES: Final = {kind: name for name, kind in _TYPES.items()}


@attrs.frozen
class StoredCommand:
    """A command with the id under which its outcome is recorded."""

    id: str
    run_id: RunId
    command: Command


def insert_command(
    connection: sqlite3.Connection, run_id: RunId, command: Command, at: UtcTime, command_id: str = ""
) -> StoredCommand:
    """Make a command durable.  The same ``command_id`` twice is one command."""
    command_id = command_id or uuid.uuid4().hex
    data = CONVERTER.unstructure(command)
    by = data.pop("by")
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute(
            "INSERT OR IGNORE INTO commands (id, run_id, type, data, by, created_at) VALUES (?,?,?,?,?,?)",
            (command_id, run_id, _NAMES[type(command)], dumps(data), by, at),
        )
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return StoredCommand(command_id, run_id, command)


def withdraw_command(connection: sqlite3.Connection, command_id: str) -> bool:
    """Forget a command that nobody has carried out; False when somebody has."""
    done = connection.execute("DELETE FROM commands WHERE id = ? AND outcome IS NULL", (command_id,))
    return done.rowcount == 1


def open_commands(connection: sqlite3.Connection, run_id: RunId | None = None) -> list[StoredCommand]:
    """Commands without an outcome, the oldest first; of one run, or of all."""
    where = "AND run_id = ?" if run_id is not None else ""
    rows = connection.execute(
        f"SELECT id, run_id, type, data, by FROM commands "  # noqa: S608  only our own words
        f"WHERE outcome IS NULL {where} ORDER BY created_at, rowid",
        (run_id,) if run_id is not None else (),
    )
    return [
        StoredCommand(id_, RunId(run), CONVERTER.structure({"by": by, **json.loads(data)}, _TYPES[kind]))
        for id_, run, kind, data, by in rows
    ]


def command_outcome(connection: sqlite3.Connection, command_id: str) -> dict[str, Any] | None:
    """What became of a command: ``{"ok": true}`` or ``{"ok": false, "code", "message", "hint"}``."""
    row = connection.execute("SELECT outcome FROM commands WHERE id = ?", (command_id,)).fetchone()
    return json.loads(row[0]) if row is not None and row[0] is not None else None
