"""Labels and notes of runs: what people say of them, beside their history and no part of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

import attrs

from matterstack.core.errors import RefusedError
from matterstack.core.ids import RunId, UtcTime
from matterstack.storage.read.deleted_runs import no_such_run

MOST_LABELS: Final = 50
"""Of one run."""


@attrs.frozen
class Said:
    """A label or a note, with who said it (last) and when."""

    text: str
    by: str
    at: UtcTime


@attrs.frozen
class Labelling:
    """All that is said of a run; ``note`` is None where none is."""

    labels: tuple[Said, ...]
    note: Said | None


def read_labelling(connection: sqlite3.Connection, run_id: RunId) -> Labelling:
    """What is said of a run now, labels sorted."""
    labels = connection.execute(
        "SELECT label, by, at FROM labels WHERE run_id = ? ORDER BY label", (run_id,)
    ).fetchall()
    note = connection.execute("SELECT note, by, at FROM notes WHERE run_id = ?", (run_id,)).fetchone()
    return Labelling(tuple(Said(*row) for row in labels), None if note is None else Said(*note))


def change_labels(
    connection: sqlite3.Connection,
    run_id: RunId,
    added: Sequence[Said],
    removed: Sequence[str],
    note: Said | None,
) -> Labelling:
    """Add and remove labels, and replace the note, in one transaction; returns what is said then.

    A label that is there already keeps who said it first; one that is not there need not be removed.

    Args:
        note: an empty one takes it away; None leaves it as it is.

    Raises:
        NotFoundError: there is no such run.
        RefusedError: there would be more than `MOST_LABELS`.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        if connection.execute("SELECT 1 FROM runs WHERE run_id = ?", (run_id,)).fetchone() is None:
            raise no_such_run(connection, run_id)
        connection.executemany(
            "DELETE FROM labels WHERE run_id = ? AND label = ?", [(run_id, label) for label in removed]
        )
        connection.executemany(
            "INSERT OR IGNORE INTO labels (run_id, label, by, at) VALUES (?, ?, ?, ?)",
            [(run_id, label.text, label.by, label.at) for label in added],
        )
        if note is not None:
            connection.execute("DELETE FROM notes WHERE run_id = ?", (run_id,))
        if note is not None and note.text:
            connection.execute(
                "INSERT INTO notes (run_id, note, by, at) VALUES (?, ?, ?, ?)",
                (run_id, note.text, note.by, note.at),
            )
        now = read_labelling(connection, run_id)
        if len(now.labels) > MOST_LABELS:
            raise RefusedError(f"run {run_id} would have {len(now.labels)} labels; {MOST_LABELS} is the most")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return now
