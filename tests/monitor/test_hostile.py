"""Clients that mean harm, or know no better: the others do not notice."""

from __future__ import annotations

import hmac
import os
import socket as sockets
import struct
from collections.abc import Mapping
from contextlib import AsyncExitStack
from hmac import compare_digest

import pytest
import trio

from matterstack.core.run import messages as m
from matterstack.monitor import feed, server
from tests.monitor.conftest import PATIENCE_S, Place, next_document, next_frame, upgraded

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
    masks = (MASK * (len(payload) // 4 + 1))[: len(payload)]
    masked = int.from_bytes(payload) ^ int.from_bytes(masks)  # there are payloads of a mebibyte
    return head + MASK + masked.to_bytes(len(payload))


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


async def drain(stream: trio.SocketStream) -> bytes:
    """Read to the end, which is there whether it comes in order or not."""
    data = b""
    with trio.fail_after(PATIENCE_S):
        try:
            while more := await stream.receive_some():
                data += more
        except trio.BrokenResourceError:
            return data
    return data


async def send(stream: trio.SocketStream, data: bytes) -> None:
    """Send as much of it as the other side takes."""
    try:
        await stream.send_all(data)
    except trio.BrokenResourceError:
        return


async def assert_the_others_are_served(place: Place) -> None:
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
        await assert_the_others_are_served(place)


@pytest.mark.parametrize("name", list(WAITED_FOR))
async def test_what_is_incomplete_or_too_much_keeps_nobody_waiting(place: Place, name: str) -> None:
    async with place.serving(), upgraded(place) as hostile:
        await send(hostile, WAITED_FOR[name])
        await assert_the_others_are_served(place)


def request(*headers: str, first: str = "GET /api/runs HTTP/1.1") -> bytes:
    """The head of a request that would be let in."""
    return "\r\n".join((first, "Authorization: Bearer {token}", *headers, "", "")).encode("latin-1")


EVENTS = "GET /events HTTP/1.1"
UPGRADE = ("Host: 127.0.0.1", "Upgrade: websocket", "Connection: Upgrade")
KEY = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="
NO_HTTP: Mapping[str, tuple[bytes, int]] = {
    "the beginning of TLS": (
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x55" * 500 + b"\r\n\r\n",
        400,
    ),
    "the banner of ssh": (b"SSH-2.0-OpenSSH_9.2p1\r\n\r\n", 400),
    "the preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 421),
    "HTTP/0.9": (b"GET /\r\n\r\n", 400),
    "zeros": (b"\x00" * 40_000, 400),
    "a line without end": (b"GET /" + b"a" * 40_000, 431),
    "ten thousand headers": (request(*[f"X-{i}: y" for i in range(10_000)]), 431),
    "a header with a zero": (request("Host: 127.0.0.1", "X: a\x00b"), 400),
    "a header that goes on in the next line": (request("Host: 127.0.0.1", "X: a", " b"), 200),
    "a name with a space": (request("Host: 127.0.0.1", "X y: z"), 400),
    "two hosts": (request("Host: 127.0.0.1", "Host: evil.example.org"), 400),
    "two lengths": (request("Host: 127.0.0.1", "Content-Length: 0", "Content-Length: 7"), 400),
    "a length below zero": (request("Host: 127.0.0.1", "Content-Length: -1"), 400),
    "a length and pieces": (
        request("Host: 127.0.0.1", "Content-Length: 3", "Transfer-Encoding: chunked"),
        413,
    ),
    "an address that is none": (request("Host: 127.0.0.1", first="GET //[::1 HTTP/1.1"), 400),
    "two tokens": (request("Host: 127.0.0.1", "Authorization: Bearer x"), 401),
    "a path with a zero": (request("Host: 127.0.0.1", first="GET /api/runs/%00 HTTP/1.1"), 400),
    "a thousand parameters": (
        request("Host: 127.0.0.1", first=f"GET /api/runs?{'a=1&' * 1000} HTTP/1.1"),
        400,
    ),
    "an upgrade without a key": (request(*UPGRADE, "Sec-WebSocket-Version: 13", first=EVENTS), 400),
    "an upgrade of another version": (request(*UPGRADE, KEY, "Sec-WebSocket-Version: 7", first=EVENTS), 426),
    "an upgrade that is posted": (
        request(*UPGRADE, KEY, "Sec-WebSocket-Version: 13", first="POST /events HTTP/1.1"),
        400,
    ),
    "an upgrade of HTTP/1.0": (
        request(*UPGRADE, KEY, "Sec-WebSocket-Version: 13", first="GET /events HTTP/1.0"),
        426,
    ),
    "an upgrade of a run that is none": (
        request(*UPGRADE, KEY, "Sec-WebSocket-Version: 13", first="GET /events?run=../../etc HTTP/1.1"),
        400,
    ),
}


@pytest.mark.parametrize("name", list(NO_HTTP))
async def test_what_is_no_proper_request_gets_a_status_and_an_end(place: Place, name: str) -> None:
    data, status = NO_HTTP[name]
    async with (
        place.serving(),
        await trio.open_tcp_stream("127.0.0.1", place.port) as hostile,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(send, hostile, data.replace(b"{token}", place.token.encode()))
        answer = await drain(hostile)
        assert answer.partition(b"\r\n")[0].split()[1:2] == [str(status).encode()], answer[:300]
        await assert_the_others_are_served(place)


async def test_a_wrong_token_is_compared_in_constant_time_and_answered_late(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "GUESS_DELAY_S", 0.1)
    compared: list[bytes | str] = []

    def compare(given: bytes, expected: bytes) -> bool:
        compared.append(given)
        return compare_digest(given, expected)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    async with place.serving() as served:
        began = trio.current_time()
        answer = await place.ask(
            "/events?token=guess", headers={"Authorization": "Bearer guess"}, known=False
        )
        took_s = trio.current_time() - began
        code = served.link.partition("=")[2]
        link = await place.ask(
            "/api/session", method="POST", headers={"Authorization": f"Link {code[:-1]}~"}, known=False
        )
        forged = code[:-1] + ("A" if code[-1] != "A" else "E")
        forgery = await place.ask(
            "/api/session", method="POST", headers={"Authorization": f"Link {forged}"}, known=False
        )
    assert [one.status for one in (answer, link, forgery)] == [401, 401, 401]
    assert took_s >= 0.1
    assert compared.count(b"guess") == 2
    assert forged.rpartition(".")[2] in compared


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
            with trio.move_on_after(PATIENCE_S) as waited:
                while (await place.ask("/api/runs")).status != 200:
                    await trio.lowlevel.checkpoint()
            assert not waited.cancelled_caught, "its seat is still taken"


async def test_slow_heads_keep_nobody_out(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MOST_UNADMITTED", 5)
    async with place.serving(), AsyncExitStack() as stack:
        slow = []
        for _ in range(12):
            stream = await stack.enter_async_context(await trio.open_tcp_stream("127.0.0.1", place.port))
            await stream.send_all(b"GET / HTTP/1.1\r\nX-Slow: ")
            slow.append(stream)
        await assert_the_others_are_served(place)
        for stream in slow[:7]:
            assert (await drain(stream)).startswith(b"HTTP/1.1 503")
        await slow[-1].send_all(b"x\r\nHost: 127.0.0.1\r\n\r\n")
        assert (await drain(slow[-1])).startswith(b"HTTP/1.1 200"), "the last ones are still waited for"


async def test_thousands_of_connections_are_refused_and_those_who_are_in_stay_served(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MOST_UNADMITTED", 20)
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


async def test_many_who_ask_for_the_past_and_read_nothing_take_little_memory(place: Place) -> None:
    turns: list[m.Message] = [m.Pause(by="ann", reason="x" * 500_000), m.Resume(by="ann")]
    place.run.tell(*turns * 60)
    async with place.serving(), AsyncExitStack() as stack:
        await assert_the_others_are_served(place)
        before = resident_bytes()
        for _ in range(20):
            stalled = await stack.enter_async_context(upgraded(place, "&after=0"))
            await next_frame(stalled)
        await assert_the_others_are_served(place)
        assert resident_bytes() - before < 60 << 20, "30 MB are stored, and 20 clients ask for them"


async def test_who_falls_behind_by_many_bytes_is_dropped_as_well(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "MOST_BEHIND_BYTES", 1 << 20)
    after = len(place.lines())
    async with place.serving() as served, upgraded(place) as stalled:
        await next_frame(stalled)
        await served.monitor.feed.wait_for_listeners(1)
        turns: list[m.Message] = [m.Pause(by="ann", reason="x" * 300_000), m.Resume(by="ann")]
        place.run.tell(*turns * 20)
        await served.monitor.feed.wait_told(after + 40)
        count = 0
        while (frame := await next_frame(stalled))[0] == 1:
            count += 1
    assert frame[1].startswith(struct.pack(">H", 4008))
    assert 0 < count < 40


def resident_bytes() -> int:
    with open("/proc/self/statm") as file:  # noqa: PTH123
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
