"""Tasks of a run and their attempts, as the store has them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from matterstack.core.errors import NotFoundError
from matterstack.core.ids import RunId, TaskId, Token
from matterstack.core.operators import ASKED
from matterstack.core.run.allowed import RETRIABLE_TASKS
from matterstack.core.states import JobState, TaskStatus
from matterstack.storage.read.transactions import one_moment

Json = dict[str, Any]

_SHOWN_KEYS: Final = (
    "n", "token", "backend", "job_id", "state", "raw_state", "reason", "exit_code", "host",
    "prepared_at", "submitted_at", "started_at", "ended_at", "last_words",
)  # fmt: skip
MOST_WORDS: Final = 240
"""Characters of last words in a row: hundreds of rows go into one frame.  All of them stand in its end."""
SHOWN_ATTEMPT: Final = f"run_id, task_id, {', '.join(_SHOWN_KEYS[:-1])}, substr(last_words, -{MOST_WORDS})"
"""Columns of what is shown of an attempt."""
SHOWN_TASK: Final = (
    "run_id, task_id, position, iteration, status, reason, json_extract(task, '$.depends_on'), "
    "json_extract(task, '$.inputs'), json_extract(task, '$.allow_failure'), json_extract(task, '$.operator')"
)
"""Columns of what is shown of a task; of its JSON only what is needed, for its params may be large."""


def task_list(connection: sqlite3.Connection, run_id: RunId) -> list[dict[str, Any]]:
    """The objects that ``run tasks --json`` prints."""
    with one_moment(connection):
        attempts: dict[str, list[dict[str, Any]]] = {}
        keys = (
            "n", "token", "backend", "job_id", "state", "raw_state", "reason", "exit_code", "host",
            "submitted_at", "started_at", "ended_at", "resources", "last_words",
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


def task_statuses(
    connection: sqlite3.Connection, run_id: RunId, task_ids: Sequence[TaskId]
) -> dict[TaskId, TaskStatus]:
    """Where these tasks of a run stand."""
    rows = connection.execute(
        "SELECT task_id, status FROM tasks "
        "WHERE run_id = ? AND task_id IN (SELECT value FROM json_each(?)) ORDER BY position",
        (run_id, json.dumps(list(task_ids))),
    )
    return {TaskId(task_id): TaskStatus(status) for task_id, status in rows}


@attrs.frozen(kw_only=True)
class GivenUp:
    """What has become of attempts that were to be given up before they begin.

    Attributes:
        over: they were given up.
        begun: they had begun, and went on as they were submitted.
        asked: nobody knows yet.
    """

    over: Sequence[TaskId] = ()
    begun: Sequence[TaskId] = ()
    asked: Sequence[TaskId] = ()

    def as_json(self) -> dict[str, list[TaskId]]:
        """The object that commands print."""
        return {"given_up": list(self.over), "begun": list(self.begun), "asked": list(self.asked)}


def given_up(connection: sqlite3.Connection, run_id: RunId, attempts: Sequence[Token]) -> GivenUp:
    """How it stands with attempts that somebody wants given up before they begin."""
    rows = connection.execute(
        "SELECT task_id, resubmission IS NULL, ended_at IS NULL FROM attempts "
        "WHERE run_id = ? AND token IN (SELECT value FROM json_each(?)) ORDER BY task_id",
        (run_id, json.dumps(list(attempts))),
    ).fetchall()
    return GivenUp(
        over=[task_id for task_id, is_left, is_live in rows if not is_left and not is_live],
        begun=[task_id for task_id, is_left, _ in rows if is_left],
        asked=[task_id for task_id, is_left, is_live in rows if not is_left and is_live],
    )


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


def attempt_has_ended(connection: sqlite3.Connection, run_id: RunId, task_id: TaskId, n: int) -> bool:
    """Whether an attempt is over."""
    row = connection.execute(
        "SELECT ended_at FROM attempts WHERE run_id = ? AND task_id = ? AND n = ?", (run_id, task_id, n)
    ).fetchone()
    return row is not None and row[0] is not None


def attempt_has_failed(connection: sqlite3.Connection, run_id: RunId, task_id: TaskId, n: int) -> bool:
    """Whether an attempt is over and was not enough: its job failed, or its task with it."""
    row = connection.execute(
        "SELECT a.state, t.status = 'FAILED' AND a.n = (SELECT max(n) FROM attempts m WHERE "
        "m.run_id = a.run_id AND m.task_id = a.task_id) FROM attempts a JOIN tasks t USING (run_id, task_id) "
        "WHERE a.run_id = ? AND a.task_id = ? AND a.n = ? AND a.ended_at IS NOT NULL",
        (run_id, task_id, n),
    ).fetchone()
    return row is not None and (bool(row[1]) or row[0] != JobState.COMPLETED_OK.value)


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


def task_count(connection: sqlite3.Connection, run_id: RunId) -> int:
    """How many tasks a run has."""
    return int(connection.execute("SELECT count(*) FROM tasks WHERE run_id = ?", (run_id,)).fetchone()[0])


def task_graph(connection: sqlite3.Connection, run_id: RunId, most: int) -> list[Json]:
    """The first tasks of a run, with what each depends on, and its attempts without what is empty in them."""
    attempts: dict[TaskId, list[Json]] = {}
    for _, task_id, *columns in connection.execute(
        f"SELECT {SHOWN_ATTEMPT} FROM attempts WHERE run_id = ? ORDER BY task_id, n",  # noqa: S608
        (run_id,),
    ):
        attempts.setdefault(task_id, []).append(shown_attempt(columns))
    rows = connection.execute(
        f"SELECT {SHOWN_TASK} FROM tasks WHERE run_id = ? ORDER BY position LIMIT ?",  # noqa: S608
        (run_id, most),
    )
    return [{**shown_task(row), "attempts": attempts.get(row[1], [])} for row in rows]


def shown_task(row: Sequence[Any]) -> Json:
    """What is shown of a task, from the columns of `SHOWN_TASK`."""
    _, task_id, position, iteration, status, reason, depends_on, inputs, allow_failure, operator = row
    return {
        "task_id": task_id,
        "position": position,
        "iteration": iteration,
        "status": status,
        "reason": reason,
        "depends_on": _dependencies(json.loads(depends_on or "[]"), json.loads(inputs or "{}")),
        "may_fail": bool(allow_failure) and operator != "gate",
        "operator": operator,
        "retriable": TaskStatus(status) in RETRIABLE_TASKS,
    }


def _dependencies(depends_on: Sequence[str], inputs: Mapping[str, str]) -> list[str]:
    sources = (source.partition("/")[0] for source in inputs.values())
    return list(dict.fromkeys((*depends_on, *sources)))


def shown_attempt(columns: Sequence[Any]) -> Json:
    """What is shown of an attempt, from the columns of `SHOWN_ATTEMPT` after its run and task."""
    shown = {
        name: value
        for name, value in zip(_SHOWN_KEYS, columns, strict=True)
        if value is not None and value != ""
    }
    if len(words := shown.get("last_words", "")) >= MOST_WORDS:  # they were cut, maybe within a line
        shown["last_words"] = words.partition("\n")[2] or words
    return shown


def asking_tasks(connection: sqlite3.Connection, run_id: RunId) -> list[TaskId]:
    """Tasks of a run that wait for an answer, in the order of its tasks."""
    rows = connection.execute(
        "SELECT a.task_id FROM attempts a JOIN tasks t USING (run_id, task_id) "
        "WHERE a.run_id = ? AND a.backend = ? AND a.ended_at IS NULL ORDER BY t.position",
        (run_id, ASKED),
    )
    return [TaskId(task_id) for (task_id,) in rows]
