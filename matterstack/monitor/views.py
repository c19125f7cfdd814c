"""What the page asks for, as JSON documents.  Read from the store and the files, one question at a time."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, Final

from matterstack.core.ids import BackendName, RunId, TaskId
from matterstack.core.operators import ASKED
from matterstack.monitor.pieces import MOST_BYTES, piece_of
from matterstack.storage.layout import Root
from matterstack.storage.read.deleted_runs import no_such_run
from matterstack.storage.read.events import last_events, last_seq
from matterstack.storage.read.runs import RunSummary, configs, live_attempts, require_run, run_summaries
from matterstack.storage.read.tasks import last_attempt_number, task_count, task_graph
from matterstack.storage.read.transactions import one_moment

MOST_TASKS: Final = 20_000
MOST_EVENTS: Final = 200

Json = dict[str, Any]


def runs_view(connection: sqlite3.Connection, run_ids: Sequence[RunId] | None = None) -> Json:
    """Runs, the newest first, as of ``seq``: those named (those of them that there are), or all.

    ``jobs`` are the live ones of each backend over all runs, those in ``caps`` of the run alone.  What was
    stored after ``seq`` may show already: to apply it once more changes nothing.
    """
    seq = last_seq(connection)
    summaries = run_summaries(connection, run_ids)
    settings = configs(connection)
    jobs = live_attempts(connection)
    return {
        "seq": seq,
        "jobs": {backend: sum(of_runs.values()) for backend, of_runs in jobs.items()},
        "runs": [_run(summary, settings.get(summary.run_id, {}), jobs) for summary in reversed(summaries)],
    }


def run_view(connection: sqlite3.Connection, run_id: RunId) -> Json:
    """One run with its tasks, what they depend on, and their attempts, exactly as of ``seq``.

    Raises:
        NotFoundError: there is no such run.
    """
    with one_moment(connection):
        seq = last_seq(connection)
        tasks = task_graph(connection, run_id, MOST_TASKS)
        count = task_count(connection, run_id)
    # Not older than ``seq``: what is told of the run after that changes nothing once more.
    runs = runs_view(connection, [require_run(connection, run_id).run_id])["runs"]
    if not runs:
        raise no_such_run(connection, run_id)  # deleted since
    return {"seq": seq, "run": runs[0], "tasks": tasks, "left_out": count - len(tasks)}


def events_view(connection: sqlite3.Connection, run_id: RunId, before: int | None) -> Json:
    """The last events of a run (before one of them), the oldest first.

    Raises:
        NotFoundError: there is no such run.
    """
    require_run(connection, run_id)
    events = last_events(connection, run_id, before, MOST_EVENTS)
    return {"events": events, "is_all": len(events) < MOST_EVENTS}


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


def _run(summary: RunSummary, settings: Json, jobs: Mapping[BackendName, Mapping[RunId, int]]) -> Json:
    stages = [
        {
            "iteration": stage.iteration,
            "name": stage.name,
            "jobs": stage.jobs,
            "tasks": {status.value: count for status, count in stage.tasks.items()},
        }
        for stage in summary.stages
    ]
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
