"""How the database is opened: made, migrated, refused."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from matterstack.core.errors import DatabaseCorruptError, DatabaseVersionError, StoreError
from matterstack.core.ids import RunId
from matterstack.core.model.workflow import Workflow
from matterstack.core.run import messages as m
from matterstack.storage import schema
from matterstack.storage.layout import Root
from matterstack.storage.read.changes import data_version
from matterstack.storage.read.runs import run_summaries
from matterstack.storage.schema import SCHEMA_VERSION, open_database
from tests.support.states import task
from tests.support.stored import StoredRun, assert_snapshot_is_fold, copy_as_of_before


def pragma(connection: sqlite3.Connection, name: str) -> object:
    return connection.execute(f"PRAGMA {name}").fetchone()[0]


def test_a_fresh_store_has_the_newest_version_and_survives_power_loss(connection: sqlite3.Connection) -> None:
    assert pragma(connection, "user_version") == SCHEMA_VERSION
    assert pragma(connection, "journal_mode") == "wal"
    assert pragma(connection, "synchronous") == 2, "FULL"


def test_a_store_is_opened_again_with_what_is_in_it(root: Root) -> None:
    with closing(open_database(root.database)) as connection:
        stored = StoredRun.create(connection, root)
        assert stored.lease is not None
        stored.lease.release(connection)
    with closing(open_database(root.database)) as connection:
        assert_snapshot_is_fold(connection, stored.run_id)


def test_a_store_of_an_older_version_is_brought_up_to_date(
    root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_database(root.database).close()
    script = "CREATE TABLE later (x INTEGER); CREATE INDEX later_x ON later (x);"
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, script))
    monkeypatch.setattr(schema, "SCHEMA_VERSION", SCHEMA_VERSION + 1)
    for _ in range(2):
        with closing(open_database(root.database)) as connection:
            assert pragma(connection, "user_version") == SCHEMA_VERSION + 1
            assert connection.execute("SELECT count(*) FROM later").fetchone() == (0,)


def test_tasks_of_before_changes_were_noted_count_as_changed_by_the_last_event_of_their_run(
    root: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who reads on from an earlier event is told more than has changed, and never less."""
    with closing(open_database(root.database)) as connection:
        for name in ("aaaaaa", "bbbbbb"):
            run = StoredRun.create(connection, root, RunId(f"20260101T000000-{name}"))
            run.tell(m.Start(), m.Planned(iteration=1, workflow=Workflow([task("a")])))
            run.run.activate("a")
            run.commit()
            assert run.lease is not None
            run.lease.release(connection)
    old = tmp_path / "old" / "state.db"
    copy_as_of_before("changes", root.database, old, monkeypatch)
    with closing(open_database(old)) as connection:
        last = dict(connection.execute("SELECT run_id, max(seq) FROM events GROUP BY run_id"))
        assert len(set(last.values())) == 2
        assert dict(connection.execute("SELECT run_id, seq FROM changes WHERE task_id = 'a'")) == last


def test_a_migration_that_fails_leaves_the_store_as_it_was(
    root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_database(root.database).close()
    before = root.database.read_bytes()
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, "CREATE TABLE later (x); NONSENSE"))
    monkeypatch.setattr(schema, "SCHEMA_VERSION", SCHEMA_VERSION + 1)
    with pytest.raises(StoreError, match='near "NONSENSE"'):
        open_database(root.database)
    assert root.database.read_bytes() == before


@pytest.mark.parametrize("journal", ["WAL", "DELETE"])
def test_a_store_of_a_newer_version_is_refused_and_not_touched(root: Root, journal: str) -> None:
    open_database(root.database).close()
    with closing(sqlite3.connect(root.database)) as newer:
        newer.execute(f"PRAGMA journal_mode = {journal}")
        newer.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
        newer.commit()
    before = root.database.read_bytes()
    with pytest.raises(DatabaseVersionError, match="was written by a newer MatterStack") as refused:
        open_database(root.database)
    assert str(root.database) in str(refused.value)
    assert refused.value.hint == "install the newer MatterStack; nothing was changed"
    assert refused.value.exit_code == 5
    assert root.database.read_bytes() == before


