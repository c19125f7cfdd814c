"""Failed tasks of a run, those together that failed alike."""

from __future__ import annotations

import sqlite3
from typing import Final

import attrs

from matterstack.core.ids import RunId, TaskId

MOST_KINDS: Final = 5


@attrs.frozen
class FailedAlike:
    """Tasks that failed for the same reason with the same last words; ``task_id``: the first of them."""

    task_id: TaskId
    reason: str
    last_words: str
    count: int


@attrs.frozen
class Failures:
    """How tasks of a run have failed.

    Attributes:
        kinds: the most frequent ones.
        left_out: how many tasks failed in other ways.
    """

    run_id: RunId
    kinds: tuple[FailedAlike, ...]
    left_out: int


def failures(connection: sqlite3.Connection, run_id: RunId) -> Failures:
    """Read how the failed tasks of a run have failed."""
    rows = connection.execute(
        """
        SELECT min(t.position), t.task_id, t.reason, coalesce(a.last_words, ''), count(*) AS alike
        FROM tasks t LEFT JOIN attempts a ON a.run_id = t.run_id AND a.task_id = t.task_id
            AND a.n = (SELECT max(n) FROM attempts m WHERE m.run_id = t.run_id AND m.task_id = t.task_id)
        WHERE t.run_id = ? AND t.status = 'FAILED'
        GROUP BY t.reason, coalesce(a.last_words, '')
        ORDER BY alike DESC, min(t.position)
        """,
        (run_id,),
    ).fetchall()
    kinds = tuple(FailedAlike(TaskId(row[1]), row[2], row[3], row[4]) for row in rows[:MOST_KINDS])
    return Failures(run_id, kinds, sum(row[4] for row in rows[MOST_KINDS:]))
