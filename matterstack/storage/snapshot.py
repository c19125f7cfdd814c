"""A run's state as rows of ``runs``, ``tasks`` and ``attempts``, and back."""

from __future__ import annotations

import json
import sqlite3
from typing import Any, Final

from matterstack.core.ids import RunId
from matterstack.core.model.resources import Resources
from matterstack.core.model.workflow import Task
from matterstack.core.run.apply import index_task, insert_live, insert_task, note_node
from matterstack.core.run.campaign_code import KnownCode
from matterstack.core.run.facts import OutputFile
from matterstack.core.run.holding import Holding
from matterstack.core.run.state import AttemptState, Cancellation, Resubmission, RunState, TaskState
from matterstack.core.states import JobState, Phase, RunStatus, TaskStatus
from matterstack.storage.codec import decode, dumps, encode
from matterstack.storage.schema import readable_rows

Row = tuple[Any, ...]

RUN_COLUMNS: Final = (
    "run_id", "workspace", "config", "status", "status_reason", "phase", "iteration", "stage_names",
    "campaign_state", "base_state", "ending", "ending_reason", "created_at", "holding", "code",
)  # fmt: skip
TASK_KEY: Final = ("run_id", "task_id")
TASK_CHANGES: Final = ("status", "reason", "tries", "outputs", "data", "cancellation")
TASK_DEFINITION: Final = ("task", "version", "planned")
TASK_COLUMNS: Final = (*TASK_KEY, "position", "iteration", *TASK_DEFINITION, *TASK_CHANGES)
ATTEMPT_CHANGES: Final = (
    "job_id", "state", "raw_state", "reason", "exit_code", "host",
    "submitted_at", "started_at", "ended_at", "manifest_sha256", "last_words",
    "definition", "resubmission",
)  # fmt: skip
ATTEMPT_COLUMNS: Final = (
    "token", "run_id", "task_id", "n", "backend", "resources", "prepared_at", "batch", "batch_index",
    "nonce_sha256", "version",
    *ATTEMPT_CHANGES,
)  # fmt: skip


def _insert(table: str, columns: tuple[str, ...]) -> str:
    marks = ", ".join("?" * len(columns))
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608  only our own names


def _update(table: str, columns: tuple[str, ...], key: tuple[str, ...]) -> str:
    sets = ", ".join(f"{column} = ?" for column in columns)
    where = " AND ".join(f"{column} = ?" for column in key)
    return f"UPDATE {table} SET {sets} WHERE {where}"  # noqa: S608  only our own names


_SETS: Final = ", ".join(f"{column} = excluded.{column}" for column in RUN_COLUMNS[1:])
UPSERT_RUN: Final = f"{_insert('runs', RUN_COLUMNS)} ON CONFLICT (run_id) DO UPDATE SET {_SETS}"
INSERT_TASK: Final = _insert("tasks", TASK_COLUMNS)
UPDATE_TASK: Final = _update("tasks", TASK_CHANGES, TASK_KEY)
UPDATE_DEFINITION: Final = _update("tasks", TASK_DEFINITION, TASK_KEY)
INSERT_ATTEMPT: Final = _insert("attempts", ATTEMPT_COLUMNS)
UPDATE_ATTEMPT: Final = _update("attempts", ATTEMPT_CHANGES, ("token",))


def run_row(state: RunState) -> Row:
    """The row of a run, in the order of `RUN_COLUMNS`."""
    return (
        state.run_id,
        state.workspace,
        dumps(state.config),
        state.status.value,
        state.status_reason,
        state.phase.value,
        state.iteration,
        dumps(state.stage_names),
        dumps(state.campaign_state),
        dumps(state.base_state),
        state.ending.value if state.ending else None,
        state.ending_reason,
        state.created_at,
        encode(state.holding) if state.holding != Holding() else "{}",
        encode(state.code),
    )


def task_row(run_id: RunId, task: TaskState) -> Row:
    """The row of a task, in the order of `TASK_COLUMNS`."""
    key = (run_id, task.task.id)
    return (*key, task.position, task.iteration, *_definition(task), *_task_changes(task))


def task_change(run_id: RunId, task: TaskState) -> Row:
    """What may have changed of a task that is there already, for `UPDATE_TASK`."""
    return (*_task_changes(task), run_id, task.task.id)


def task_definition(run_id: RunId, task: TaskState) -> Row:
    """What a task is, for `UPDATE_DEFINITION`: it changes seldom, and is large."""
    return (*_definition(task), run_id, task.task.id)


def _definition(task: TaskState) -> Row:
    return (encode(task.task), task.version, None if task.planned is None else encode(task.planned))


def _task_changes(task: TaskState) -> Row:
    outputs = encode(task.outputs) if task.outputs else "[]"
    why = "null" if task.cancellation is None else encode(task.cancellation)
    return (task.status.value, task.reason, task.tries, outputs, dumps(task.data), why)