def test_a_file_that_is_no_database_is_corrupt_and_not_touched(root: Root) -> None:
    root.private.mkdir()
    root.database.write_bytes(b"this is no database\n" * 500)
    before = root.database.read_bytes()
    with pytest.raises(DatabaseCorruptError, match=r"state\.db: is no intact database"):
        open_database(root.database)
    assert root.database.read_bytes() == before


def test_a_database_with_overwritten_pages_is_corrupt(connection: sqlite3.Connection, root: Root) -> None:
    StoredRun.create(connection, root)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with root.database.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (root.database.stat().st_size - 4096))
    with (
        pytest.raises(DatabaseCorruptError, match="is no intact database") as corrupt,
        schema.translated_errors(root.database),
        closing(open_database(root.database)) as fresh,
    ):
        run_summaries(fresh)
    assert "put back a copy" in corrupt.value.hint


def test_a_place_that_cannot_hold_a_store_is_a_store_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    below_a_file = tmp_path / "file" / ".matterstack" / "state.db"
    with pytest.raises(StoreError, match="Not a directory") as refused:
        open_database(below_a_file)
    assert str(below_a_file) in str(refused.value)
    assert refused.value.hint == "the store's folder must be writable"

    (tmp_path / "state.db").mkdir()
    with pytest.raises(StoreError, match=r"state\.db: cannot be written"):
        open_database(tmp_path / "state.db")


LITTLE_ROOM = """
import resource, sys
from pathlib import Path
from matterstack.core.errors import StoreError
from matterstack.storage.schema import open_database
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    open_database(Path(sys.argv[1]))
except StoreError as error:
    print(error)
"""


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("room_bytes", [0, 5000, 20_000])
def test_a_store_that_cannot_be_written_in_full_says_so_and_is_made_whole_later(
    root: Root, room_bytes: int
) -> None:
    command = [sys.executable, "-c", LITTLE_ROOM, str(root.database), str(room_bytes)]
    said = subprocess.run(command, check=True, capture_output=True, text=True)
    assert said.stdout.startswith(f"{root.database}: "), said.stderr
    assert "rollback" not in said.stdout, "the first error counts, not that of cleaning up"
    with closing(open_database(root.database)) as connection:
        assert pragma(connection, "user_version") == SCHEMA_VERSION
        assert run_summaries(connection) == []


def test_other_connections_see_a_change_by_the_data_version(
    connection: sqlite3.Connection, root: Root
) -> None:
    with closing(open_database(root.database)) as other:
        before = data_version(other)
        assert data_version(other) == before
        StoredRun.create(connection, root)
        assert data_version(other) != before
        mine = data_version(connection)
        assert data_version(connection) == mine


def test_a_store_that_another_process_is_just_making_is_waited_for(
    root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    root.private.mkdir()
    with closing(sqlite3.connect(root.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("CREATE TABLE elsewhere (x)")
        waits: list[float] = []

        def finish(interval_s: float) -> None:
            waits.append(interval_s)
            other.execute("COMMIT")

        monkeypatch.setattr(schema, "sleep", finish)
        with closing(open_database(root.database)) as connection:
            assert pragma(connection, "journal_mode") == "wal"
            assert pragma(connection, "user_version") == SCHEMA_VERSION
        assert len(waits) == 1


@pytest.mark.usefixtures("processes")
def test_processes_that_make_the_store_at_the_same_time_all_get_it(root: Root) -> None:
    script = (
        "import sys; from pathlib import Path; from matterstack.storage.schema import open_database;"
        "sys.stdin.read(); open_database(Path(sys.argv[1])).close()"
    )
    command = [sys.executable, "-c", script, str(root.database)]
    makers = [subprocess.Popen(command, stdin=subprocess.PIPE) for _ in range(4)]
    for maker in makers:
        assert maker.stdin is not None  # a pipe was asked for
        maker.stdin.close()
    assert [maker.wait() for maker in makers] == [0] * 4
