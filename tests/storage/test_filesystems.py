"""On what kind of file system the store lies, and how it is kept there."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from matterstack.core.errors import StoreError
from matterstack.core.model.workflow import Workflow
from matterstack.core.run import messages as m
from matterstack.storage import schema
from matterstack.storage.filesystems import NETWORK_TYPES, file_system_type, is_network
from matterstack.storage.layout import Root
from matterstack.storage.read.changes import data_version
from matterstack.storage.read.runs import run_summaries
from matterstack.storage.schema import journal_mode, open_database
from tests.support.states import LOCAL, task
from tests.support.stored import StoredRun, assert_snapshot_is_fold

PLAIN = """\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
40 27 0:40 / /data rw,relatime shared:5 master:2 - nfs4 fs:/data rw,vers=4.2
41 40 0:41 /sub /data/eva/scratch rw,relatime - lustre mds@tcp:/scratch rw
42 27 0:42 / /data\\040of\\040us rw - beegfs beegfs rw
43 27 0:43 / /datawork rw - xfs /dev/sdb rw
"""
STACKED = """\
1 1 0:1 / / rw - rootfs rootfs rw
20 1 8:1 / / rw - xfs /dev/sda1 rw
30 20 0:30 / /net rw - autofs auto.net rw
31 30 0:31 / /net rw - nfs fs:/net rw
32 20 0:32 / /data rw - ext4 /dev/sdc rw
33 32 0:33 / /data/deep rw - gpfs gpfs rw
34 32 0:34 / /data rw - tmpfs tmpfs rw
"""
JAILED = """\
50 49 0:50 / /disks rw - nfs4 fs:/work rw
51 50 0:51 / /disks/local rw - ext4 /dev/sdd rw
"""


def kind(mounts: str, path: str, folder: Path) -> str:
    table = folder / "mountinfo"
    table.write_text(mounts)
    return file_system_type(Path(path), table)


@pytest.mark.parametrize(
    ("mounts", "path", "expected"),
    [
        (PLAIN, "/srv/x", "ext4"),
        (PLAIN, "/", "ext4"),
        (PLAIN, "/data", "nfs4"),
        (PLAIN, "/data/eva/x/.matterstack/state.db", "nfs4"),
        (PLAIN, "/data/eva/scratch/root", "lustre"),
        (PLAIN, "/data/eva/scratch2", "nfs4"),
        (PLAIN, "/datawork/1", "xfs"),
        (PLAIN, "/data2/1", "ext4"),
        (PLAIN, "/data of us/x", "beegfs"),
        (STACKED, "/srv", "xfs"),
        (STACKED, "/net/fs", "nfs"),
        (STACKED, "/data/deep/x", "tmpfs"),
        (JAILED, "/disks/x", "nfs4"),
        (JAILED, "/disks/local/x", "ext4"),
        (JAILED, "/srv", ""),
        ("", "/srv", ""),
        ("nonsense\n\n27 1 254:0 / / rw - \n27 1 - ext4\n", "/srv", ""),
    ],
)
def test_the_mount_that_one_sees_at_a_path_says_its_type(
    tmp_path: Path, mounts: str, path: str, expected: str
) -> None:
    assert kind(mounts, path, tmp_path) == expected


def test_a_link_is_followed_to_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/data/eva")
    assert kind(PLAIN, str(tmp_path / "link" / "x"), tmp_path) == "nfs4"


def test_without_a_table_the_type_is_unknown(tmp_path: Path) -> None:
    assert file_system_type(tmp_path, tmp_path / "nowhere") == ""


def test_the_type_of_this_machine_is_found() -> None:
    assert file_system_type(Path("/proc/self")) == "proc"
    assert not is_network(file_system_type(Path("/proc/self")))


@pytest.mark.parametrize("file_system", ["ext4", "xfs", "btrfs", "tmpfs", "overlay", "zfs", ""])
def test_on_a_local_disk_the_log_is_written_ahead(file_system: str) -> None:
    mode = journal_mode(file_system)
    assert (mode.journal, mode.synchronous) == ("WAL", "FULL")
    assert (file_system or "unknown") in mode.why


@pytest.mark.parametrize("file_system", sorted(NETWORK_TYPES))
def test_on_a_network_file_system_there_is_a_rollback_journal_and_one_host_at_a_time(
    file_system: str,
) -> None:
    mode = journal_mode(file_system)
    assert (mode.journal, mode.synchronous) == ("DELETE", "EXTRA")
    assert f"({file_system}): one host at a time" in mode.why


# ---- a store on a network file system ----


@pytest.fixture
def network(root: Root, monkeypatch: pytest.MonkeyPatch) -> Iterator[sqlite3.Connection]:
    """All of this process's connections believe that they are on one."""
    monkeypatch.setattr(schema, "file_system_type", lambda _path: "nfs4")
    with closing(open_database(root.database)) as connection:
        yield connection


