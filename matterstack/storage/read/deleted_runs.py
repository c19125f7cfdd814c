"""Runs that were deleted, of which one last event tells."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import attrs

from matterstack.core.errors import NotFoundError
from matterstack.core.ids import RunId, UtcTime

if TYPE_CHECKING:
    from matterstack.core.run.facts import RunDeleted

DELETED: Final = "RunDeleted"
_LAST: Final = "SELECT at, type, data FROM events WHERE run_id = ? ORDER BY seq DESC LIMIT 1"


@attrs.frozen
class DeletedRun:
    """What is left of a run in the store."""

    at: UtcTime
    fact: RunDeleted


def deleted_run(connection: sqlite3.Connection, run_id: RunId) -> DeletedRun | None:
    """What is left of a run that was deleted; None where it was not."""
    row = connection.execute(_LAST, (run_id,)).fetchone()
    if row is None or row[1] != DELETED:
        return None
    return DeletedRun(UtcTime(row[0]), _decoded(row[2]))


def all_deleted(connection: sqlite3.Connection) -> list[RunDeleted]:
    """What each deletion says; of what cannot be read, whoever reads all events tells."""
    found: list[RunDeleted] = []
    for (data,) in connection.execute("SELECT data FROM events WHERE type = ? ORDER BY seq", (DELETED,)):
        with suppress(Exception):  # whatever decoding makes of what nobody encoded
            found.append(_decoded(data))
    return found


def _decoded(data: str) -> RunDeleted:
    # Few who look at runs come across one: the facts take longer to load than the runs to list.
    from matterstack.core.run.facts import RunDeleted
    from matterstack.storage.codec import decode

    fact: RunDeleted = decode(data, RunDeleted)
    return fact


def no_such_run(connection: sqlite3.Connection, run_id: RunId) -> NotFoundError:
    """Say that there is no such run, and what became of it where that is known."""
    deleted = deleted_run(connection, run_id)
    if deleted is None:
        return NotFoundError(f"no run {run_id}", hint="list them with: matterstack run list")
    word = "forgotten" if deleted.fact.forgotten else "deleted"
    return NotFoundError(
        f"no run {run_id}: it was {word} by {deleted.fact.by} at {deleted.at}",
        hint="an archive of it can be looked at: matterstack run import FILE"
        if not deleted.fact.forgotten
        else "",
    )
