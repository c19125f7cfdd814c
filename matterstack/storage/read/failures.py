"""Failed tasks of a run, those together that failed alike."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Final

import attrs

from matterstack.core.ids import RunId, TaskId

MOST_KINDS: Final = 5


@attrs.frozen
class FailedAlike:
    """Tasks that failed for the same reason with the same last words, but for the names of their folders.

    Those whose jobs said nothing are counted with others of the same reason.  ``task_id``: the first of them.
    """

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
        GROUP BY
            t.reason, replace(coalesce(a.last_words, ''), '/tasks/' || t.task_id || '/' || a.n || '/', '/')
        ORDER BY alike DESC, min(t.position)
        """,
        (run_id,),
    ).fetchall()
    found = [FailedAlike(TaskId(row[1]), row[2], row[3], row[4]) for row in rows]
    kinds = sorted(_joined(found), key=lambda kind: -kind.count)
    left_out = sum(kind.count for kind in kinds[MOST_KINDS:])
    return Failures(run_id, tuple(kinds[:MOST_KINDS]), left_out)


def _joined(kinds: Sequence[FailedAlike]) -> Iterator[FailedAlike]:
    """Count those that said nothing with the most frequent ones of the same reason that said something."""
    told = {kind.reason for kind in kinds if kind.last_words}
    silent = {kind.reason: kind.count for kind in kinds if not kind.last_words}
    for kind in kinds:
        if kind.last_words:
            yield attrs.evolve(kind, count=kind.count + silent.pop(kind.reason, 0))
        elif kind.reason not in told:
            yield kind
