"""The rows of a run, taken out of every table but its last event."""

from __future__ import annotations

import sqlite3
from typing import Final

from matterstack.core.ids import RunId

_REMOVE: Final = (
    # Found by the numbers of the run's events: what changed is kept under the last event of each commit.
    "DELETE FROM changes WHERE run_id = :run AND seq IN (SELECT seq FROM events WHERE run_id = :run)",
    "DELETE FROM attempts WHERE run_id = :run",
    "DELETE FROM tasks WHERE run_id = :run",
    "DELETE FROM commands WHERE run_id = :run",
    "DELETE FROM claims WHERE run_id = :run",
    "DELETE FROM labels WHERE run_id = :run",
    "DELETE FROM notes WHERE run_id = :run",
    "DELETE FROM run_keys WHERE run_id = :run",
    """INSERT OR REPLACE INTO deletions (run_id, workspace, keeps_evidence)
    SELECT run_id, workspace, :keeps FROM runs WHERE run_id = :run""",
    "DELETE FROM runs WHERE run_id = :run",
)


def remove_run(
    connection: sqlite3.Connection, run_id: RunId, last_used: int, *, keeps_evidence: bool
) -> None:
    """Remove a run, in a transaction, and note that its folder is to go; events after ``last_used`` stay."""
    for statement in _REMOVE:
        connection.execute(statement, {"run": run_id, "keeps": int(keeps_evidence)})
    connection.execute("DELETE FROM events WHERE run_id = ? AND seq <= ?", (run_id, last_used))
