"""Which files of its workspace a run knows, and which of them are given to its tasks."""

from __future__ import annotations

import sqlite3

from matterstack.core.ids import RunId
from matterstack.core.run.campaign_code import KnownCode
from matterstack.storage.codec import decode
from matterstack.storage.read.deleted_runs import no_such_run


def known_code(connection: sqlite3.Connection, run_id: RunId) -> KnownCode:
    """The versions that a run knows.

    Raises:
        NotFoundError: there is no such run.
    """
    row = connection.execute("SELECT code FROM runs WHERE run_id = ?", (run_id,)).fetchone()
    if row is None:
        raise no_such_run(connection, run_id)
    known: KnownCode = decode(row[0], KnownCode)
    return known


def files_of_tasks(connection: sqlite3.Connection, run_id: RunId) -> frozenset[str]:
    """Every path that a task has in ``files``."""
    rows = connection.execute(
        "SELECT DISTINCT value FROM tasks, json_each(tasks.task, '$.files') WHERE run_id = ?", (run_id,)
    )
    return frozenset(str(path) for (path,) in rows)
