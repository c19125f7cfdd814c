"""The journal actor: the one that commits, for all actors at once.

Whatever waits in its mailbox goes into one transaction, so that many runs share one sync of the disk.
An append is answered when it is durable.  While the disk is full that is not until there is room again, so
nothing that must be stored first happens before.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path

import attrs
import trio

from matterstack.actors.disk_room import wait_for_room
from matterstack.actors.mailbox import Mailbox, Reply
from matterstack.actors.runtime import Runtime
from matterstack.core.errors import MatterStackError, StoreError
from matterstack.storage.journal import Append, commit


@attrs.frozen
class Store:
    """An append, and whom to tell when it is durable."""

    append: Append
    reply: Reply[int]


@attrs.define
class JournalActor:
    """Owns the connection that writes.

    Attributes:
        note_commit: told how long each commit took, in seconds: until it was durable.
    """

    connection: sqlite3.Connection
    path: Path
    runtime: Runtime
    note_commit: Callable[[float], None]
    mailbox: Mailbox[Store] = attrs.field(factory=lambda: Mailbox("the journal", capacity=1024))

    async def append(self, append: Append) -> int:
        """Make facts durable; returns the last sequence number.

        If the caller dies meanwhile, the append may or may not have happened.

        Raises:
            LeaseLostError: another engine holds the run now.
            CapReachedError: the backend has no seat for what was prepared.
            StoreError: the store failed; the engine is about to stop.
        """
        return await self.mailbox.ask(lambda reply: Store(append, reply))

    async def serve(self) -> None:
        """Commit what comes in until cancelled.

        Raises:
            StoreError: the store failed.
        """
        try:
            while True:
                group = [await self.mailbox.receive(), *self.mailbox.drain()]
                await self._commit(group)
        finally:
            self.mailbox.close()

    async def _commit(self, group: list[Store]) -> None:
        appends = [store.append for store in group]
        began = trio.current_time()
        try:
            # Cancelled or not, a commit that has begun is seen through: a thread is not interrupted.
            outcomes = await wait_for_room(
                "the store", partial(self.runtime.journal, commit, self.connection, self.path, appends)
            )
        except StoreError as error:
            for store in group:
                store.reply.fail(error)
            raise
        self.note_commit(trio.current_time() - began)
        for store, outcome in zip(group, outcomes, strict=True):
            if isinstance(outcome, MatterStackError):
                store.reply.fail(outcome)
            else:
                store.reply.send(outcome)
