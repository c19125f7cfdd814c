"""Runs by what people call them: how their ids begin, and the newest one of a workspace or of all."""

from __future__ import annotations

import sqlite3
from typing import Final

from matterstack.core.ids import RunId

_BEHIND_ALL: Final = "\x7f"
"""Sorts behind every character that an id may have."""


def runs_beginning(connection: sqlite3.Connection, begun: str, most: int) -> list[tuple[RunId, str]]:
    """Runs whose ids begin so, each with its workspace: the newest first, at most so many."""
    rows = connection.execute(
        "SELECT run_id, workspace FROM runs WHERE run_id >= ? AND run_id < ? ORDER BY run_id DESC LIMIT ?",
        (begun, begun + _BEHIND_ALL, most),
    )
    return [(RunId(run_id), workspace) for run_id, workspace in rows]


def newest_run(connection: sqlite3.Connection, workspace: str | None = None) -> tuple[RunId, str] | None:
    """The run that was made last, with its workspace; of one workspace, or of all."""
    where, values = ("", ()) if workspace is None else ("WHERE workspace = ?", (workspace,))
    row = connection.execute(
        f"SELECT run_id, workspace FROM runs {where} "  # noqa: S608  only our own words
        "ORDER BY created_at DESC, rowid DESC LIMIT 1",
        values,
    ).fetchone()
    return None if row is None else (RunId(row[0]), row[1])
