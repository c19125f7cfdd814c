"""What the page asks for, as JSON documents.  Read from the store and the files, one question at a time."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from matterstack.core.ids import BackendName, RunId, TaskId, utc_text
from matterstack.core.operators import ASKED
from matterstack.explain.frontier import get_run_frontier
from matterstack.explain.load import load_situation
from matterstack.monitor.pieces import MOST_BYTES, piece_of
from matterstack.storage.layout import Root
from matterstack.storage.queries import (
    RunSummary,
    last_attempt_number,
    last_seq,
    require_run,
    run_summaries,
)

MOST_TASKS: Final = 20_000
MOST_EVENTS: Final = 200
_ATTEMPT_KEYS: Final = (
    "n", "token", "backend", "job_id", "state", "raw_state", "reason", "exit_code", "host",
    "prepared_at", "submitted_at", "started_at", "ended_at",
)  # fmt: skip

Json = dict[str, Any]


def runs_view(connection: sqlite3.Connection, run_ids: Sequence[RunId] | None = None) -> Json:
    """Runs, the newest first, as of ``seq``: those named (those of them that there are), or all.

    ``jobs`` are the live ones of each backend over all runs, those in ``caps`` of the run alone.  What was
    stored after ``seq`` may show already: to apply it once more changes nothing.
    """
    seq = last_seq(connection)
    summaries = run_summaries(connection, run_ids)
    configs = dict(connection.execute("SELECT run_id, config FROM runs"))
    jobs = _live_jobs(connection)
    return {
        "seq": seq,
        "jobs": {backend: sum(of_runs.values()) for backend, of_runs in jobs.items()},
        "runs": [_run(summary, configs[summary.run_id], jobs) for summary in reversed(summaries)],
    }


def run_view(connection: sqlite3.Connection, run_id: RunId) -> Json:
    """One run with its tasks, what they depend on, and their attempts, exactly as of ``seq``.

    Raises:
        NotFoundError: there is no such run.
    """
    connection.execute("BEGIN")
    try:
        seq = last_seq(connection)
        tasks = _tasks(connection, run_id, _attempts(connection, run_id))
        (count,) = connection.execute("SELECT count(*) FROM tasks WHERE run_id = ?", (run_id,)).fetchone()
    finally:
        connection.execute("COMMIT")
    # Not older than ``seq``: what is told of the run after that changes nothing once more.
    (run,) = runs_view(connection, [require_run(connection, run_id).run_id])["runs"]
    return {"seq": seq, "run": run, "tasks": tasks, "left_out": count - len(tasks)}


def _tasks(
    connection: sqlite3.Connection, run_id: RunId, attempts: Mapping[TaskId, Sequence[Json]]
) -> list[Json]:
    # Only what is needed is taken out of a task's JSON: its params may be large.
    rows = connection.execute(
        "SELECT task_id, iteration, status, reason, json_extract(task, '$.depends_on'), "
        "json_extract(task, '$.inputs'), json_extract(task, '$.allow_failure'), "
        "json_extract(task, '$.operator') "
        "FROM tasks WHERE run_id = ? ORDER BY position LIMIT ?",
        (run_id, MOST_TASKS),
    )
    return [
        {
            "task_id": task_id,
            "iteration": iteration,
            "status": status,
            "reason": reason,
            "depends_on": _dependencies(json.loads(depends_on or "[]"), json.loads(inputs or "{}")),
            "may_fail": bool(allow_failure) and operator != "gate",
            "operator": operator,
            "attempts": attempts.get(task_id, []),
        }
        for task_id, iteration, status, reason, depends_on, inputs, allow_failure, operator in rows
    ]


def _dependencies(depends_on: Sequence[str], inputs: Mapping[str, str]) -> list[str]:
    sources = (source.partition("/")[0] for source in inputs.values())
    return list(dict.fromkeys((*depends_on, *sources)))


def _attempts(connection: sqlite3.Connection, run_id: RunId) -> dict[TaskId, list[Json]]:
    found: dict[TaskId, list[Json]] = {}
    for task_id, *values in connection.execute(
        f"SELECT task_id, {', '.join(_ATTEMPT_KEYS)} FROM attempts WHERE run_id = ? ORDER BY task_id, n",  # noqa: S608
        (run_id,),
    ):
        pairs = zip(_ATTEMPT_KEYS, values, strict=True)
        found.setdefault(task_id, []).append({k: v for k, v in pairs if v is not None and v != ""})
    return found


def events_view(connection: sqlite3.Connection, run_id: RunId, before: int | None) -> Json:
    """The last events of a run (before one of them), the oldest first.

    Raises:
        NotFoundError: there is no such run.
    """
    require_run(connection, run_id)
    rows = connection.execute(
        "SELECT seq, at, run_id, type, data FROM events WHERE run_id = ? AND seq < ? "
        "ORDER BY seq DESC LIMIT ?",
        (run_id, before if before is not None else last_seq(connection) + 1, MOST_EVENTS),
    ).fetchall()
    events = [
        {"seq": seq, "at": at, "run": run, "type": kind, "data": json.loads(data)}
        for seq, at, run, kind, data in reversed(rows)
    ]
    return {"events": events, "is_all": len(events) < MOST_EVENTS}


def explain_view(connection: sqlite3.Connection, root: Root, run_id: RunId) -> Json:
    """Why a run does not go on: as ``run explain --json`` prints it.  No cluster is asked.

    Raises:
        NotFoundError: there is no such run.
    """
    now = utc_text(datetime.now(UTC))
    situation = load_situation(connection, root, run_id, now)
    causes = [cause.as_json() for cause in get_run_frontier(situation).causes]
    return {"run_id": run_id, "status": situation.run.status.value, "as_of": now, "causes": causes}


def log_view(
    connection: sqlite3.Connection, root: Root, run_id: RunId, task_id: TaskId, query: Mapping[str, str]
) -> Json:
    """A piece of what an attempt printed, from a byte offset on (negative: so many bytes before the end).

    Raises:
        NotFoundError: no such run or task.
    """
    summary = require_run(connection, run_id)
    newest = last_attempt_number(connection, run_id, task_id)
    wanted = _number(query.get("attempt"), newest)
    n = wanted if 1 <= wanted <= newest else newest
    attempt = root.run_folder(summary.workspace, run_id).attempt(task_id, n)
    path = attempt.stderr if query.get("stream") == "stderr" else attempt.stdout
    piece = piece_of(path, _number(query.get("offset"), -MOST_BYTES))
    return {"task_id": task_id, "attempt": n, **piece.as_json()}


def _number(text: str | None, otherwise: int) -> int:
    """A number that SQLite and files can take; anything else is what it would be without."""
    if text is None or len(text) > 18 or not text.isascii() or not text.removeprefix("-").isdecimal():
        return otherwise
    return int(text)


def _live_jobs(connection: sqlite3.Connection) -> dict[BackendName, dict[RunId, int]]:
    """How many seats of each backend each run has."""
    jobs: dict[BackendName, dict[RunId, int]] = {}
    for backend, run_id, count in connection.execute(
        "SELECT backend, run_id, count(*) FROM attempts WHERE ended_at IS NULL GROUP BY backend, run_id"
    ):
        jobs.setdefault(backend, {})[run_id] = count
    return jobs


def _run(summary: RunSummary, config: str, jobs: Mapping[BackendName, Mapping[RunId, int]]) -> Json:
    stages = [
        {
            "iteration": stage.iteration,
            "name": stage.name,
            "jobs": stage.jobs,
            "tasks": {status.value: count for status, count in stage.tasks.items()},
        }
        for stage in summary.stages
    ]
    settings = json.loads(config)
    backends = {
        name: {
            "max_jobs": backend.get("max_jobs"),
            "jobs": jobs.get(name, {}).get(summary.run_id, 0),
        }
        for name, backend in settings.get("backends", {}).items()
    }
    return {
        **summary.as_json(),
        "stages": stages,
        "questions": jobs.get(ASKED, {}).get(summary.run_id, 0),
        "caps": {"run": settings.get("max_hpc_jobs_per_run"), "backends": backends},
    }
