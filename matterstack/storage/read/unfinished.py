"""What is unfinished in a run, and what it waits for: rows for those who explain it."""

from __future__ import annotations

import json
import sqlite3
from typing import Any, Final

from matterstack.core.ids import RunId, TaskId
from matterstack.core.states import JobState
from matterstack.storage.read.deleted_runs import no_such_run

Row = dict[str, Any]

_RUN_COLUMNS: Final = (
    "workspace", "config", "status", "status_reason", "phase", "iteration", "ending", "ending_reason",
    "created_at", "lease_host", "lease_boot_id", "lease_pid",
)  # fmt: skip
_TASK_COLUMNS: Final = ("task_id", "status", "reason", "tries", "cancellation", "task")
_ATTEMPT_COLUMNS: Final = (
    "n", "backend", "prepared_at", "job_id", "state", "raw_state", "reason",
    "submitted_at", "started_at", "ended_at", "exit_code", "host", "resources", "last_words",
    "definition", "resubmission",
)  # fmt: skip
_SEAT_COLUMNS: Final = (
    "backend", "run_id", "seats", "last_at", "lease_host", "lease_boot_id", "lease_pid",
)  # fmt: skip


def run_row(connection: sqlite3.Connection, run_id: RunId) -> Row:
    """One run, with its config parsed, and who holds its lease.

    Raises:
        NotFoundError: there is no such run.
    """
    row = connection.execute(
        f"SELECT {', '.join(_RUN_COLUMNS)} FROM runs WHERE run_id = ?",  # noqa: S608  only our own names
        (run_id,),
    ).fetchone()
    if row is None:
        raise no_such_run(connection, run_id)
    run = dict(zip(_RUN_COLUMNS, row, strict=True))
    return {**run, "config": json.loads(run["config"])}


def task_counts(connection: sqlite3.Connection, run_id: RunId) -> dict[str, int]:
    """How many tasks of a run are in each status."""
    return dict(
        connection.execute("SELECT status, count(*) FROM tasks WHERE run_id = ? GROUP BY status", (run_id,))
    )


def unsucceeded_tasks(connection: sqlite3.Connection, run_id: RunId) -> list[Row]:
    """Tasks that have not succeeded, in the order of the plan; ``task`` and ``cancellation`` are parsed."""
    rows = connection.execute(
        f"SELECT {', '.join(_TASK_COLUMNS)} FROM tasks "  # noqa: S608
        "WHERE run_id = ? AND status != 'SUCCEEDED' ORDER BY position",
        (run_id,),
    )
    tasks = [dict(zip(_TASK_COLUMNS, row, strict=True)) for row in rows]
    parsed = ("task", "cancellation")
    return [{**task, **{name: json.loads(task[name]) for name in parsed}} for task in tasks]


def newest_attempts(connection: sqlite3.Connection, run_id: RunId) -> dict[TaskId, Row]:
    """The newest attempt of each task that has not succeeded; its JSON is parsed."""
    # SQLite takes the other columns from the row that has the maximum: sqlite.org/lang_select.html
    columns = ", ".join(f"a.{column}" for column in _ATTEMPT_COLUMNS[1:])
    rows = connection.execute(
        f"SELECT a.task_id, max(a.n), {columns} "  # noqa: S608
        "FROM attempts a JOIN tasks t ON t.run_id = a.run_id AND t.task_id = a.task_id "
        "WHERE a.run_id = ? AND t.status != 'SUCCEEDED' GROUP BY a.task_id",
        (run_id,),
    )
    found = {TaskId(task_id): dict(zip(_ATTEMPT_COLUMNS, row, strict=True)) for task_id, *row in rows}
    for attempt in found.values():
        attempt["resources"] = json.loads(attempt["resources"])
        attempt["definition"] = json.loads(attempt["definition"]) if attempt["definition"] else None
    return found


def hosts_that_worked(connection: sqlite3.Connection, run_id: RunId) -> frozenset[str]:
    """Where jobs of a run have ended well."""
    rows = connection.execute(
        "SELECT DISTINCT host FROM attempts WHERE run_id = ? AND state = ? AND host IS NOT NULL",
        (run_id, JobState.COMPLETED_OK.value),
    )
    return frozenset(host for (host,) in rows)


def seat_holders(connection: sqlite3.Connection) -> list[Row]:
    """Which runs have live attempts on which backends, since when, and who holds the runs' leases."""
    rows = connection.execute(
        "SELECT a.backend, a.run_id, count(*), max(a.prepared_at), "
        "r.lease_host, r.lease_boot_id, r.lease_pid "
        "FROM attempts a JOIN runs r USING (run_id) WHERE a.ended_at IS NULL GROUP BY a.backend, a.run_id"
    )
    return [dict(zip(_SEAT_COLUMNS, row, strict=True)) for row in rows]


def oldest_open_command(connection: sqlite3.Connection, run_id: RunId) -> tuple[str, str, str] | None:
    """Type, author and time (UTC) of the command to a run that waits for the longest."""
    row: tuple[str, str, str] | None = connection.execute(
        "SELECT type, by, created_at FROM commands WHERE run_id = ? AND outcome IS NULL "
        "ORDER BY created_at, rowid LIMIT 1",
        (run_id,),
    ).fetchone()
    return row
