"""A writer that is killed at any moment loses nothing that it acknowledged."""

import signal
import sqlite3
import subprocess
import sys
from random import Random

import pytest

from matterstack.storage.layout import Root
from matterstack.storage.leases import acquire_lease, is_held, lease_holder
from tests.support.stored import StoredRun, assert_snapshot_is_fold

KILLS = 20
MOST_ACKNOWLEDGED = 60


@pytest.mark.usefixtures("processes")
def test_no_acknowledged_append_is_lost_over_many_kills(connection: sqlite3.Connection, root: Root) -> None:
    stored = StoredRun.create(connection, root)
    run_id = stored.run_id
    assert stored.lease is not None
    stored.lease.release(connection)
    random = Random(20260101)  # noqa: S311  moments to kill at, no secrets
    last = 1
    for kill in range(KILLS):
        acknowledged = _write_and_kill(root, run_id, random.randint(1, MOST_ACKNOWLEDGED))
        assert acknowledged[0] > last, f"kill {kill}: numbers are not used twice"
        last = acknowledged[-1]
        seqs = [seq for (seq,) in connection.execute("SELECT seq FROM events ORDER BY seq")]
        assert seqs == list(range(1, len(seqs) + 1)), f"kill {kill}: a gap"
        assert seqs[-1] >= last, f"kill {kill}: acknowledged {last}, kept {seqs[-1]}"
        last = seqs[-1]
        assert_snapshot_is_fold(connection, run_id)
        assert not is_held(root, run_id), f"kill {kill}: the lock of a dead process"
    assert last > 10 * KILLS


def _write_and_kill(root: Root, run_id: str, after: int) -> list[int]:
    """Kill a writer as soon as it has acknowledged so many appends; it goes on until the signal arrives."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.support.writer", str(root.path), run_id],
        stdout=subprocess.PIPE,
        text=True,
    ) as writer:
        assert writer.stdout is not None  # a pipe was asked for
        acknowledged = [int(writer.stdout.readline()) for _ in range(after)]
        writer.send_signal(signal.SIGKILL)
        acknowledged += [int(line) for line in writer.stdout if line.endswith("\n")]
    assert writer.returncode == -signal.SIGKILL
    return acknowledged


@pytest.mark.usefixtures("processes")
def test_the_lease_of_a_killed_process_is_free_at_once_though_its_name_is_still_in_the_row(
    connection: sqlite3.Connection, root: Root
) -> None:
    stored = StoredRun.create(connection, root)
    assert stored.lease is not None
    stored.lease.release(connection)
    with subprocess.Popen(
        [sys.executable, "-m", "tests.support.writer", str(root.path), stored.run_id],
        stdout=subprocess.PIPE,
        text=True,
    ) as writer:
        assert writer.stdout is not None  # a pipe was asked for
        writer.stdout.readline()
        assert is_held(root, stored.run_id)
        assert acquire_lease(connection, root, stored.run_id) is None
        holder = lease_holder(connection, stored.run_id)
        assert holder is not None
        assert holder.pid == writer.pid
        writer.kill()
    assert not is_held(root, stored.run_id)
    assert lease_holder(connection, stored.run_id) == holder
    lease = acquire_lease(connection, root, stored.run_id)
    assert lease is not None
    assert lease.epoch == stored.lease.epoch + 2
    lease.release(connection)
