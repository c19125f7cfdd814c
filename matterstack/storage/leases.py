"""Who serves a run: a lock that the kernel lets go of when its holder dies, and a row that says who it is.

The lock (flock, see flock(2)) decides on one host.  The epoch in the row fences: every write of a holder
carries it, so that one that lost its lease without noticing writes nothing any more.
"""

from __future__ import annotations

import fcntl
import os
import socket
import sqlite3
from pathlib import Path

import attrs

from matterstack.core.errors import NotFoundError
from matterstack.core.ids import RunId
from matterstack.storage.layout import Root


@attrs.frozen
class Holder:
    """A process that serves a run."""

    host: str
    boot_id: str
    pid: int


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
    """Take the lease of a run; None when another process of this host holds it.

    Raises:
        NotFoundError: there is no such run.
    """
    root.locks.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(root.locks / f"{run_id}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        me = this_process()
        row = connection.execute(
            "UPDATE runs SET lease_epoch = lease_epoch + 1, lease_host = ?, lease_boot_id = ?, lease_pid = ? "
            "WHERE run_id = ? RETURNING lease_epoch",
            (me.host, me.boot_id, me.pid, run_id),
        ).fetchone()
        if row is None:
            raise NotFoundError(f"no run {run_id}")
    except BaseException:
        os.close(descriptor)
        raise
    return Lease(run_id, int(row[0]), descriptor)


def lease_holder(connection: sqlite3.Connection, run_id: RunId) -> Holder | None:
    """Who says that it serves the run (it may have died since)."""
    row = connection.execute(
        "SELECT lease_host, lease_boot_id, lease_pid FROM runs WHERE run_id = ?", (run_id,)
    ).fetchone()
    return Holder(*row) if row is not None and row[0] is not None else None


def is_held(root: Root, run_id: RunId) -> bool:
    """Whether a living process of this host holds the run."""
    try:
        descriptor = os.open(root.locks / f"{run_id}.lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def this_process() -> Holder:
    """Name this process so that no other one, at any time, has the same name."""
    return Holder(socket.gethostname(), boot_id(), os.getpid())


def boot_id() -> str:
    """Id of this boot of this host, from random(4)."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
