"""Mailboxes: how actors are told and asked things.

A mailbox is bounded.  Control messages (pause, cancel, stop) are taken out before all others; within
each lane the order in which a sender sent is kept.  No message may be the only copy of a fact: what is
still in a mailbox when its actor ends is gone, and those who asked get an error.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

import attrs
import trio

from matterstack.core.errors import ActorEndedError, MailboxFullError

CAPACITY: Final = 64

_Message = TypeVar("_Message")
_Answer = TypeVar("_Answer")


@attrs.define(eq=False)
class Reply(Generic[_Answer]):
    """Where an actor puts the answer to an `Mailbox.ask`."""

    _done: trio.Event = attrs.field(factory=trio.Event)
    _value: list[_Answer] = attrs.field(factory=list)
    _error: BaseException | None = None

    def send(self, value: _Answer) -> None:
        """Answer whoever asked; only the first answer counts."""
        self._value.append(value)
        self._done.set()

    def fail(self, error: Exception) -> None:
        """Let the one who asked get this error, unless there is an answer already."""
        if not self._done.is_set():
            self._error = error
            self._done.set()

    async def wait(self) -> _Answer:
        """Wait for the answer, or raise the error."""
        await self._done.wait()
        if self._error is not None:
            raise self._error
        return self._value[0]


@attrs.define(eq=False)
class Mailbox(Generic[_Message]):
    """The inbox of one actor.

    Args:
        name: who it belongs to, for error messages.
        capacity: most messages that wait in each lane.
    """

    name: str
    capacity: int = CAPACITY
    _control: deque[_Message] = attrs.field(factory=deque)
    _normal: deque[_Message] = attrs.field(factory=deque)
    _asked: set[Reply[Any]] = attrs.field(factory=set)
    _closed: bool = False
    _arrived: trio.Event = attrs.field(factory=trio.Event)
    _has_room: trio.Event = attrs.field(factory=trio.Event)

    def tell(self, message: _Message, *, control: bool = False) -> None:
        """Enqueue a message, at once.

        Raises:
            MailboxFullError: the lane is full; nothing was enqueued.
            ActorEndedError: the actor has ended.
        """
        lane = self._control if control else self._normal
        if self._closed:
            raise ActorEndedError(f"{self.name} has ended")
        if len(lane) >= self.capacity:
            raise MailboxFullError(self.name, self.capacity)
        lane.append(message)
        self._arrived.set()

    async def put(self, message: _Message) -> None:
        """Enqueue a message as soon as there is room.

        Only downwards, or into an actor's own mailbox: two actors that wait for room in each other's
        mailboxes would wait for ever.
        """
        await trio.lowlevel.checkpoint()
        while True:
            try:
                self.tell(message)
            except MailboxFullError:
                self._has_room = trio.Event() if self._has_room.is_set() else self._has_room
                await self._has_room.wait()
            else:
                return

    async def ask(self, make_message: Callable[[Reply[_Answer]], _Message]) -> _Answer:
        """Send a message that carries a `Reply`, and wait for the answer.

        Raises:
            ActorEndedError: the actor ended before it answered; what it did is unknown.
        """
        reply: Reply[_Answer] = Reply()
        self._asked.add(reply)
        try:
            await self.put(make_message(reply))
            return await reply.wait()
        finally:
            self._asked.discard(reply)

    async def receive(self) -> _Message:
        """Take the next message out: control messages first."""
        await self.wait_for_message()
        return self._take()

    async def wait_for_message(self) -> None:
        """Return when there is one; it stays where it is."""
        await trio.lowlevel.checkpoint()
        while not (self._control or self._normal):
            self._arrived = trio.Event()
            await self._arrived.wait()

    def drain(self, most: int = CAPACITY) -> list[_Message]:
        """Take out what is waiting, at once, at most so many."""
        return [self._take() for _ in range(min(most, len(self._control) + len(self._normal)))]

    def take_back(self, is_void: Callable[[_Message], bool]) -> None:
        """Take out, unread, those messages that wait behind the control messages and do not hold any more."""
        kept = [message for message in self._normal if not is_void(message)]
        self._normal.clear()
        self._normal.extend(kept)
        self._has_room.set()

    def _take(self) -> _Message:
        message = (self._control or self._normal).popleft()
        self._has_room.set()
        return message

    def close(self) -> None:
        """The actor has ended: drop what waits, and tell those who asked."""
        self._closed = True
        self._control.clear()
        self._normal.clear()
        for reply in list(self._asked):
            reply.fail(ActorEndedError(f"{self.name} ended before it answered"))
        self._has_room.set()

    def __len__(self) -> int:
        return len(self._control) + len(self._normal)
