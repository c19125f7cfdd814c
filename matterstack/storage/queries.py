"""What people ask the store: runs, tasks, events.  Read-only."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any, Final

import attrs

from matterstack.core.errors import NotFoundError
from matterstack.core.ids import RunId, TaskId, UtcTime
from matterstack.core.run.facts import Event
from matterstack.core.states import RunStatus, TaskStatus
from matterstack.storage.fact_codec import decode_fact

_SUMMARY: Final = """
    SELECT r.run_id, r.workspace, r.status, r.status_reason, r.iteration, r.stage_names, r.created_at,
           coalesce(
               (SELECT at FROM events e WHERE e.run_id = r.run_id ORDER BY seq DESC LIMIT 1), r.created_at)
    FROM runs r
"""


@attrs.frozen
class Stage:
    """Progress of one iteration; ``jobs``: how many of its tasks hold a seat at this moment."""

    iteration: int
    name: str | None
    tasks: dict[TaskStatus, int]
    jobs: int


@attrs.frozen
class RunSummary:
    """One run at a glance."""

    run_id: RunId
    workspace: str
    status: RunStatus
    status_reason: str
    iteration: int
    stages: tuple[Stage, ...]
    created_at: UtcTime
    updated_at: UtcTime

    def count(self, status: TaskStatus) -> int:
        """Number of tasks in a status, over all iterations."""
        return sum(stage.tasks.get(status, 0) for stage in self.stages)

    def as_json(self) -> dict[str, Any]:
        """The object that ``run status --json`` prints."""
        return {
            "run_id": self.run_id,
            "workspace": self.workspace,
            "status": self.status.value,
            "status_reason": self.status_reason,
            "iteration": self.iteration,
            "tasks": {status.value: self.count(status) for status in TaskStatus},
            "created_at": self.created_at,
            "updated_at": self.updated_at,
        }


def require_run(connection: sqlite3.Connection, run_id: RunId) -> RunSummary:
    """Summarize one run.

    Raises:
        NotFoundError: there is no such run.
    """
    for summary in run_summaries(connection, [run_id]):
        return summary
    raise NotFoundError(f"no run {run_id}", hint="list them with: matterstack run list")


def run_summaries(connection: sqlite3.Connection, run_ids: Sequence[RunId] | None = None) -> list[RunSummary]:
    """Summarize runs, the oldest first: those named, or all."""
    where = ""
    values: tuple[RunId, ...] = ()
    if run_ids is not None:
        where, values = f"WHERE r.run_id IN ({', '.join('?' * len(run_ids))})", tuple(run_ids)
    connection.execute("BEGIN")
    try:
        rows = connection.execute(f"{_SUMMARY} {where} ORDER BY r.run_id", values).fetchall()
        return [_summary(connection, row) for row in rows]
    finally:
        connection.execute("COMMIT")


def _summary(connection: sqlite3.Connection, row: tuple[Any, ...]) -> RunSummary:
    run_id, workspace, status, reason, iteration, names, created_at, updated_at = row
    counts: dict[int, dict[TaskStatus, int]] = {}
    for number, task_status, count in connection.execute(
        "SELECT iteration, status, count(*) FROM tasks WHERE run_id = ? GROUP BY iteration, status", (run_id,)
    ):
        counts.setdefault(number, {})[TaskStatus(task_status)] = count
    jobs = dict(
        connection.execute(
            "SELECT t.iteration, count(*) FROM attempts a JOIN tasks t USING (run_id, task_id) "
            "WHERE a.ended_at IS NULL AND a.run_id = ? GROUP BY t.iteration",
            (run_id,),
        )
    )
    stages = tuple(
        Stage(number, name, counts.get(number, {}), jobs.get(number, 0))
        for number, name in enumerate(json.loads(names), start=1)
    )
    return RunSummary(run_id, workspace, RunStatus(status), reason, iteration, stages, created_at, updated_at)


def runs_to_serve(connection: sqlite3.Connection) -> list[RunId]:
    """Runs that have not ended, the oldest first."""
    rows = connection.execute(
        "SELECT run_id FROM runs WHERE status IN ('PENDING', 'RUNNING', 'PAUSED') ORDER BY run_id"
    )
    return [RunId(run_id) for (run_id,) in rows]


def campaign_state(connection: sqlite3.Connection, run_id: RunId) -> dict[str, Any]:
    """What the last ``analyze`` of a run returned; empty before that."""
    row = connection.execute("SELECT campaign_state FROM runs WHERE run_id = ?", (run_id,)).fetchone()
    state: dict[str, Any] = json.loads(row[0]) if row is not None else {}
    return state


def runs_with_jobs(connection: sqlite3.Connection) -> list[RunId]:
    """Runs of which an attempt is live, the oldest first: they hold seats of backends."""
    rows = connection.execute("SELECT DISTINCT run_id FROM attempts WHERE ended_at IS NULL ORDER BY run_id")
    return [RunId(run_id) for (run_id,) in rows]


def task_list(connection: sqlite3.Connection, run_id: RunId) -> list[dict[str, Any]]:
    """The objects that ``run tasks --json`` prints."""
    connection.execute("BEGIN")
    try:
        attempts: dict[str, list[dict[str, Any]]] = {}
        keys = (
            "n", "token", "backend", "job_id", "state", "raw_state", "reason", "exit_code", "host",
            "submitted_at", "started_at", "ended_at", "resources",
        )  # fmt: skip
        for task_id, *values in connection.execute(
            f"SELECT task_id, {', '.join(keys)} FROM attempts WHERE run_id = ? ORDER BY task_id, n",  # noqa: S608
            (run_id,),
        ):
            attempt = dict(zip(keys, values, strict=True))
            attempt["resources"] = json.loads(attempt["resources"])
            attempts.setdefault(task_id, []).append(attempt)
        return [
            {
                "task_id": task_id,
                "iteration": iteration,
                "status": status,
                "reason": reason,
                "attempts": attempts.get(task_id, []),
            }
            for task_id, iteration, status, reason in connection.execute(
                "SELECT task_id, iteration, status, reason FROM tasks WHERE run_id = ? ORDER BY position",
                (run_id,),
            )
        ]
    finally:
        connection.execute("COMMIT")


def last_attempt_number(connection: sqlite3.Connection, run_id: RunId, task_id: TaskId) -> int:
    """Number of the newest attempt of a task; 0 when there was none.

    Raises:
        NotFoundError: the run has no such task.
    """
    known = connection.execute(
        "SELECT 1 FROM tasks WHERE run_id = ? AND task_id = ?", (run_id, task_id)
    ).fetchone()
    if known is None:
        raise NotFoundError(
            f"run {run_id} has no task {task_id!r}", hint=f"list them with: matterstack run tasks {run_id}"
        )
    row = connection.execute(
        "SELECT max(n) FROM attempts WHERE run_id = ? AND task_id = ?", (run_id, task_id)
    ).fetchone()
    return int(row[0] or 0)


def events_after(
    connection: sqlite3.Connection, seq: int, run_id: RunId | None = None, most: int = 1000
) -> list[Event]:
    """The next events after a sequence number, at most so many; of one run, or of all."""
    where = "AND run_id = ?" if run_id is not None else ""
    rows = connection.execute(
        f"SELECT seq, run_id, at, type, data FROM events WHERE seq > ? {where} ORDER BY seq LIMIT ?",  # noqa: S608
        (seq, run_id, most) if run_id is not None else (seq, most),
    )
    return [
        Event(seq=number, run_id=run, at=at, fact=decode_fact(kind, data))
        for number, run, at, kind, data in rows
    ]


def facts_of(connection: sqlite3.Connection, run_id: RunId) -> Iterator[Event]:
    """All events of a run, the oldest first."""
    seq = 0
    while events := events_after(connection, seq, run_id):
        yield from events
        seq = events[-1].seq


def event_lines(
    connection: sqlite3.Connection, seq: int, run_id: RunId | None = None, most: int = 1000
) -> list[tuple[int, dict[str, Any]]]:
    """Like `events_after`, as the objects that ``run events`` prints: seq, at, run, type, data."""
    where = "AND run_id = ?" if run_id is not None else ""
    rows = connection.execute(
        f"SELECT seq, run_id, at, type, data FROM events WHERE seq > ? {where} ORDER BY seq LIMIT ?",  # noqa: S608
        (seq, run_id, most) if run_id is not None else (seq, most),
    )
    return [
        (number, {"seq": number, "at": at, "run": run, "type": kind, "data": json.loads(data)})
        for number, run, at, kind, data in rows
    ]


def last_seq(connection: sqlite3.Connection) -> int:
    """Sequence number of the newest event; 0 when there is none."""
    return int(connection.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()[0])


def data_version(connection: sqlite3.Connection) -> int:
    """A number that changes whenever another connection commits.  See sqlite.org/pragma.html."""
    return int(connection.execute("PRAGMA data_version").fetchone()[0])


def attempt_has_ended(connection: sqlite3.Connection, run_id: RunId, task_id: TaskId, n: int) -> bool:
    """Whether an attempt is over."""
    row = connection.execute(
        "SELECT ended_at FROM attempts WHERE run_id = ? AND task_id = ? AND n = ?", (run_id, task_id, n)
    ).fetchone()
    return row is not None and row[0] is not None


def newest_outputs(connection: sqlite3.Connection, run_id: RunId, most: int) -> list[tuple[TaskId, int, str]]:
    """Output files of the last iteration's tasks: task, attempt, path in the attempt's folder."""
    rows = connection.execute(
        """
        SELECT t.task_id, t.outputs,
               (SELECT max(n) FROM attempts a WHERE a.run_id = t.run_id AND a.task_id = t.task_id)
        FROM tasks t
        WHERE t.run_id = ? AND t.status = 'SUCCEEDED'
          AND t.iteration = (SELECT max(iteration) FROM tasks WHERE run_id = t.run_id)
        ORDER BY t.position DESC
        """,
        (run_id,),
    )
    found: list[tuple[TaskId, int, str]] = []
    for task_id, outputs, n in rows:
        found.extend((task_id, n, output["path"]) for output in json.loads(outputs))
        if len(found) >= most:
            break
    return found[:most]
