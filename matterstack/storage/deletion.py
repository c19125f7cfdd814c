"""What is left to do when a run is deleted: its rows, its files, and the room that they took.

The rows go in the transaction that stores `RunDeleted`, together with a note of what must go afterwards.  The
files go next, and then the note: whoever finds one finishes what a crash has left.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import attrs

from matterstack.core.errors import MatterStackError, StoreError
from matterstack.core.ids import RunId, UtcTime
from matterstack.core.run.facts import RunDeleted
from matterstack.core.run.numbers import numbers_text
from matterstack.storage.crash_points import crash_point
from matterstack.storage.heads import head_of
from matterstack.storage.journal import Append, commit
from matterstack.storage.layout import Root
from matterstack.storage.leases import Lease
from matterstack.storage.schema import corrupt, translated_errors

PAGES_AT_ONCE: Final = 2000
"""8 MB of a store: others write in between."""
_INCREMENTAL: Final = 2
_NUMBERS: Final = "SELECT seq FROM events WHERE run_id = ? ORDER BY seq"


@attrs.frozen(kw_only=True)
class Unfinished:
    """A run that the store has no more, and whose folder is to go."""

    run_id: RunId
    workspace: str
    keeps_evidence: bool


def delete_rows(
    connection: sqlite3.Connection,
    root: Root,
    lease: Lease,
    workspace: str,
    *,
    by: str,
    at: UtcTime,
    keeps_evidence: bool,
    forgotten: bool,
) -> RunDeleted:
    """Store that a run is deleted, and nothing else of it any more.

    If the process dies in here, all of the run is there, or `unfinished` names it.

    Raises:
        LeaseLostError: another process has taken it over.
        StoreError: the store cannot be written.
    """
    run_id = lease.run_id
    with translated_errors(root.database):
        head = head_of(connection, run_id)
        numbers = [seq for (seq,) in connection.execute(_NUMBERS, (run_id,))]
    if head is None or not numbers:
        raise corrupt(root.database, f"run {run_id} has no events")
    fact = RunDeleted(
        workspace=workspace,
        head=head.head,
        events=len(numbers),
        numbers=numbers_text(numbers),
        by=by,
        forgotten=forgotten,
    )
    append = Append(
        run_id=run_id,
        epoch=lease.epoch,
        facts=[(at, fact)],
        may_submit=False,
        deletes=True,
        keeps_evidence=keeps_evidence,
    )
    for outcome in commit(connection, root.database, [append]):
        if isinstance(outcome, MatterStackError):
            raise outcome
    return fact


def unfinished(connection: sqlite3.Connection) -> list[Unfinished]:
    """Deletions of which files may be left."""
    rows = connection.execute("SELECT run_id, workspace, keeps_evidence FROM deletions ORDER BY run_id")
    return [Unfinished(run_id=row[0], workspace=row[1], keeps_evidence=bool(row[2])) for row in rows]


def finish(connection: sqlite3.Connection, root: Root, one: Unfinished) -> None:
    """Remove what is left of a deleted run's folder, and the note that it is to go.  Once more is the same.

    Raises:
        StoreError: not all of it can be removed; the note stays.
    """
    folder = root.run_folder(one.workspace, one.run_id).path
    kept = {"evidence", f"{one.run_id}.zip"} if one.keeps_evidence else set()
    crash_point("before_removal")
    try:
        for path in _inside(folder):
            if path.name not in kept:
                _remove(path)
        if not _inside(folder):
            with suppress(FileNotFoundError):
                folder.unlink() if folder.is_symlink() else folder.rmdir()
    except OSError as error:
        raise StoreError(
            f"{error.filename or folder}: cannot be removed: {error.strerror or error}",
            hint=f"run {one.run_id} is deleted; what is left of its folder goes with the next `run delete`",
        ) from error
    with suppress(OSError):
        (root.locks / f"{one.run_id}.lock").unlink()
    with translated_errors(root.database):
        connection.execute("DELETE FROM deletions WHERE run_id = ?", (one.run_id,))


def finish_all(connection: sqlite3.Connection, root: Root) -> Iterator[str]:
    """Finish what a crash has left; gives what could not be, in words."""
    with translated_errors(root.database):
        left = unfinished(connection)
    for one in left:
        try:
            finish(connection, root, one)
        except StoreError as error:
            yield f"{error}; {error.hint}"


def shrink(connection: sqlite3.Connection, root: Root) -> None:
    """Give the room that was freed back to the file system.

    The first time in a store, SQLite writes all of it anew (VACUUM), and from then on it frees pages in steps
    (incremental vacuum), with others writing in between: sqlite.org/pragma.html.

    Raises:
        StoreError: somebody kept the store locked for too long; nothing is lost, the next deletion frees it.
    """
    with translated_errors(root.database):
        (mode,) = connection.execute("PRAGMA auto_vacuum").fetchone()
        if mode != _INCREMENTAL:
            connection.execute(f"PRAGMA auto_vacuum = {_INCREMENTAL}")
            connection.execute("VACUUM")
        while connection.execute("PRAGMA freelist_count").fetchone()[0]:
            connection.execute(f"PRAGMA incremental_vacuum({PAGES_AT_ONCE})").fetchall()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _inside(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)  # follows no link
    else:
        path.unlink(missing_ok=True)
