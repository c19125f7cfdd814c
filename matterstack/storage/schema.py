"""The database: its tables, their versions, and how it is opened."""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Final

import attrs

from matterstack.core.errors import (
    DatabaseCorruptError,
    DatabaseVersionError,
    DiskFullError,
    MatterStackError,
    StoreError,
)
from matterstack.core.shown_text import brief
from matterstack.storage.filesystems import file_system_type, is_network
from matterstack.storage.modes import make_folders, open_shared

logger: Final = logging.getLogger(__name__)

_CHAIN: Final = """
    CREATE TABLE chained_events (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        run_id TEXT NOT NULL,
        at TEXT NOT NULL,
        type TEXT NOT NULL,
        previous TEXT CONSTRAINT "a newer MatterStack has brought it up to date: end this process"
            CHECK (previous IS NOT NULL),
        data TEXT NOT NULL
    );
    CREATE TABLE heads (
        run_id TEXT PRIMARY KEY,
        seq INTEGER NOT NULL,
        head TEXT NOT NULL,
        chained_to INTEGER NOT NULL DEFAULT 0
    ) WITHOUT ROWID
    """
"""After it the events that are there are chained.  The constraint has the words for who does not chain."""

MIGRATIONS: Final = (
    """
    CREATE TABLE runs (
        run_id TEXT PRIMARY KEY,
        workspace TEXT NOT NULL,
        config TEXT NOT NULL,
        status TEXT NOT NULL,
        status_reason TEXT NOT NULL,
        phase TEXT NOT NULL,
        iteration INTEGER NOT NULL,
        stage_names TEXT NOT NULL,
        campaign_state TEXT NOT NULL,
        base_state TEXT NOT NULL,
        ending TEXT,
        ending_reason TEXT NOT NULL,
        created_at TEXT NOT NULL,
        lease_epoch INTEGER NOT NULL DEFAULT 0,
        lease_host TEXT,
        lease_boot_id TEXT,
        lease_pid INTEGER
    );
    CREATE TABLE tasks (
        run_id TEXT NOT NULL,
        task_id TEXT NOT NULL,
        position INTEGER NOT NULL,
        iteration INTEGER NOT NULL,
        task TEXT NOT NULL,
        status TEXT NOT NULL,
        reason TEXT NOT NULL,
        tries INTEGER NOT NULL,
        outputs TEXT NOT NULL,
        data TEXT NOT NULL,
        PRIMARY KEY (run_id, task_id)
    ) WITHOUT ROWID;
    CREATE INDEX tasks_by_status ON tasks (run_id, status);
    CREATE TABLE attempts (
        token TEXT PRIMARY KEY,
        run_id TEXT NOT NULL,
        task_id TEXT NOT NULL,
        n INTEGER NOT NULL,
        backend TEXT NOT NULL,
        resources TEXT NOT NULL,
        prepared_at TEXT NOT NULL,
        batch TEXT,
        batch_index INTEGER NOT NULL,
        job_id TEXT,
        state TEXT,
        raw_state TEXT NOT NULL,
        reason TEXT NOT NULL,
        exit_code INTEGER,
        host TEXT,
        submitted_at TEXT,
        started_at TEXT,
        ended_at TEXT,
        manifest_sha256 TEXT
    ) WITHOUT ROWID;
    CREATE INDEX attempts_by_task ON attempts (run_id, task_id, n);
    CREATE INDEX attempts_live ON attempts (backend) WHERE ended_at IS NULL;
    CREATE TABLE events (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        run_id TEXT NOT NULL,
        at TEXT NOT NULL,
        type TEXT NOT NULL,
        data TEXT NOT NULL
    );
    CREATE INDEX events_by_run ON events (run_id, seq);
    CREATE TABLE commands (
        id TEXT PRIMARY KEY,
        run_id TEXT NOT NULL,
        type TEXT NOT NULL,
        data TEXT NOT NULL,
        by TEXT NOT NULL,
        created_at TEXT NOT NULL,
        outcome TEXT
    );
    CREATE INDEX commands_open ON commands (run_id, created_at) WHERE outcome IS NULL;
    """,
    """
    CREATE TABLE claims (
        backend TEXT NOT NULL,
        run_id TEXT NOT NULL,
        wanted INTEGER NOT NULL,
        weight INTEGER NOT NULL,
        served_at TEXT NOT NULL,
        PRIMARY KEY (backend, run_id)
    ) WITHOUT ROWID
    """,
    """
    ALTER TABLE claims ADD COLUMN sharer TEXT NOT NULL DEFAULT '';
    ALTER TABLE claims ADD COLUMN turn_at TEXT NOT NULL DEFAULT ''
    """,
    """
    CREATE TABLE changes (
        seq INTEGER NOT NULL,
        run_id TEXT NOT NULL,
        task_id TEXT NOT NULL,
        PRIMARY KEY (seq, run_id, task_id)
    ) WITHOUT ROWID;
    INSERT INTO changes
        SELECT (SELECT coalesce(max(seq), 0) FROM events e WHERE e.run_id = t.run_id), run_id, task_id
        FROM tasks t
    """,
    _CHAIN,
    """
    ALTER TABLE attempts ADD COLUMN nonce_sha256 TEXT;
    CREATE TABLE root_key (key TEXT NOT NULL);
    INSERT INTO root_key VALUES (lower(hex(randomblob(32))))
    """,
    """
    CREATE INDEX runs_by_created ON runs (created_at);
    CREATE INDEX runs_by_workspace ON runs (workspace, created_at);
    CREATE INDEX runs_by_status ON runs (status, created_at);
    CREATE TABLE labels (
        label TEXT NOT NULL,
        run_id TEXT NOT NULL,
        by TEXT NOT NULL,
        at TEXT NOT NULL,
        PRIMARY KEY (run_id, label)
    ) WITHOUT ROWID;
    CREATE INDEX labels_by_label ON labels (label, run_id);
    CREATE TABLE notes (
        run_id TEXT PRIMARY KEY,
        note TEXT NOT NULL,
        by TEXT NOT NULL,
        at TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE run_keys (
        key TEXT PRIMARY KEY,
        run_id TEXT NOT NULL UNIQUE,
        overrides TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE deletions (
        run_id TEXT PRIMARY KEY,
        workspace TEXT NOT NULL,
        keeps_evidence INTEGER NOT NULL
    ) WITHOUT ROWID
    """,
    """
    ALTER TABLE attempts ADD COLUMN last_words TEXT NOT NULL DEFAULT ''
    """,
    """
    ALTER TABLE tasks ADD COLUMN cancellation TEXT NOT NULL DEFAULT 'null'
    """,
    """
    ALTER TABLE runs ADD COLUMN holding TEXT NOT NULL DEFAULT '{}'
    """,
    """
    ALTER TABLE tasks ADD COLUMN version INTEGER NOT NULL DEFAULT 1;
    ALTER TABLE attempts ADD COLUMN version INTEGER NOT NULL DEFAULT 1;
    ALTER TABLE attempts ADD COLUMN definition TEXT
    """,
    """
    ALTER TABLE runs ADD COLUMN code TEXT NOT NULL DEFAULT '{}';
    UPDATE runs SET code = coalesce((
        SELECT json_object('files', json_extract(data, '$.sources'), 'unkept', json('[]'), 'used', json('[]'))
        FROM events e
        WHERE e.run_id = runs.run_id AND e.type = 'RunCreated'
            AND CASE WHEN json_valid(data) THEN json_type(data, '$.sources') = 'object' END
    ), '{}')
    """,
    """
    ALTER TABLE tasks ADD COLUMN planned TEXT
    """,
    """
    ALTER TABLE attempts ADD COLUMN resubmission TEXT
    """,
)
"""One script per version, the first one making version 1.  A released script is never changed."""

