"""Who serves a run: a lock that the kernel lets go of when its holder dies, and a row that says who it is.

The lock (flock, see flock(2)) decides on one host.  It is no fcntl(2) lock: such a one is lost as soon as its
process closes any other descriptor of the same file, and libraries open and close files at will.  Between
hosts it decides nothing, as not every network file system passes locks on; there the row does: a run that
another host says it serves is left alone, also when that host is dead, until a person says so
(`break_lease`).  The epoch in the row fences: every write of a holder carries it, so that one that lost its
lease without noticing writes nothing any more.
"""

from __future__ import annotations

import fcntl
import os
import socket
import sqlite3
from pathlib import Path

import attrs

from matterstack.core.errors import RefusedError
from matterstack.core.ids import RunId
from matterstack.storage.layout import Root
from matterstack.storage.lock_holders import LockHolder, foreign_holders
from matterstack.storage.modes import open_shared
from matterstack.storage.read.deleted_runs import no_such_run


@attrs.frozen
class Holder:
    """A process that serves a run."""

    host: str
    boot_id: str
    pid: int

    def is_on(self, other: Holder) -> bool:
        """Whether both are processes of one machine (its name may change, and so may its boot)."""
        return self.host == other.host or self.boot_id == other.boot_id


@attrs.define
class Lease:
    """The right to write a run's facts, until it is released or its process ends."""

    run_id: RunId
    epoch: int
    _descriptor: int

    def release(self, connection: sqlite3.Connection) -> None:
        """Let go.  The row is cleared first, so that nobody sees a free lock with a holder's name."""
        try:
            connection.execute(
                "UPDATE runs SET lease_host = NULL, lease_boot_id = NULL, lease_pid = NULL "
                "WHERE run_id = ? AND lease_epoch = ?",
                (self.run_id, self.epoch),
            )
        finally:
            os.close(self._descriptor)


def acquire_lease(connection: sqlite3.Connection, root: Root, run_id: RunId) -> Lease | None:
    """Take the lease of a run; None when another process of this host, or another host, holds it.

    Raises:
        NotFoundError: there is no such run.
    """
    descriptor = open_shared(_lock_file(root, run_id))
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        epoch = _write_holder(connection, run_id)
    except BaseException:
        os.close(descriptor)
        raise
    if epoch is None:
        os.close(descriptor)
        return None
    return Lease(run_id, epoch, descriptor)


def _write_holder(connection: sqlite3.Connection, run_id: RunId) -> int | None:
    """Write this process into the run's row; None when a process of another host stands there."""
    me = this_process()
    connection.execute("BEGIN IMMEDIATE")
    try:
        holder = lease_holder(connection, run_id)
        row = None
        if holder is None or holder.is_on(me):
            row = connection.execute(
                "UPDATE runs SET lease_epoch = lease_epoch + 1, "
                "lease_host = ?, lease_boot_id = ?, lease_pid = ? WHERE run_id = ? RETURNING lease_epoch",
                (me.host, me.boot_id, me.pid, run_id),
            ).fetchone()
            # Seats that the former holder waited for are nothing that this one waits for.
            connection.execute("DELETE FROM claims WHERE run_id = ?", (run_id,))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    if row is None and holder is None:
        raise no_such_run(connection, run_id)
    return int(row[0]) if row is not None else None


def break_lease(connection: sqlite3.Connection, root: Root, run_id: RunId) -> Holder | None:
    """Take a run away from a holder that is dead but cannot say so; returns who that was.

    Should it live after all, it writes nothing any more: its epoch is over.

    Raises:
        NotFoundError: there is no such run.
        RefusedError: a living process holds it, as far as its lock can be seen from here.
    """
    holder = lease_holder(connection, run_id)
    descriptor = open_shared(_lock_file(root, run_id))
    try:
        # Held until the row is written: no process of this host takes the run up in between.
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _clear_holder(connection, run_id)
    except BlockingIOError:
        by = "another process" if holder is None else f"process {holder.pid} on {holder.host}"
        raise RefusedError(
            f"run {run_id} is served by {by}, which is alive", hint="stop that engine instead"
        ) from None
    finally:
        os.close(descriptor)
    return holder


def _clear_holder(connection: sqlite3.Connection, run_id: RunId) -> None:
    changed = connection.execute(
        "UPDATE runs SET lease_epoch = lease_epoch + 1, "
        "lease_host = NULL, lease_boot_id = NULL, lease_pid = NULL WHERE run_id = ?",
        (run_id,),
    ).rowcount
    if not changed:
        raise no_such_run(connection, run_id)


def foreign_holder(connection: sqlite3.Connection) -> Holder | None:
    """A process of another machine that says that it serves some run of this root; None when none does.

    Where the root lies on a network file system, only one host may use the store at a time.
    """
    me = this_process()
    rows = connection.execute(
        "SELECT lease_host, lease_boot_id, lease_pid FROM runs WHERE lease_host IS NOT NULL ORDER BY run_id"
    )
    return next((holder for holder in (Holder(*row) for row in rows) if not holder.is_on(me)), None)


def lease_holder(connection: sqlite3.Connection, run_id: RunId) -> Holder | None:
    """Who says that it serves the run (it may have died since)."""
    row = connection.execute(
        "SELECT lease_host, lease_boot_id, lease_pid FROM runs WHERE run_id = ?", (run_id,)
    ).fetchone()
    return Holder(*row) if row is not None and row[0] is not None else None


def is_held(root: Root, run_id: RunId) -> bool:
    """Whether a living process of this host holds the run."""
    try:
        descriptor = os.open(_lock_file(root, run_id), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def intruders(root: Root, run_id: RunId, holder: Holder | None) -> list[LockHolder]:
    """Processes of other users that hold the lock of a run, and are no engine that says that it serves it.

    Only who could open the file can lock it: before a root was its owner's alone, that was anybody.
    """
    path = _lock_file(root, run_id)
    try:
        owner = root.private.stat().st_uid
    except OSError:
        return []
    return [found for found in foreign_holders(path, owner) if holder is None or found.pid != holder.pid]


def _lock_file(root: Root, run_id: RunId) -> Path:
    return root.locks / f"{run_id}.lock"


def this_process() -> Holder:
    """Name this process so that no other one, at any time, has the same name."""
    return Holder(socket.gethostname(), boot_id(), os.getpid())


def boot_id() -> str:
    """Id of this boot of this host, from random(4)."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
