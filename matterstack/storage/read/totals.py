"""Totals over all runs of a store."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping

import attrs

from matterstack.core.ids import BackendName
from matterstack.core.states import RunStatus, TaskStatus
from matterstack.storage.read.events import last_seq
from matterstack.storage.read.transactions import one_moment


@attrs.frozen(kw_only=True)
class Totals:
    """Counts over all runs, at one moment.

    Attributes:
        live: attempts that have not ended, by backend.
        seats: the most jobs that a backend may have at once: of several definitions, the largest number.
        seq: of the newest event.
    """

    runs: Mapping[RunStatus, int]
    tasks: Mapping[TaskStatus, int]
    live: Mapping[BackendName, int]
    seats: Mapping[BackendName, int]
    seq: int


def read_totals(connection: sqlite3.Connection) -> Totals:
    """Count runs, tasks and live attempts."""
    with one_moment(connection):
        runs = dict(connection.execute("SELECT status, count(*) FROM runs GROUP BY status").fetchall())
        tasks = dict(connection.execute("SELECT status, count(*) FROM tasks GROUP BY status").fetchall())
        live = dict(
            connection.execute(
                "SELECT backend, count(*) FROM attempts WHERE ended_at IS NULL GROUP BY backend"
            ).fetchall()
        )
        # Those of runs that have ended bind nobody any more, unless a job is still there.
        configs = connection.execute(
            "SELECT config FROM runs WHERE status IN ('PENDING', 'RUNNING', 'PAUSED')"
        ).fetchall()
        seq = last_seq(connection)
    seats: dict[BackendName, int] = {}
    for (config,) in configs:
        for name, backend in json.loads(config).get("backends", {}).items():
            seats[name] = max(seats.get(name, 0), backend.get("max_jobs", 0))
    return Totals(
        runs={status: runs.get(status, 0) for status in RunStatus},
        tasks={status: tasks.get(status, 0) for status in TaskStatus},
        live=live,
        seats=seats,
        seq=seq,
    )
