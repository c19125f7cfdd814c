"""The database: its tables, their versions, and how it is opened."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from matterstack.core.errors import DatabaseCorruptError, DatabaseVersionError, StoreError

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
)
"""One script per version, the first one making version 1.  A released script is never changed."""

SCHEMA_VERSION: Final = len(MIGRATIONS)
BUSY_TIMEOUT_S: Final = 30.0


def open_database(path: Path) -> sqlite3.Connection:
    """Open the store, make it or bring it up to date first where needed.

    The connection is in autocommit mode: every write begins its own ``BEGIN IMMEDIATE``.  It may be
    used from any thread, but by one at a time.

    Raises:
        StoreError: the file cannot be opened or written.
        DatabaseVersionError: a newer MatterStack wrote it.
        DatabaseCorruptError: it is no intact database.
    """
    with translated_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(
            path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        try:
            _configure(connection)
            _migrate(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


def _configure(connection: sqlite3.Connection) -> None:
    # WAL keeps readers and the writer out of each other's way; FULL survives power loss.
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    if _version(connection) == SCHEMA_VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Read again: another process may have migrated while this one waited for the lock.
        version = _version(connection)
        if version > SCHEMA_VERSION:
            raise DatabaseVersionError(
                f"{path}: was written by a newer MatterStack "
                f"(its format is {version}, this one reads up to {SCHEMA_VERSION})",
                hint="install the newer MatterStack; nothing was changed",
            )
        for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
            for statement in script.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


@contextmanager
def translated_errors(path: Path) -> Iterator[None]:
    """Turn what SQLite and the file system complain about into a StoreError that names the file."""
    try:
        yield
    except sqlite3.Error as error:
        raise store_error(path, error) from error
    except OSError as error:
        raise StoreError(
            f"{path}: {error.strerror or error}", hint="the store's folder must be writable"
        ) from error


def store_error(path: Path, error: sqlite3.Error) -> StoreError:
    """Say what a SQLite error means and what to do about it.  See sqlite.org/rescode.html."""
    name = getattr(error, "sqlite_errorname", "") or ""
    if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
        return DatabaseCorruptError(
            f"{path}: is no intact database ({error})",
            hint="nothing was changed; put back a copy of the file together with its -wal file",
        )
    if name.startswith("SQLITE_FULL"):
        return StoreError(f"{path}: the disk is full", hint="make room, then start again; nothing is lost")
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return StoreError(
            f"{path}: cannot be written ({error})",
            hint="the file and its folder must be writable for you, on a disk mounted read-write",
        )
    if name.startswith("SQLITE_BUSY"):
        return StoreError(f"{path}: another process kept it locked for {BUSY_TIMEOUT_S:.0f} s")
    return StoreError(f"{path}: {error}")
