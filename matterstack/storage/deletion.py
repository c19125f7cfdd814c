"""What is left to do when a run is deleted: its rows, its files, and the room that they took.

The rows go in the transaction that stores `RunDeleted`, together with a note of what must go afterwards.  The
files go next, and then the note: whoever finds one finishes what a crash has left.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import attrs

from matterstack.core.errors import StoreError
from matterstack.core.ids import RunId, UtcTime
from matterstack.core.run.facts import RunDeleted
from matterstack.core.run.numbers import numbers_text
from matterstack.storage.crash_points import crash_point
from matterstack.storage.heads import head_of
from matterstack.storage.journal import Append
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


@contextmanager
def relaxed(connection: sqlite3.Connection) -> Iterator[None]:
    """A block whose commits need not outlive a power cut: hundreds of them then take no time."""
    (usual,) = connection.execute("PRAGMA synchronous").fetchone()
    connection.execute("PRAGMA synchronous = NORMAL")
    try:
        yield
    finally:
        connection.execute(f"PRAGMA synchronous = {usual}")


def deletion_of(
    connection: sqlite3.Connection,
    root: Root,
    lease: Lease,
    workspace: str,
    *,
    by: str,
    at: UtcTime,
    keeps_evidence: bool,
    forgotten: bool,
) -> tuple[RunDeleted, Append]:
    """What says that a run is deleted, and how that is stored, with nothing else of it left.

    Where the process dies when that is committed, all of the run is there, or `unfinished` names it.

    Raises:
        DatabaseCorruptError: the run has no events.
    """
    run_id = lease.run_id
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
    return fact, append


def unfinished(connection: sqlite3.Connection) -> list[Unfinished]:
    """Deletions of which files may be left."""
    rows = connection.execute("SELECT run_id, workspace, keeps_evidence FROM deletions ORDER BY run_id")
    return [Unfinished(run_id=row[0], workspace=row[1], keeps_evidence=bool(row[2])) for row in rows]


def finish(connection: sqlite3.Connection, root: Root, ones: Sequence[Unfinished]) -> list[StoreError]:
    """Remove what is left of the folders of deleted runs, and the notes that they are to go.

    Once more is the same.  Returns what cannot be removed, and why: those notes stay.

    Raises:
        StoreError: the store cannot be written.
    """
    problems: list[StoreError] = []
    done: list[tuple[RunId]] = []
    for one in ones:
        crash_point("before_removal")
        folder = root.run_folder(one.workspace, one.run_id).path
        try:
            _empty(folder, {"evidence", f"{one.run_id}.zip"} if one.keeps_evidence else set())
        except OSError as error:
            problems.append(_not_removed(one, folder, error))
            continue
        with suppress(OSError):
            (root.locks / f"{one.run_id}.lock").unlink()
        done.append((one.run_id,))
    with translated_errors(root.database), relaxed(connection):
        for run in done:
            connection.execute("DELETE FROM deletions WHERE run_id = ?", run)
    return problems


def _empty(folder: Path, kept: Collection[str]) -> None:
    """Remove a folder; or all that is in it, but what is kept."""
    for path in _inside(folder):
        if path.name not in kept:
            _remove(path)
    if not _inside(folder):
        with suppress(FileNotFoundError):
            folder.unlink() if folder.is_symlink() else folder.rmdir()


def _not_removed(one: Unfinished, folder: Path, error: OSError) -> StoreError:
    return StoreError(
        f"{error.filename or folder}: cannot be removed: {error.strerror or error}",
        hint=f"run {one.run_id} is deleted; what is left of its folder goes with the next `run delete`",
    )


def finish_all(connection: sqlite3.Connection, root: Root) -> list[str]:
    """Finish what a crash has left; returns what could not be, in words."""
    with translated_errors(root.database):
        left = unfinished(connection)
    return [f"{error}; {error.hint}" for error in finish(connection, root, left)]


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
