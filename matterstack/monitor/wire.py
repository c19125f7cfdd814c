"""The connection below a websocket, on which ready frames go out beside those that the library makes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import attrs
import trio

SLICE_BYTES: Final = 64 * 1024
SEND_TIMEOUT_S: Final = 30.0
"""How long a client may take for one slice."""


class StalledError(Exception):
    """A client that does not take what it is sent."""


@attrs.define(eq=False)
class Wire(trio.abc.Stream):
    """A stream of which the first bytes have been read already: they come again.

    What is sent at one time stays together, whoever else sends; and after a frame that was cut, nothing is
    sent that would be taken for its end.
    """

    _first: bytes
    _stream: trio.abc.Stream
    _is_cut: bool = False
    _sending: trio.StrictFIFOLock = attrs.field(factory=trio.StrictFIFOLock)

    async def send_frames(self, data: bytes) -> None:
        """Send whole frames, however long they are, as long as the client goes on taking them.

        Raises:
            StalledError: it does not; part of a frame may have been sent.
            trio.BrokenResourceError, trio.ClosedResourceError: it is gone.
        """
        with trio.move_on_after(SEND_TIMEOUT_S) as sending:
            async with self._turn():
                for start in range(0, len(data), SLICE_BYTES):
                    sending.deadline = trio.current_time() + SEND_TIMEOUT_S
                    await self._stream.send_all(data[start : start + SLICE_BYTES])
        if sending.cancelled_caught:
            raise StalledError

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Receive the next bytes of the connection."""
        if not self._first:
            return bytes(await self._stream.receive_some(max_bytes))
        await trio.lowlevel.checkpoint()
        size = len(self._first) if max_bytes is None else max_bytes
        data, self._first = self._first[:size], self._first[size:]
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of these bytes, frame by frame."""
        async with self._turn():
            await self._stream.send_all(data)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        async with self._sending:
            if self._is_cut:
                raise trio.BrokenResourceError("a frame was cut")
            self._is_cut = True
            yield
            self._is_cut = False

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until something may be sent."""
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Close the connection below the websocket."""
        await self._stream.aclose()
