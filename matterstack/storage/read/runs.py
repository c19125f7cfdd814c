"""Runs, as the store has them: summaries of them, and which are to be served."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any, Final

import attrs

from matterstack.core.ids import BackendName, RunId, UtcTime
from matterstack.core.operators import ASKED
from matterstack.core.run.allowed import RETRIABLE_TASKS, Allowed, Standing, allowed
from matterstack.core.states import ENDED_TASKS, OPEN_TASKS, RunStatus, TaskStatus
from matterstack.storage.read.deleted_runs import no_such_run
from matterstack.storage.read.transactions import one_moment

ASKS: Final = (
    "EXISTS (SELECT 1 FROM attempts a INDEXED BY attempts_live "  # noqa: S608
    f"WHERE a.backend = '{ASKED}' AND a.ended_at IS NULL AND a.run_id = r.run_id)"
)
"""Whether run ``r`` waits for an answer.  Without the hint, SQLite looks through all attempts of the run."""
_SUMMARY: Final = f"""
    SELECT r.run_id, r.workspace, r.status, r.status_reason, r.iteration, r.stage_names, r.created_at,
           coalesce(
               (SELECT at FROM events e WHERE e.run_id = r.run_id ORDER BY seq DESC LIMIT 1), r.created_at),
           r.ending, {ASKS},
           (SELECT json_group_array(label) FROM labels l WHERE l.run_id = r.run_id),
           coalesce((SELECT note FROM notes n WHERE n.run_id = r.run_id), ''),
           coalesce(h.head, ''), coalesce(h.seq, 0), coalesce(h.chained_to, 0),
           r.status = 'PAUSED' AND coalesce(json_extract(r.holding, '$.held'), '') != ''
    FROM runs r LEFT JOIN heads h ON h.run_id = r.run_id
"""  # noqa: S608

_HELD: Final = """
    SELECT r.run_id FROM runs r
    WHERE r.run_id IN ({marks}) AND r.status = 'PAUSED' AND r.ending IS NULL
      AND coalesce(json_extract(r.holding, '$.held'), '') != ''
      AND NOT EXISTS (
          SELECT 1 FROM tasks t JOIN attempts a ON a.run_id = t.run_id AND a.task_id = t.task_id
          WHERE t.run_id = r.run_id AND t.status = 'ACTIVE' AND a.backend != ? AND a.job_id IS NOT NULL
            AND a.n = (SELECT max(n) FROM attempts WHERE run_id = t.run_id AND task_id = t.task_id))
    ORDER BY r.run_id
