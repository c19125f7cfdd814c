"""Who may write a run."""

import os
import socket
import sqlite3

import pytest

from matterstack.core.errors import LeaseLostError, NotFoundError, RefusedError
from matterstack.core.ids import RunId
from matterstack.core.run import messages as m
from matterstack.storage.layout import Root
from matterstack.storage.leases import (
    Holder,
    acquire_lease,
    boot_id,
    break_lease,
    foreign_holder,
    is_held,
    lease_holder,
    this_process,
)
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


# ---- other machines, other boots ----

ME = this_process()
ELSEWHERE = Holder("login2", "2f0c9a4e-0000-4000-8000-000000000000", 4711)


def free(connection: sqlite3.Connection, root: Root, run_id: RunId | None = None) -> StoredRun:
    """A run that nobody holds."""
    stored = StoredRun.create(connection, root, *([run_id] if run_id else []))
    assert stored.lease is not None
    stored.lease.release(connection)
    return stored


def write_holder(connection: sqlite3.Connection, run_id: RunId, holder: Holder) -> None:
    connection.execute(
        "UPDATE runs SET lease_host = ?, lease_boot_id = ?, lease_pid = ? WHERE run_id = ?",
        (holder.host, holder.boot_id, holder.pid, run_id),
    )


def test_a_run_that_another_machine_says_it_serves_is_left_alone(
    connection: sqlite3.Connection, root: Root
) -> None:
    run_id = free(connection, root).run_id
    write_holder(connection, run_id, ELSEWHERE)
    assert acquire_lease(connection, root, run_id) is None
    assert lease_holder(connection, run_id) == ELSEWHERE
    assert not is_held(root, run_id), "the lock was let go of again"


@pytest.mark.parametrize(
    "dead",
    [
        pytest.param(Holder(ME.host, "an-earlier-boot", 4711), id="an earlier boot of this machine"),
        pytest.param(Holder("renamed", ME.boot_id, 4711), id="this machine under another name"),
        pytest.param(Holder(ME.host, ME.boot_id, 4711), id="a process of this machine"),
    ],
)
def test_what_is_dead_for_sure_holds_nothing(
    connection: sqlite3.Connection, root: Root, dead: Holder
) -> None:
    run_id = free(connection, root).run_id
    write_holder(connection, run_id, dead)
    lease = acquire_lease(connection, root, run_id)
    assert lease is not None
    assert lease_holder(connection, run_id) == ME
    lease.release(connection)


def test_breaking_a_lease_frees_the_run_and_silences_its_holder(
    connection: sqlite3.Connection, root: Root
) -> None:
    stored = free(connection, root)
    stored.lease = acquire_lease(connection, root, stored.run_id)
    assert stored.lease is not None
    os.close(stored.lease._descriptor)  # of a machine whose locks nobody sees here
    write_holder(connection, stored.run_id, ELSEWHERE)

    assert break_lease(connection, root, stored.run_id) == ELSEWHERE

    assert lease_holder(connection, stored.run_id) is None
    stored.run.tell(m.Start())
    with pytest.raises(LeaseLostError, match="was taken over by another engine"):
        stored.commit()
    lease = acquire_lease(connection, root, stored.run_id)
    assert lease is not None
    lease.release(connection)


def test_the_lease_of_a_living_process_is_not_broken(connection: sqlite3.Connection, root: Root) -> None:
    stored = StoredRun.create(connection, root)
    with pytest.raises(
        RefusedError, match=f"is served by process {os.getpid()} on .*, which is alive"
    ) as refused:
        break_lease(connection, root, stored.run_id)
    assert refused.value.exit_code == 4
    stored.tell(m.Start())  # it still writes


def test_breaking_the_lease_of_a_run_that_nobody_holds_or_that_is_not_there(
    connection: sqlite3.Connection, root: Root
) -> None:
    run_id = free(connection, root).run_id
    assert break_lease(connection, root, run_id) is None
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208  names are all that is wanted
    with pytest.raises(NotFoundError, match=NOBODY):
        break_lease(connection, root, NOBODY)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_another_machine_that_uses_the_store_is_told_by_any_of_its_leases(
    connection: sqlite3.Connection, root: Root
) -> None:
    assert foreign_holder(connection) is None
    mine = StoredRun.create(connection, root)
    old = free(connection, root, RunId("20260101T000001-aaaaaa"))
    write_holder(connection, old.run_id, Holder(ME.host, "an-earlier-boot", 1))
    assert foreign_holder(connection) is None
    theirs = free(connection, root, RunId("20260101T000002-aaaaaa"))
    write_holder(connection, theirs.run_id, ELSEWHERE)
    assert foreign_holder(connection) == ELSEWHERE
    break_lease(connection, root, theirs.run_id)
    assert foreign_holder(connection) is None
    assert is_held(root, mine.run_id)
