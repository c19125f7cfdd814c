"""Rows of runs, tasks and attempts that commits changed, as clients of the monitor are told of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable
from typing import Any, Final

import attrs

from matterstack.core.ids import RunId
from matterstack.core.run.allowed import RETRIABLE_TASKS, Standing, allowed
from matterstack.core.states import ENDED_TASKS, OPEN_TASKS, RunStatus, TaskStatus
from matterstack.storage.read.runs import ASKS
from matterstack.storage.read.tasks import SHOWN_ATTEMPT, SHOWN_TASK, shown_attempt, shown_task

Json = dict[str, Any]


def _any_task(statuses: Iterable[TaskStatus]) -> str:
    named = ", ".join(f"'{status.value}'" for status in sorted(statuses))
    return f"EXISTS (SELECT 1 FROM tasks t WHERE t.run_id = r.run_id AND t.status IN ({named}))"  # noqa: S608


_UNSUCCEEDED: Final = frozenset(TaskStatus) - {TaskStatus.SUCCEEDED}
_RUN: Final = f"""
    SELECT r.run_id, r.workspace, r.status, r.status_reason, r.ending, r.iteration, r.created_at,
           (SELECT at FROM events e WHERE e.run_id = r.run_id ORDER BY seq DESC LIMIT 1),
           {_any_task(RETRIABLE_TASKS)}, {_any_task(ENDED_TASKS)},
           {_any_task(OPEN_TASKS)}, {_any_task(_UNSUCCEEDED)}, {ASKS}, h.head
    FROM runs r LEFT JOIN heads h ON h.run_id = r.run_id WHERE r.run_id IN
"""  # noqa: S608


@attrs.frozen
class ChangedRows:
    """What commits changed of one run.

    Attributes:
        run: the run's own row: its document without what would have to be counted.
    """

    run_id: RunId
    run: Json
    tasks: list[Json] = attrs.field(factory=list)
    attempts: list[Json] = attrs.field(factory=list)


def changed_rows(
    connection: sqlite3.Connection,
    after: int,
    until: int,
    runs: Collection[RunId],
    only: RunId | None = None,
) -> list[ChangedRows]:
    """Read the rows that these events changed, as they are now; called within one read transaction.

    Which they are stands in ``changes``, for not every event names all of them: whatever depends on a task
    becomes READY by its success.

    Args:
        after, until: the events: behind the first of these numbers, up to the second.
        runs: all whose events these are.
        only: of this run alone.
    """
    changed = {run["run_id"]: ChangedRows(run["run_id"], run) for run in _runs(connection, runs)}
    named = "SELECT run_id, task_id FROM changes WHERE seq > ? AND seq <= ?"
    named += "" if only is None else " AND run_id = ?"
    values = (after, until) if only is None else (after, until, only)
    for row in connection.execute(
        f"SELECT {SHOWN_TASK} FROM tasks WHERE (run_id, task_id) IN ({named}) ORDER BY run_id, position",  # noqa: S608
        values,
    ):
        changed[row[0]].tasks.append(shown_task(row))
    for run_id, task_id, *columns in connection.execute(
        f"SELECT {SHOWN_ATTEMPT} FROM attempts WHERE (run_id, task_id) IN ({named}) "  # noqa: S608
        "ORDER BY run_id, task_id, n",
        values,
    ):
        changed[run_id].attempts.append({"task_id": task_id, **shown_attempt(columns)})
    return list(changed.values())


def _runs(connection: sqlite3.Connection, runs: Collection[RunId]) -> list[Json]:
    rows = connection.execute(f"{_RUN} ({', '.join('?' * len(runs))})", tuple(runs))
    return [_run(*row) for row in rows]


def _run(
    run_id: RunId,
    workspace: str,
    status: str,
    reason: str,
    ending: str | None,
    iteration: int,
    created_at: str,
    updated_at: str | None,
    has_retriable: int,
    has_ended_tasks: int,
    has_open_tasks: int,
    has_unsucceeded: int,
    asks: int,
    head: str | None,
) -> Json:
    standing = Standing(
        run_id=run_id,
        status=RunStatus(status),
        status_reason=reason,
        ending=RunStatus(ending) if ending else None,
        has_retriable=bool(has_retriable),
        has_ended_tasks=bool(has_ended_tasks),
        has_open_tasks=bool(has_open_tasks),
        has_unsucceeded=bool(has_unsucceeded),
        asks=bool(asks),
    )
    return {
        "run_id": run_id,
        "workspace": workspace,
        "status": status,
        "status_reason": reason,
        "iteration": iteration,
        "created_at": created_at,
        "updated_at": updated_at or created_at,
        "ending": ending or None,
        "allowed": allowed(standing),
        "head": head or "",
    }