"""
"""What was not submitted before the run was held is not submitted any more; answers are not waited for."""


@attrs.frozen
class Stage:
    """Progress of one iteration; ``jobs``: how many of its tasks hold a seat at this moment."""

    iteration: int
    name: str | None
    tasks: dict[TaskStatus, int]
    jobs: int


@attrs.frozen
class RunSummary:
    """One run at a glance.

    Attributes:
        ending: CANCELLED or FAILED, while it is about to be that and jobs are still to be ended.
        asks: whether a question waits for an answer.
        head: hash of its last event.
        seq: number of that event.
        chained_to: number of the last event that is older than the chain; 0 where none is.
        is_imported: it is evidence of a run that another root has.
        is_held: it is paused by its engine, since too many of its tasks failed alike.
        labels, note: what people say of it, beside its history.
    """

    run_id: RunId
    workspace: str
    status: RunStatus
    status_reason: str
    iteration: int
    stages: tuple[Stage, ...]
    created_at: UtcTime
    updated_at: UtcTime
    ending: RunStatus | None = None
    asks: bool = False
    head: str = ""
    seq: int = 0
    chained_to: int = 0
    is_imported: bool = False
    is_held: bool = False
    labels: tuple[str, ...] = ()
    note: str = ""

    @property
    def allowed(self) -> Allowed:
        """For each command True, or why the run cannot be told it, to be read after "the run is"."""
        standing = Standing(
            run_id=self.run_id,
            status=self.status,
            status_reason=self.status_reason,
            ending=self.ending,
            has_retriable=any(self.count(status) for status in RETRIABLE_TASKS),
            has_ended_tasks=any(self.count(status) for status in ENDED_TASKS),
            has_open_tasks=any(self.count(status) for status in OPEN_TASKS),
            has_unsucceeded=any(
                self.count(status) for status in TaskStatus if status != TaskStatus.SUCCEEDED
            ),
            asks=self.asks,
            is_imported=self.is_imported,
        )
        return allowed(standing)

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
            "ending": None if self.ending is None else self.ending.value,
            "allowed": self.allowed,
            "head": self.head,
            "labels": list(self.labels),
            "note": self.note,
        }


def require_run(connection: sqlite3.Connection, run_id: RunId) -> RunSummary:
    """Summarize one run that must be there.

    Raises:
        NotFoundError: there is no such run.
    """
    for summary in run_summaries(connection, [run_id]):
        return summary
    raise no_such_run(connection, run_id)


def run_summaries(connection: sqlite3.Connection, run_ids: Sequence[RunId] | None = None) -> list[RunSummary]:
    """Summarize runs, the oldest first: those named, or all."""
    where = ""
    values: tuple[RunId, ...] = ()
    if run_ids is not None:
        where, values = f"WHERE r.run_id IN ({', '.join('?' * len(run_ids))})", tuple(run_ids)
    with one_moment(connection):
        rows = connection.execute(f"{_SUMMARY} {where} ORDER BY r.run_id", values).fetchall()
        return [_summary(connection, row) for row in rows]


def _summary(connection: sqlite3.Connection, row: tuple[Any, ...]) -> RunSummary:
    run_id, workspace, status, reason, iteration, names, created_at, updated_at, ending, asks, *more = row
    labels, note, head, seq, chained_to, is_held = more
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
    return RunSummary(
        run_id,
        workspace,
        RunStatus(status),
        reason,
        iteration,
        stages,
        created_at,
        updated_at,
        ending=RunStatus(ending) if ending else None,
        asks=bool(asks),
        head=head,
        seq=seq,
        chained_to=chained_to,
        is_held=bool(is_held),
        labels=tuple(sorted(json.loads(labels))),
        note=note,
    )


def runs_to_serve(connection: sqlite3.Connection) -> list[RunId]:
    """Runs that have not ended, the oldest first."""
    rows = connection.execute(
        "SELECT run_id FROM runs WHERE status IN ('PENDING', 'RUNNING', 'PAUSED') ORDER BY run_id"
    )
    return [RunId(run_id) for (run_id,) in rows]


def held_runs(connection: sqlite3.Connection, run_ids: Sequence[RunId]) -> list[RunId]:
    """Which of these runs the engine holds, and has nothing more to do for: all their jobs have ended."""
    marks = ", ".join("?" * len(run_ids))
    rows = connection.execute(_HELD.format(marks=marks), (*run_ids, ASKED))
    return [RunId(run_id) for (run_id,) in rows]


def secrets_of_unfinished(connection: sqlite3.Connection) -> list[str]:
    """Names of the secrets of all runs that have not ended, sorted."""
    rows = connection.execute(
        "SELECT DISTINCT value FROM runs, json_each(runs.config, '$.secrets') "
        "WHERE status IN ('PENDING', 'RUNNING', 'PAUSED') ORDER BY value"
    )
    return [name for (name,) in rows]


def campaign_state(connection: sqlite3.Connection, run_id: RunId) -> dict[str, Any]:
    """What the last ``analyze`` of a run returned; empty before that."""
    row = connection.execute("SELECT campaign_state FROM runs WHERE run_id = ?", (run_id,)).fetchone()
    state: dict[str, Any] = json.loads(row[0]) if row is not None else {}
    return state


def runs_with_jobs(connection: sqlite3.Connection) -> list[RunId]:
    """Runs of which an attempt is live, the oldest first: they hold seats of backends."""
    rows = connection.execute("SELECT DISTINCT run_id FROM attempts WHERE ended_at IS NULL ORDER BY run_id")
    return [RunId(run_id) for (run_id,) in rows]


def configs(connection: sqlite3.Connection) -> dict[RunId, dict[str, Any]]:
    """The frozen config of each run."""
    rows = connection.execute("SELECT run_id, config FROM runs")
    return {RunId(run_id): json.loads(config) for run_id, config in rows}


def live_attempts(connection: sqlite3.Connection) -> dict[BackendName, dict[RunId, int]]:
    """How many attempts each run has on each backend that have not ended: the seats that it takes there."""
    found: dict[BackendName, dict[RunId, int]] = {}
    for backend, run_id, count in connection.execute(
        "SELECT backend, run_id, count(*) FROM attempts WHERE ended_at IS NULL GROUP BY backend, run_id"
    ):
        found.setdefault(backend, {})[run_id] = count
    return found
