"""Which runs of many: by status, workspace, label and age, found through indexes."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import attrs

from matterstack.core.ids import RunId, UtcTime
from matterstack.core.states import RunStatus


@attrs.frozen(kw_only=True)
class RunFilter:
    """What runs must be like; what is left empty leaves all in.

    Attributes:
        statuses: one of these.
        workspaces: of one of these.
        labels: with all of these.
        since: made then or later.
        last: of those that fit, no more than this many that were made last.
    """

    statuses: Sequence[RunStatus] = ()
    workspaces: Sequence[str] = ()
    labels: Sequence[str] = ()
    since: UtcTime | None = None
    last: int | None = None


def filtered_runs(connection: sqlite3.Connection, wanted: RunFilter) -> list[RunId]:
    """Runs that fit, those that were made last first."""
    conditions: list[str] = []
    values: list[object] = []
    for column, allowed in (
        ("status", [status.value for status in wanted.statuses]),
        ("workspace", wanted.workspaces),
    ):
        if allowed:
            conditions.append(f"{column} IN ({', '.join('?' * len(allowed))})")
            values += allowed
    for label in wanted.labels:
        conditions.append("run_id IN (SELECT run_id FROM labels WHERE label = ?)")
        values.append(label)
    if wanted.since is not None:
        conditions.append("created_at >= ?")
        values.append(wanted.since)
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    rows = connection.execute(
        f"SELECT run_id FROM runs {where} ORDER BY created_at DESC, rowid DESC LIMIT ?",  # noqa: S608
        (*values, -1 if wanted.last is None else wanted.last),
    )
    return [RunId(run_id) for (run_id,) in rows]


def has_runs_of(connection: sqlite3.Connection, workspace: str) -> bool:
    """Whether there is any run of a workspace, be its folder there or not."""
    row = connection.execute("SELECT 1 FROM runs WHERE workspace = ? LIMIT 1", (workspace,)).fetchone()
    return row is not None