def modes(connection: sqlite3.Connection) -> tuple[str, int]:
    (journal,) = connection.execute("PRAGMA journal_mode").fetchone()
    (synchronous,) = connection.execute("PRAGMA synchronous").fetchone()
    return journal, synchronous


EXTRA = 3


def test_it_is_kept_with_a_rollback_journal_and_the_folder_is_synced(
    network: sqlite3.Connection, root: Root
) -> None:
    assert modes(network) == ("delete", EXTRA)
    stored = StoredRun.create(network, root)
    stored.tell(m.Start(), m.Planned(iteration=1, workflow=Workflow([task("a")])))
    stored.tell(m.Prepare(backend=LOCAL, seats=1))
    assert len(assert_snapshot_is_fold(network, stored.run_id).live) == 1
    assert not list(root.private.glob("*-wal"))


def test_others_read_it_and_see_a_change_by_the_data_version(network: sqlite3.Connection, root: Root) -> None:
    with closing(open_database(root.database)) as other:
        assert run_summaries(other) == []
        before = data_version(other)
        StoredRun.create(network, root)
        assert data_version(other) != before
        assert len(run_summaries(other)) == 1


WRITER = """
import sys
from tests.support import writer
from matterstack.storage import schema
schema.file_system_type = lambda _path: "nfs4"
from matterstack.core.ids import RunId
from matterstack.storage.layout import Root
from pathlib import Path
writer.write(Root(Path(sys.argv[1])), RunId(sys.argv[2]))
"""


@pytest.mark.usefixtures("processes")
def test_a_writer_that_is_killed_loses_nothing_that_it_acknowledged(
    network: sqlite3.Connection, root: Root
) -> None:
    stored = StoredRun.create(network, root)
    assert stored.lease is not None
    stored.lease.release(network)
    last = 0
    for after in (5, 20, 3, 30):
        command = [sys.executable, "-c", WRITER, str(root.path), stored.run_id]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None  # a pipe was asked for
            acknowledged = [int(writer.stdout.readline()) for _ in range(after)]
            assert run_summaries(network), "it is read while another process writes"
            writer.send_signal(signal.SIGKILL)
        assert acknowledged[0] > last
        (last,) = network.execute("SELECT max(seq) FROM events").fetchone()
        assert last >= acknowledged[-1]
        assert_snapshot_is_fold(network, stored.run_id)
    assert modes(network) == ("delete", EXTRA)


@pytest.mark.usefixtures("processes")
def test_two_processes_write_in_turn(network: sqlite3.Connection, root: Root) -> None:
    stored = StoredRun.create(network, root)
    assert stored.lease is not None
    stored.lease.release(network)
    command = [sys.executable, "-c", WRITER, str(root.path), stored.run_id]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None  # a pipe was asked for
        for _ in range(20):
            before = int(writer.stdout.readline())
            network.execute("BEGIN IMMEDIATE")
            network.execute(
                "INSERT INTO commands VALUES (?, 'r', 'pause', '{}', 'me', '', NULL)", (str(before),)
            )
            network.execute("COMMIT")
        writer.kill()
    assert network.execute("SELECT count(*) FROM commands").fetchone() == (20,)
    assert_snapshot_is_fold(network, stored.run_id)


def test_a_store_that_is_moved_changes_its_journal_and_keeps_what_is_in_it(root: Root) -> None:
    with closing(open_database(root.database, file_system="ext4")) as connection:
        stored = StoredRun.create(connection, root)
        assert stored.lease is not None
        stored.lease.release(connection)
    for file_system, journal in (("lustre", "delete"), ("ext4", "wal"), ("cifs", "delete")):
        with closing(open_database(root.database, file_system=file_system)) as connection:
            assert modes(connection)[0] == journal
            assert_snapshot_is_fold(connection, stored.run_id)


def test_a_journal_that_cannot_be_changed_now_is_said_so(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "BUSY_TIMEOUT_S", 0.0)
    with closing(open_database(root.database, file_system="ext4")) as connection:
        connection.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="another process kept it locked"):
            open_database(root.database, file_system="nfs")
        connection.execute("ROLLBACK")
        assert modes(connection)[0] == "wal"


def test_a_journal_that_a_file_system_cannot_have_is_refused() -> None:
    with (
        closing(sqlite3.connect(":memory:")) as connection,  # it has a journal of its own kind
        pytest.raises(sqlite3.OperationalError, match="journal mode WAL is not possible here, only memory"),
    ):
        schema._set_journal(connection, "WAL")