SCHEMA_VERSION: Final = len(MIGRATIONS)
RUN_LOCKS: Final = f"{'[0-9]' * 8}T*.lock"
BUSY_TIMEOUT_S: Final = 30.0
BUSY_INTERVAL_S: Final = 0.01


@attrs.frozen
class JournalMode:
    """How SQLite keeps a commit whole, and why in this way."""

    journal: str
    synchronous: str
    why: str


def journal_mode(file_system: str) -> JournalMode:
    """Choose by the type of the file system.

    The write-ahead log keeps readers and the writer out of each other's way, but works on one host only;
    FULL survives power loss.  EXTRA also syncs the folder after a rollback journal is removed: without that
    a power cut could bring the journal, and so the old state, back (sqlite.org/pragma.html).
    """
    if is_network(file_system):
        return JournalMode("DELETE", "EXTRA", f"a network file system ({file_system}): one host at a time")
    return JournalMode("WAL", "FULL", f"a local file system ({file_system or 'of unknown type'})")


def open_database(path: Path, *, file_system: str | None = None) -> sqlite3.Connection:
    """Open the store, make it or bring it up to date first where needed.

    The connection is in autocommit mode: every write begins its own ``BEGIN IMMEDIATE``.  It may be
    used from any thread, but by one at a time.

    Args:
        file_system: type of the file system that it lies on; None finds out.

    Raises:
        StoreError: the file cannot be opened or written.
        DatabaseVersionError: a newer MatterStack wrote it.
        DatabaseCorruptError: it is no intact database.
    """
    with translated_errors(path):
        make_folders(path.parent)
        _refuse_emptied(path)
        if not path.exists():
            # SQLite gives the mode and the group of this file to all that it makes beside it.
            os.close(open_shared(path))
        connection = sqlite3.connect(
            path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        try:
            # First of all: setting the journal mode would write into a newer version's file.
            _refuse_newer(schema_version(connection), path)
            kind = file_system_type(path) if file_system is None else file_system
            _configure(connection, journal_mode(kind))
            _migrate(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


def _configure(connection: sqlite3.Connection, mode: JournalMode) -> None:
    _set_journal(connection, mode.journal)
    connection.execute(f"PRAGMA synchronous = {mode.synchronous}")
    connection.execute("PRAGMA foreign_keys = ON")


def _set_journal(connection: sqlite3.Connection, journal: str) -> None:
    # SQLite does not wait by itself here, when two processes make the store at the same time.
    deadline = monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            (now,) = connection.execute(f"PRAGMA journal_mode = {journal}").fetchone()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname != "SQLITE_BUSY" or monotonic() > deadline:
                raise
        else:
            if now.upper() != journal:
                # SQLite says so and nothing more, where the file system cannot do it.
                raise sqlite3.OperationalError(f"journal mode {journal} is not possible here, only {now}")
            return
        sleep(BUSY_INTERVAL_S)


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    if schema_version(connection) == SCHEMA_VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Read again: another process may have migrated while this one waited for the lock.
        version = schema_version(connection)
        _refuse_newer(version, path)
        runs = events = 0
        for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
            for statement in script.split(";"):
                connection.execute(statement)
            if script is _CHAIN:
                from matterstack.storage.chaining import chain_old_events

                runs, events = chain_old_events(connection)
            connection.execute(f"PRAGMA user_version = {number}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    if events:
        logger.warning(
            "%s: was brought up to date: the %d events of %d runs that were there are chained from now on "
            "(see `run status`); what was changed before that, no head can tell",
            path,
            events,
            runs,
        )


def _refuse_newer(version: int, path: Path) -> None:
    if version > SCHEMA_VERSION:
        raise DatabaseVersionError(
            f"{path}: was written by a newer MatterStack "
            f"(its format is {version}, this one reads up to {SCHEMA_VERSION})",
            hint="install the newer MatterStack; nothing was changed",
        )


def _refuse_emptied(path: Path) -> None:
    """A file without content is a new store, but not where runs have been served already.

    Asked before SQLite opens it: of an empty file it removes the write-ahead log, with all that is in it.
    """
    if path.is_file() and path.stat().st_size == 0 and any((path.parent / "locks").glob(RUN_LOCKS)):
        raise corrupt(path, "it is empty, though runs were served here")


def schema_version(connection: sqlite3.Connection) -> int:
    """Which migration a store has come to."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


@contextmanager
def translated_errors(path: Path) -> Iterator[None]:
    """Turn what SQLite and the file system complain about into a StoreError that names the file.

    That is the file that the error names: what is read beside the store is not blamed on it.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise store_error(path, error) from error
    except OSError as error:
        named = str(error.filename or "")
        place = Path(named) if named.startswith("/") and not path.is_relative_to(named) else path
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise disk_full(place) from error
        hint = "the store's folder must be writable" if place.is_relative_to(path.parent) else ""
        if error.errno in {errno.EACCES, errno.EPERM} and hint:
            from matterstack.storage.store_users import whose_store

            hint = whose_store(path) or hint
        raise StoreError(f"{place}: {error.strerror or error}", hint=hint) from error


@contextmanager
def readable_rows(connection: sqlite3.Connection, what: str) -> Iterator[None]:
    """Say that the store is corrupt, when its rows hold what was never written into them.

    SQLite does not notice a byte that changed inside of a value.
    """
    try:
        yield
    except (sqlite3.Error, OSError, MatterStackError):
        raise
    except Exception as error:
        path = connection.execute("PRAGMA database_list").fetchone()[2]
        raise corrupt(Path(path), f"{what} cannot be read from its rows: {error!r}") from error


@contextmanager
def reading(path: Path, connection: sqlite3.Connection) -> Iterator[None]:
    """Turn whatever goes wrong while the store is read into a StoreError that names its file."""
    with translated_errors(path), readable_rows(connection, "what was asked"):
        yield


def corrupt(path: Path, what: str) -> DatabaseCorruptError:
    """Say that a store cannot be used, and how to restore it."""
    return DatabaseCorruptError(
        f"{path}: is no intact database ({what})",
        hint="nothing was changed; `matterstack check` says what is wrong; put back a copy of the file "
        "together with its -wal file, or save what is left with `sqlite3 state.db .recover`",
    )


def disk_full(path: Path) -> DiskFullError:
    """Say that there is no room for a file."""
    return DiskFullError(f"{path}: the disk is full", hint="make room; nothing is lost")


_BROKEN_JSON: Final = "malformed JSON"
"""What SQLite says of JSON in a row that is none: it has no code of its own for that."""
_FULL_TOO: Final = ("SQLITE_IOERR", "SQLITE_CANTOPEN")
"""What SQLite says when there is no room for the memory that processes share beside the write-ahead log."""
_SHARED_MEMORY_BYTES: Final = 32768


def _has_no_room(path: Path) -> bool:
    try:
        disk = os.statvfs(path.parent)
    except OSError:
        return False
    return disk.f_bavail * disk.f_frsize < 2 * _SHARED_MEMORY_BYTES


def store_error(path: Path, error: sqlite3.Error) -> StoreError:
    """Say what a SQLite error means and what to do about it.  See sqlite.org/rescode.html."""
    name = getattr(error, "sqlite_errorname", "") or ""
    if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
        return corrupt(path, str(error))
    if str(error) == _BROKEN_JSON:
        return corrupt(path, f"what was asked cannot be read from its rows: {brief(error)}")
    if name.startswith("SQLITE_FULL") or (name.startswith(_FULL_TOO) and _has_no_room(path)):
        return disk_full(path)
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        from matterstack.storage.store_users import whose_store

        hint = (
            whose_store(path)
            or "the file and its folder must be writable for you, on a disk mounted read-write"
        )
        return StoreError(f"{path}: cannot be written ({brief(error)})", hint=hint)
    if name.startswith("SQLITE_BUSY"):
        from matterstack.storage.store_users import who_locks

        by, hint = who_locks(path)
        return StoreError(f"{path}: {by} kept it locked for {BUSY_TIMEOUT_S:.0f} s", hint=hint)
    return StoreError(f"{path}: {brief(error)}")
