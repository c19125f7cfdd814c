"""The link to a monitor: events that keep coming, and what is asked of it.  The trio side of a client."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import urlencode

import attrs
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection

from matterstack.actors.nurseries import open_plain_nursery
from matterstack.client.address import Site
from matterstack.core.errors import MatterStackError, MonitorError, UsageError, error_of
from matterstack.embed.calls import TrioCalls

SIGN_OF_LIFE_S: Final = 20.0
"""How often the monitor is asked for one, and how long it is waited for."""
FIRST_WAIT_S: Final = 0.2
LONGEST_WAIT_S: Final = 15.0
MOST_BUFFERED: Final = 256
MOST_CHANGES_BUFFERED: Final = 4
"""Each of them may hold a page of events, and all rows that these changed."""
WITH_ROWS: Final = 2
"""The protocol of monitors that send rows."""
NO_SUCH_SEQ: Final = 4004
ORDER_ID: Final = 1

Event = dict[str, Any]
"""An event as JSON: seq, at (UTC), run, type, data.

Of a link with rows, a change instead: the ``events`` that came together, the last of which has number
``seq``, and the ``rows`` that they changed, for each run: seq, run, row, tasks, attempts.
"""


@attrs.frozen(kw_only=True)
class Connection:
    """How the event stream is doing.

    Attributes:
        is_live: events come as they happen.
        problem: why not; empty before the first try.
    """

    is_live: bool = False
    problem: str = ""


@attrs.define(eq=False)
class Link:
    """What a client and the task that listens for it share.

    Attributes:
        error: why there will be no more events.
    """

    site: Site
    calls: TrioCalls
    send: trio.MemorySendChannel[Event]
    events: trio.MemoryReceiveChannel[Event]
    connection: Connection = Connection()
    error: MatterStackError | None = None
    _kept: Event | None = None
    _turned: trio.Event = attrs.field(factory=trio.Event)

    def turn(self, connection: Connection) -> None:
        """The event stream is doing otherwise now."""
        self.connection = connection
        self._turned.set()
        self._turned = trio.Event()

    async def other_connection(self, known: Connection) -> Connection:
        """Wait until the event stream is doing otherwise than is known; returns how."""
        while self.connection == known:
            await self._turned.wait()
        return self.connection

    async def next_event(self, last: int | None) -> Event:
        """The event after the one with this number, however often it is asked for: a caller may be cancelled
        when it is on its way.

        Raises:
            MonitorError: the monitor does not let this client in, or has no such event.
        """
        if self._kept is None or self._kept["seq"] == last:
            try:
                self._kept = await self.events.receive()
            except trio.EndOfChannel:
                raise self.error or MonitorError(f"{self.site.name}: the stream has ended") from None
        return self._kept

    async def send_command(self, command: str, run_id: str, fields: Mapping[str, object]) -> dict[str, Any]:
        """Over a connection of its own: replies must not wait for events that nobody reads.

        Returns the reply.

        Raises:
            MatterStackError: it was refused; of the same class and code as where it happened.
            MonitorError: the connection was lost, so nobody knows; to ask again does no harm.
        """
        order = {"id": ORDER_ID, "command": command, "run": run_id, **fields}
        site = self.site
        try:
            async with (
                site.connected(urlencode({"run": run_id})) as socket,
                open_plain_nursery() as nursery,
            ):
                nursery.start_soon(require_signs_of_life, site, socket)
                await socket.send_message(json.dumps(order))
                while (reply := site.parsed(await socket.get_message())).get("reply") != ORDER_ID:
                    if reply.get("reply", ORDER_ID) is None:  # it could not be read, not even its id
                        break
                nursery.cancel_scope.cancel()
        except ConnectionClosed:
            text = f"{site.name}: the connection was lost; {command} may have been carried out"
            raise MonitorError(text, hint="ask again: twice is the same as once") from None
        if not reply["ok"]:
            raise error_of(reply["error"])
        done: dict[str, Any] = reply
        return done


async def require_signs_of_life(site: Site, socket: WebSocketConnection) -> None:
    """Ask for one now and then.

    Raises:
        MonitorError: there was none.
    """
    while True:
        await trio.sleep(SIGN_OF_LIFE_S)
        with trio.move_on_after(SIGN_OF_LIFE_S) as waiting:
            await socket.ping()
        if waiting.cancelled_caught:
            raise MonitorError(f"{site.name} gives no sign of life")


@asynccontextmanager
async def open_link(
    site: Site, *, after: int | None, run: str | None = None, with_rows: bool = False
) -> AsyncIterator[Link]:
    """Open the connection to a monitor; see `matterstack.connect`.

    Args:
        with_rows: give changes in place of events.
    """
    calls = TrioCalls("client")
    most = MOST_CHANGES_BUFFERED if with_rows else MOST_BUFFERED
    link = Link(site, calls, *trio.open_memory_channel[Event](most))
    async with open_plain_nursery() as nursery, link.events:
        nursery.start_soon(_Listening(link, after, run, with_rows).serve)
        try:
            yield link
        finally:
            calls.close()
        nursery.cancel_scope.cancel()


@attrs.define
class _Listening:
    """Keeps the events of a monitor coming, over as many connections as it takes."""

    _link: Link
    _after: int | None
    _run: str | None
    _with_rows: bool = False
    _failures: int = 0

    async def serve(self) -> None:
        """Until it is cancelled, or not let in."""
        async with self._link.send:
            while self._link.error is None:
                try:
                    await self._listen()
                except MonitorError as error:
                    self._note(str(error), error if error.is_final else None)
                except UsageError as error:
                    self._note(str(error), error)
                except ConnectionClosed as closed:
                    self._note_closed(closed)
                if self._link.error is None:
                    await self._wait()

    async def _listen(self) -> None:
        site = self._link.site
        wanted = {"after": self._after, "run": self._run, "rows": 1 if self._with_rows else None}
        query = urlencode({name: value for name, value in wanted.items() if value is not None})
        async with site.connected(query) as socket, open_plain_nursery() as nursery:
            nursery.start_soon(require_signs_of_life, site, socket)
            hello = site.parsed(await socket.get_message())
            if self._after is None:
                self._after = self._seq_of(hello)
            if self._with_rows and hello.get("protocol", 1) < WITH_ROWS:
                hint = "start it anew with the version that is installed here"
                raise MonitorError(f"{site.name} is too old a monitor", hint=hint, is_final=True)
            self._link.turn(Connection(is_live=True))
            while True:
                told = await (self._next_change(socket) if self._with_rows else self._next(socket))
                self._failures = 0
                await self._link.send.send(told)
                self._after = told["seq"]

    async def _next(self, socket: WebSocketConnection) -> Event:
        told: Event = self._link.site.parsed(await socket.get_message())
        self._seq_of(told)
        return told

    async def _next_change(self, socket: WebSocketConnection) -> Event:
        """Events up to the frame that says that all they changed was told.

        Where the connection is lost before that, they come once more.
        """
        events: list[Event] = []
        rows: list[Event] = []
        while (told := await self._next(socket)).get("type") != "as_of":
            (rows if told.get("type") == "rows" else events).append(told)
        return {"seq": told["seq"], "events": events, "rows": rows}

    def _seq_of(self, document: object) -> int:
        seq = document.get("seq") if isinstance(document, dict) else None
        if not isinstance(seq, int):
            raise self._link.site.stranger()
        return seq

    async def _wait(self) -> None:
        wait_s = min(FIRST_WAIT_S * 2**self._failures, LONGEST_WAIT_S)
        self._failures += 1
        # Many clients that lost the same monitor must not come back all at once.
        await trio.sleep(wait_s * random.uniform(0.5, 1))  # noqa: S311

    def _note_closed(self, closed: ConnectionClosed) -> None:
        words = (closed.reason.reason if closed.reason is not None else None) or "the connection was lost"
        is_final = closed.reason is not None and closed.reason.code == NO_SUCH_SEQ
        text = f"there is no event {self._after}: {words}"
        self._note(words, MonitorError(text, is_final=True) if is_final else None)

    def _note(self, problem: str, error: MatterStackError | None) -> None:
        self._link.error = error
        self._link.turn(Connection(problem=problem))
