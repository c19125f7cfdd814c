"""Who may write a run."""

import os
import socket
import sqlite3

import pytest

from matterstack.core.errors import NotFoundError
from matterstack.core.ids import RunId
from matterstack.storage.layout import Root
from matterstack.storage.leases import Holder, acquire_lease, boot_id, is_held, lease_holder, this_process
from tests.support.stored import StoredRun

NOBODY = RunId("20260101T000000-zzzzzz")


def test_a_second_acquirer_gets_none_and_the_row_keeps_the_holder(
    connection: sqlite3.Connection, root: Root
) -> None:
    stored = StoredRun.create(connection, root)
    assert stored.lease is not None
    assert acquire_lease(connection, root, stored.run_id) is None
    assert lease_holder(connection, stored.run_id) == Holder(socket.gethostname(), boot_id(), os.getpid())
    assert lease_holder(connection, stored.run_id) == this_process()
    stored.run.tell()
    stored.commit()  # its epoch is still the one in the row


def test_the_epoch_rises_with_every_lease(connection: sqlite3.Connection, root: Root) -> None:
    stored = StoredRun.create(connection, root)
    lease = stored.lease
    epochs = []
    for _ in range(3):
        assert lease is not None
        epochs.append(lease.epoch)
        lease.release(connection)
        lease = acquire_lease(connection, root, stored.run_id)
    assert epochs == [1, 2, 3]


def test_a_released_run_is_held_by_nobody(connection: sqlite3.Connection, root: Root) -> None:
    stored = StoredRun.create(connection, root)
    assert stored.lease is not None
    assert is_held(root, stored.run_id)
    stored.lease.release(connection)
    assert not is_held(root, stored.run_id)
    assert lease_holder(connection, stored.run_id) is None


def test_a_late_release_leaves_the_row_of_the_next_holder(connection: sqlite3.Connection, root: Root) -> None:
    stored = StoredRun.create(connection, root)
    assert stored.lease is not None
    connection.execute("UPDATE runs SET lease_epoch = lease_epoch + 1, lease_host = 'elsewhere'")
    stored.lease.release(connection)
    (host,) = connection.execute("SELECT lease_host FROM runs").fetchone()
    assert host == "elsewhere"


def test_asking_whether_a_run_is_held_does_not_hold_it(connection: sqlite3.Connection, root: Root) -> None:
    assert not is_held(root, NOBODY)
    assert not (root.locks / f"{NOBODY}.lock").exists()
    stored = StoredRun.create(connection, root)
    assert stored.lease is not None
    stored.lease.release(connection)
    assert not is_held(root, stored.run_id)
    again = acquire_lease(connection, root, stored.run_id)
    assert again is not None
    again.release(connection)


def test_the_lease_of_a_run_that_is_not_there_is_refused_without_leaking(
    connection: sqlite3.Connection, root: Root
) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208  names are all that is wanted
    with pytest.raises(NotFoundError, match=NOBODY):
        acquire_lease(connection, root, NOBODY)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
    assert not is_held(root, NOBODY)


def test_a_child_process_does_not_inherit_the_lock(connection: sqlite3.Connection, root: Root) -> None:
    stored = StoredRun.create(connection, root)
    assert stored.lease is not None
    assert not os.get_inheritable(stored.lease._descriptor)
