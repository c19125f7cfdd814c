"""One websocket: events go out in order, commands come in, and a slow or broken client harms nobody."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import attrs
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection

from matterstack.core.errors import InvariantError, MatterStackError, UsageError
from matterstack.core.ids import RunId
from matterstack.monitor.commands import BadCommandError, parse_command
from matterstack.monitor.feed import Feed, FellBehindError
from matterstack.monitor.sent_fields import SentCommand
from matterstack.monitor.wire import SEND_TIMEOUT_S, StalledError, Wire

logger: Final = logging.getLogger(__name__)

PROTOCOL: Final = 1
PROTOCOL_WITH_ROWS: Final = 2
"""What is said to a client that has asked for the rows that events change, too."""
BEHIND: Final = 4008
"""Close code for a client that takes its events too slowly."""
NO_SUCH_SEQ: Final = 4004
"""Close code for a client that asks for what comes after an event that the store never had."""
PING_INTERVAL_S: Final = 20.0
GOING_AWAY: Final = 1001
CLOSE_TIMEOUT_S: Final = 5.0
FAREWELL_S: Final = 0.2
COMMANDS_AT_ONCE: Final = 8

CarryOut = Callable[[SentCommand], Awaitable[Mapping[str, Any]]]
"""Carries a command out, and says what stands in the reply; raises `MatterStackError` where it is refused."""


@attrs.define(eq=False)
class Session:
    """A client that has been let in."""

    _socket: WebSocketConnection
    _wire: Wire
    _feed: Feed
    _carry_out: CarryOut
    _after: int | None
    _run: RunId | None
    _with_rows: bool = False
    _under_way: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(COMMANDS_AT_ONCE))

    async def serve(self) -> None:
        """Serve it until it goes."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._take_commands, nursery)
                nursery.start_soon(self._keep_alive)
                await self._send_events()
                nursery.cancel_scope.cancel()
        except* (ConnectionClosed, StalledError):
            pass
        finally:
            # When the server stops, nothing reads the client's farewell any more: it is not waited for long.
            with trio.move_on_after(FAREWELL_S, shield=True):
                await self._socket.aclose(GOING_AWAY)

    # ---- out ----

    async def _send_events(self) -> None:
        newest = await self._feed.newest()
        after = newest if self._after is None else self._after
        protocol = PROTOCOL_WITH_ROWS if self._with_rows else PROTOCOL
        await self._send({"type": "hello", "protocol": protocol, "seq": newest})
        if after > newest:
            await self._close(NO_SUCH_SEQ, f"the newest event has seq {newest}")
            return
        async with self._feed.listen(after, self._run, with_rows=self._with_rows) as listener:
            last = after
            try:
                while True:
                    batch = await listener.next_batch()
                    await self._send_frames(batch.data_with_rows if self._with_rows else batch.data)
                    last = batch.last
            except (FellBehindError, StalledError):
                await self._close(BEHIND, f"too slow; the last event had seq {last}")

    async def _send_frames(self, data: bytes) -> None:
        # The library encodes each event for each client anew, and makes a system call for each.
        if self._socket.closed:
            raise ConnectionClosed(self._socket.closed)
        try:
            await self._wire.send_frames(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise ConnectionClosed(self._socket.closed) from None

    async def _send(self, document: Mapping[str, Any]) -> None:
        text = json.dumps(document, separators=(",", ":"))
        with trio.move_on_after(SEND_TIMEOUT_S) as sending:
            await self._socket.send_message(text)
        if sending.cancelled_caught:
            raise StalledError

    async def _close(self, code: int, reason: str) -> None:
        with trio.move_on_after(CLOSE_TIMEOUT_S):
            await self._socket.aclose(code, reason)

    async def _keep_alive(self) -> None:
        while True:
            await trio.sleep(PING_INTERVAL_S)
            with trio.move_on_after(SEND_TIMEOUT_S) as waiting:
                await self._socket.ping()
            if waiting.cancelled_caught:
                raise StalledError

    # ---- in ----

    async def _take_commands(self, nursery: trio.Nursery) -> None:
        while True:
            message = await self._socket.get_message()
            try:
                command = parse_command(message)
            except BadCommandError as error:
                await self._reply(error.reply_to, error)
                continue
            seat = object()
            try:
                self._under_way.acquire_on_behalf_of_nowait(seat)
            except trio.WouldBlock:
                busy = UsageError(f"{COMMANDS_AT_ONCE} commands are being carried out; wait for a reply")
                await self._reply(command.id, busy)
                continue
            nursery.start_soon(self._carry_out_one, command, seat)

    async def _carry_out_one(self, command: SentCommand, seat: object) -> None:
        try:
            told = await self._carry_out(command)
        except MatterStackError as error:
            await self._reply(command.id, error)
        except Exception:
            logger.exception("command %s could not be carried out", command.id)
            await self._reply(command.id, InvariantError("this should not have happened; the log tells more"))
        else:
            await self._send({"reply": command.id, "ok": True, **told})
        finally:
            self._under_way.release_on_behalf_of(seat)

    async def _reply(self, to: str | int | None, error: MatterStackError) -> None:
        told = {"code": error.code, "message": str(error), "hint": error.hint}
        await self._send({"reply": to, "ok": False, "error": told})