def attempt_row(run_id: RunId, attempt: AttemptState) -> Row:
    """The row of an attempt, in the order of `ATTEMPT_COLUMNS`."""
    return (
        attempt.token,
        run_id,
        attempt.task_id,
        attempt.n,
        attempt.backend,
        encode(attempt.resources),
        attempt.prepared_at,
        attempt.batch,
        attempt.index,
        attempt.nonce_sha256,
        attempt.version,
        *_attempt_changes(attempt),
    )


def attempt_change(attempt: AttemptState) -> Row:
    """What may have changed of an attempt that is there already, for `UPDATE_ATTEMPT`."""
    return (*_attempt_changes(attempt), attempt.token)


def _attempt_changes(attempt: AttemptState) -> Row:
    return (
        attempt.job_id,
        attempt.state.value if attempt.state else None,
        attempt.raw_state,
        attempt.reason,
        attempt.exit_code,
        attempt.host,
        attempt.submitted_at,
        attempt.started_at,
        attempt.ended_at,
        attempt.manifest_sha256,
        attempt.last_words,
        None if attempt.definition is None else encode(attempt.definition),
        None if attempt.resubmission is None else encode(attempt.resubmission),
    )


def load_run(connection: sqlite3.Connection, run_id: RunId) -> RunState | None:
    """Load a run from its snapshot, in one read transaction; None when there is no such run.

    Raises:
        DatabaseCorruptError: its rows hold what was never written into them.
    """
    connection.execute("BEGIN")
    try:
        with readable_rows(connection, f"run {run_id}"):
            return _load(connection, run_id)
    finally:
        connection.execute("COMMIT")


def _load(connection: sqlite3.Connection, run_id: RunId) -> RunState | None:
    row = _select(connection, "runs", RUN_COLUMNS, run_id, "run_id").fetchone()
    if row is None:
        return None
    updated = connection.execute(
        "SELECT at FROM events WHERE run_id = ? ORDER BY seq DESC LIMIT 1", (run_id,)
    ).fetchone()
    state = _run_state(row, updated[0] if updated else row[RUN_COLUMNS.index("created_at")])
    for task_row_ in _select(connection, "tasks", TASK_COLUMNS, run_id, "position"):
        insert_task(state, _task_state(task_row_))
    for attempt_row_ in _select(connection, "attempts", ATTEMPT_COLUMNS, run_id, "task_id, n"):
        attempt = _attempt_state(attempt_row_)
        state.tasks[attempt.task_id].attempts.append(attempt)
        note_node(state, attempt)
        if attempt.ended_at is None:
            insert_live(state, attempt)
    for task in state.tasks.values():
        index_task(state, task)
        last = task.last_attempt
        if task.status is TaskStatus.ACTIVE and last is not None and last.ended_at is not None:
            state.collecting[task.task.id] = None
    return state


def _select(
    connection: sqlite3.Connection, table: str, columns: tuple[str, ...], run_id: RunId, order: str
) -> sqlite3.Cursor:
    sql = f"SELECT {', '.join(columns)} FROM {table} WHERE run_id = ? ORDER BY {order}"  # noqa: S608
    return connection.execute(sql, (run_id,))


def _run_state(row: Row, updated_at: str) -> RunState:
    r = dict(zip(RUN_COLUMNS, row, strict=True))
    return RunState(
        run_id=r["run_id"],
        workspace=r["workspace"],
        config=json.loads(r["config"]),
        status=RunStatus(r["status"]),
        status_reason=r["status_reason"],
        phase=Phase(r["phase"]),
        iteration=r["iteration"],
        stage_names=json.loads(r["stage_names"]),
        campaign_state=json.loads(r["campaign_state"]),
        base_state=json.loads(r["base_state"]),
        code=decode(r["code"], KnownCode),
        ending=RunStatus(r["ending"]) if r["ending"] else None,
        ending_reason=r["ending_reason"],
        created_at=r["created_at"],
        holding=decode(r["holding"], Holding),
        updated_at=updated_at,  # type: ignore[arg-type]
    )


def _task_state(row: Row) -> TaskState:
    t = dict(zip(TASK_COLUMNS, row, strict=True))
    return TaskState(
        task=decode(t["task"], Task),
        position=t["position"],
        iteration=t["iteration"],
        status=TaskStatus(t["status"]),
        reason=t["reason"],
        tries=t["tries"],
        outputs=decode(t["outputs"], tuple[OutputFile, ...]),
        data=json.loads(t["data"]),
        cancellation=None if t["cancellation"] == "null" else decode(t["cancellation"], Cancellation),
        version=t["version"],
        planned=decode(t["planned"], Task) if t["planned"] else None,
    )


def _attempt_state(row: Row) -> AttemptState:
    a = dict(zip(ATTEMPT_COLUMNS, row, strict=True))
    del a["run_id"]
    a["index"] = a.pop("batch_index")
    a["resources"] = decode(a["resources"], Resources)
    a["definition"] = decode(a["definition"], Task) if a["definition"] else None
    a["resubmission"] = decode(a["resubmission"], Resubmission) if a["resubmission"] else None
    a["state"] = JobState(a["state"]) if a["state"] else None
    return AttemptState(**a)
