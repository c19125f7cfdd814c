"""Clients that mean harm, or know no better: the others do not notice."""

from __future__ import annotations

import os
import socket as sockets
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest
import trio

from matterstack.monitor import server
from tests.monitor.conftest import PATIENCE_S, Place, next_document

MASK = b"\x01\x02\x03\x04"


def frame(opcode: int, payload: bytes = b"", *, length: int | None = None, is_final: bool = True) -> bytes:
    """A frame of a client: RFC 6455, section 5.2.  ``length``: what it says to be, not what it is."""
    size = len(payload) if length is None else length
    head = bytes([(0x80 if is_final else 0) | opcode])
    if size < 126:
        head += bytes([0x80 | size])
    elif size < 1 << 16:
        head += b"\xfe" + struct.pack(">H", size)
    else:
        head += b"\xff" + struct.pack(">Q", size)
    return head + MASK + bytes(byte ^ MASK[i % 4] for i, byte in enumerate(payload))


ENDED: Mapping[str, bytes] = {
    "no frame at all": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "a frame that is not masked": b"\x81\x02hi",
    "a reserved bit": b"\xf1\x80" + MASK,
    "a reserved opcode": frame(3),
    "a continuation of nothing": frame(0, b"x"),
    "a text within a text": frame(1, b"a", is_final=False) + frame(1, b"b"),
    "a ping in pieces": frame(9, b"x", is_final=False),
    "a ping that is too long": frame(9, b"x" * 126),
    "a close code that must not be sent": frame(8, struct.pack(">H", 1005)),
    "a close of one byte": frame(8, b"\x03"),
    "text that is no UTF-8": frame(1, b"\xff\xfe"),
    "half a character at the end of a text": frame(1, "€".encode()[:2]),
    "a length with its highest bit set": b"\x81\xff" + b"\xff" * 8 + MASK,
    "a message beyond all measure": frame(1, b"x" * (2 << 20)),
    "a message beyond all measure in small pieces": frame(1, b"x" * 60_000, is_final=False)
    + frame(0, b"x" * 60_000, is_final=False) * 20,
    "a gigabyte that is announced and begun": frame(1, b"x" * (2 << 20), length=1 << 30),
    "a close": frame(8, struct.pack(">H", 1000)),
}
WAITED_FOR: Mapping[str, bytes] = {
    "nothing": b"",
    "half a head of a frame": b"\x81",
    "half a frame": frame(1, b"{", length=100),
    "a gigabyte that is announced": frame(1, length=1 << 30),
    "a thousand pings": frame(9, b"x") * 1000,
    "a thousand pongs to no ping": frame(10) * 1000,
    "a thousand empty texts": frame(1) * 1000,
    "a text that is never ended": frame(1, b"x", is_final=False),
    "a thousand wrong commands": frame(1, b"{}") * 1000,
}


@asynccontextmanager
async def upgraded(place: Place) -> AsyncIterator[trio.SocketStream]:
    """A bare connection that has been let in as a websocket."""
    request = (
        f"GET /events?token={place.token} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    async with await trio.open_tcp_stream("127.0.0.1", place.port) as stream:
        await stream.send_all(request.encode())
        head = b""
        while b"\r\n\r\n" not in head:
            head += bytes(await stream.receive_some())
        assert head.startswith(b"HTTP/1.1 101")
        yield stream


async def drain(stream: trio.SocketStream) -> None:
    """Read to the end, which is there whether it comes in order or not."""
    with trio.fail_after(PATIENCE_S):
        try:
            while await stream.receive_some():
                pass
        except trio.BrokenResourceError:
            return


async def send(stream: trio.SocketStream, data: bytes) -> None:
    """Send as much of it as the other side takes."""
    try:
        await stream.send_all(data)
    except trio.BrokenResourceError:
        return


async def require_the_others_are_served(place: Place) -> None:
    """An event reaches who listens, and a document who asks."""
    async with place.watching() as quiet:
        await next_document(quiet)
        place.write(1)
        assert (await next_document(quiet))["type"] in {"RunPaused", "RunResumed"}
    assert (await place.ask("/api/runs")).status == 200


@pytest.mark.parametrize("name", list(ENDED))
async def test_what_breaks_the_protocol_ends_its_own_connection(place: Place, name: str) -> None:
    async with place.serving(), upgraded(place) as hostile, trio.open_nursery() as nursery:
        nursery.start_soon(send, hostile, ENDED[name])
        await drain(hostile)
        await require_the_others_are_served(place)


@pytest.mark.parametrize("name", list(WAITED_FOR))
async def test_what_is_incomplete_or_too_much_keeps_nobody_waiting(place: Place, name: str) -> None:
    async with place.serving(), upgraded(place) as hostile:
        await send(hostile, WAITED_FOR[name])
        await require_the_others_are_served(place)


@pytest.mark.parametrize("name", ["half a frame", "nothing"])
async def test_a_client_that_vanishes_gives_its_seat_back(
    place: Place, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MOST_CLIENTS", 2)
    async with place.serving():
        for _ in range(6):
            async with upgraded(place) as hostile:
                await send(hostile, WAITED_FOR[name])
                # No farewell, but a reset, as of a machine that has lost its power.
                hostile.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, struct.pack("ii", 1, 0))
            with trio.fail_after(PATIENCE_S):
                while (await place.ask("/api/runs")).status != 200:
                    await trio.lowlevel.checkpoint()


async def test_thousands_of_connections_are_refused_and_those_who_are_in_stay_served(place: Place) -> None:
    async with place.serving(), place.watching() as quiet, trio.open_nursery() as nursery:
        await next_document(quiet)
        answers: list[bytes] = []

        async def come(limit: trio.CapacityLimiter) -> None:
            async with limit, await trio.open_tcp_stream("127.0.0.1", place.port) as stream:
                await stream.send_all(b"GET")
                with trio.move_on_after(0.2):
                    answers.append(bytes(await stream.receive_some()))

        limit = trio.CapacityLimiter(300)
        async with trio.open_nursery() as crowd:
            for _ in range(3000):
                crowd.start_soon(come, limit)
            for _ in range(5):
                place.write(1)
                assert (await next_document(quiet))["type"] in {"RunPaused", "RunResumed"}
        assert any(answer.startswith(b"HTTP/1.1 503") for answer in answers)
        with trio.fail_after(PATIENCE_S):
            while (await place.ask("/api/runs")).status != 200:
                await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()


async def test_a_gigabyte_takes_no_gigabyte_of_memory(place: Place) -> None:
    before = resident_bytes()
    async with place.serving():
        for _ in range(20):
            async with upgraded(place) as hostile, trio.open_nursery() as nursery:
                nursery.start_soon(send, hostile, ENDED["a gigabyte that is announced and begun"])
                await drain(hostile)
    assert resident_bytes() - before < 100 << 20


def resident_bytes() -> int:
    with open("/proc/self/statm") as file:  # noqa: PTH123
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
