"""A monitor on a free port of loopback, beside a store in which a run is written by hand."""

from __future__ import annotations

import json
import socket as sockets
import sqlite3
import struct
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import h11
import pytest
import trio
from trio_websocket import WebSocketConnection, wrap_client_stream

from matterstack.core.ids import RunId
from matterstack.core.run import messages as m
from matterstack.monitor.server import Address, Served, open_monitor
from matterstack.storage.layout import Root
from matterstack.storage.read.events import event_lines
from matterstack.storage.schema import open_database
from tests.support.command import CommandLine, command_line_in
from tests.support.stored import StoredRun, new_root

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.monitor.page_support import Site

OTHER: RunId = RunId("20260102T030405-zzzzzz")
PATIENCE_S = 20.0


@attrs.frozen
class Answer:
    """What came back on a plain request."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        return str(self.json["error"]["code"])


@attrs.define
class Place:
    """A root with a run that is paused and resumed again and again."""

    root: Root
    connection: sqlite3.Connection
    run: StoredRun
    other: StoredRun
    served: Served | None = None

    @property
    def token(self) -> str:
        assert self.served is not None
        return self.served.token_file.read_text().strip()

    @property
    def port(self) -> int:
        assert self.served is not None
        return self.served.port

    def write(self, count: int, run: StoredRun | None = None) -> None:
        """Store so many events."""
        run = run or self.run
        for _ in range(count):
            paused = run.run.state.status.value == "PAUSED"
            run.tell(m.Resume(by="ann") if paused else m.Pause(by="ann", reason="lunch"))

    def let_go(self) -> None:
        """Nobody serves the run any more."""
        assert self.run.lease is not None
        self.run.lease.release(self.connection)
        self.run.lease = None

    async def write_to_listeners(self, served: Served) -> None:
        """Store an event as soon as somebody has caught up with the past: that one is told of it."""
        await served.monitor.feed.wait_for_listeners(1)
        self.write(1)

    def lines(self, after: int = 0, run: RunId | None = None) -> list[dict[str, Any]]:
        """What the store has."""
        return [line for _, line in event_lines(self.connection, after, run, most=100_000)]

    @asynccontextmanager
    async def serving(self, **options: Any) -> AsyncIterator[Served]:
        """Serve it."""
        async with open_monitor(self.root, Address(port=0, **options)) as self.served:
            yield self.served

    @asynccontextmanager
    async def watching(self, query: str = "", **options: Any) -> AsyncIterator[WebSocketConnection]:
        """A client of the stream that has been let in."""
        headers = [(b"Authorization", f"Bearer {self.token}".encode())]
        host = f"127.0.0.1:{self.port}"
        async with (
            await trio.open_tcp_stream("127.0.0.1", self.port) as stream,
            trio.open_nursery() as nursery,
        ):
            socket = await wrap_client_stream(
                nursery, stream, host, f"/events{query}", extra_headers=headers, **options
            )
            yield socket
            await socket.aclose()
            nursery.cancel_scope.cancel()

    async def ask(
        self, path: str, *, method: str = "GET", headers: Mapping[str, str] | None = None, known: bool = True
    ) -> Answer:
        """One plain request."""
        sent = {"Host": f"127.0.0.1:{self.port}", "Connection": "close"}
        if known:
            sent["Authorization"] = f"Bearer {self.token}"
        connection = h11.Connection(h11.CLIENT)
        request = h11.Request(method=method, target=path, headers=list({**sent, **(headers or {})}.items()))
        async with await trio.open_tcp_stream("127.0.0.1", self.port) as stream:
            await stream.send_all(connection.send(request) + connection.send(h11.EndOfMessage()))
            return await answer_of(stream, connection)


async def answer_of(stream: trio.abc.ReceiveStream, connection: h11.Connection) -> Answer:
    """Read an answer to its end."""
    head: h11.Response | None = None
    body = b""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(bytes(await stream.receive_some()))
        elif isinstance(event, h11.Response):
            head = event
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        else:
            break
    assert head is not None, "no answer"
    return Answer(head.status_code, {k.decode(): v.decode() for k, v in head.headers}, body)


@asynccontextmanager
async def upgraded(place: Place, query: str = "") -> AsyncIterator[trio.SocketStream]:
    """A bare connection that has been let in as a websocket."""
    request = (
        f"GET /events?token={place.token}{query} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    async with await trio.open_tcp_stream("127.0.0.1", place.port) as stream:
        await stream.send_all(request.encode())
        end = -1
        while end < 0:
            end = (await stream.socket.recv(4096, sockets.MSG_PEEK)).find(b"\r\n\r\n")
        assert (await _exactly(stream, end + 4)).startswith(b"HTTP/1.1 101")
        yield stream


async def next_frame(stream: trio.SocketStream) -> tuple[int, bytes]:
    """The opcode and the payload of the next frame of a server: RFC 6455, section 5.2."""
    first, size = await _exactly(stream, 2)
    if size == 126:
        (size,) = struct.unpack(">H", await _exactly(stream, 2))
    elif size == 127:
        (size,) = struct.unpack(">Q", await _exactly(stream, 8))
    assert first & 0x80, "the monitor sends whole messages"
    return first & 0x0F, await _exactly(stream, size)


async def _exactly(stream: trio.SocketStream, size: int) -> bytes:
    data = b""
    with trio.fail_after(PATIENCE_S):
        while len(data) < size:
            more = bytes(await stream.receive_some(size - len(data)))
            assert more, "the connection was closed"
            data += more
    return data


async def next_document(socket: WebSocketConnection) -> dict[str, Any]:
    """The next text frame."""
    with trio.fail_after(PATIENCE_S):
        document: dict[str, Any] = json.loads(await socket.get_message())
    return document


async def next_lines(socket: WebSocketConnection, count: int) -> list[dict[str, Any]]:
    """The next events."""
    return [await next_document(socket) for _ in range(count)]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    root = new_root(tmp_path / "root")
    connection = open_database(root.database)
    run, other = StoredRun.create(connection, root), StoredRun.create(connection, root, OTHER)
    run.tell(m.Start())
    other.tell(m.Start())
    yield Place(root, connection, run, other)
    for stored in (run, other):
        if stored.lease is not None:
            stored.lease.release(connection)
    connection.close()


# ---- a browser; imported here, for most tests have none ----


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from tests.monitor.page_support import chromium

    with chromium() as browser:
        yield browser


@pytest.fixture
def site(command_line: CommandLine) -> Iterator[Site]:
    from tests.monitor.page_support import site_on

    with site_on(command_line) as site:
        yield site


@pytest.fixture(scope="module")
def any_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A monitor that runs already."""
    from tests.monitor.page_support import site_on

    with command_line_in(tmp_path_factory.mktemp("site")) as command_line, site_on(command_line) as site:
        site.start()
        yield site


@pytest.fixture
def shared(any_site: Site) -> Iterator[Site]:
    """The same monitor for many tests, for runs of each one's own."""
    yield any_site
    any_site.forget_runs()
