"""Keys of runs: of all who make a run with the same key, the first one makes it, and the others find it."""

from __future__ import annotations

import sqlite3

import attrs

from matterstack.core.errors import RefusedError
from matterstack.core.ids import RunId


@attrs.frozen
class RunKey:
    """A key, and the settings with which its run is made, as JSON."""

    text: str
    overrides: str


@attrs.frozen
class KeyedRun:
    """The run that has a key; ``overrides`` are the settings that it was made with, as JSON."""

    run_id: RunId
    workspace: str
    overrides: str


class KeyTakenError(RefusedError):
    """A run has the key already: this one was not stored."""

    def __init__(self, run_id: RunId) -> None:
        super().__init__(f"run {run_id} has this key already")
        self.run_id = run_id


def run_with_key(connection: sqlite3.Connection, key: str) -> KeyedRun | None:
    """The run that has a key; None when none has."""
    row = connection.execute(
        "SELECT run_id, workspace, overrides FROM run_keys JOIN runs USING (run_id) WHERE key = ?", (key,)
    ).fetchone()
    return None if row is None else KeyedRun(*row)


def take_key(connection: sqlite3.Connection, key: RunKey, run_id: RunId) -> KeyTakenError | None:
    """Give a key to a new run, in the transaction that stores it; or say which run has it."""
    known = run_with_key(connection, key.text)
    if known is not None:
        return KeyTakenError(known.run_id)
    connection.execute(
        "INSERT INTO run_keys (key, run_id, overrides) VALUES (?, ?, ?)", (key.text, run_id, key.overrides)
    )
    return None
