"""Where a monitor is, and how to get there."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, Final, Self
from urllib.parse import parse_qsl, urlsplit

import attrs
import h11
import trio
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    HandshakeError,
    WebSocketConnection,
    wrap_client_stream,
)

from matterstack.actors.nurseries import open_plain_nursery
from matterstack.core.errors import MatterStackError, MonitorError, UsageError, error_of

MOST_MESSAGE_BYTES: Final = 64 << 20
"""What changes of ten thousand tasks is told in one message, and the monitor is trusted."""
CONNECT_TIMEOUT_S: Final = 15.0
ANSWER_TIMEOUT_S: Final = 60.0
CLOSE_TIMEOUT_S: Final = 1.0
LAST_WORDS_S: Final = 0.2
MOST_BYTES: Final = 256 << 20
"""The largest document that is read: far above what the monitor makes."""
READ_BYTES: Final = 1 << 16
REFUSALS: Final = frozenset({401, 403, 404, 421})
"""HTTP statuses that stay what they are, however often one asks."""

SESSION_PATH: Final = "/api/session"

_TcpStream = trio.SocketStream | trio.SSLStream[trio.SocketStream]


@attrs.define(eq=False)
class _Watched(trio.abc.Stream):
    """A stream of which it is known when it has ended."""

    _stream: _TcpStream
    ended: trio.Event = attrs.field(factory=trio.Event)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        try:
            data = await self._stream.receive_some(max_bytes)
        except trio.BrokenResourceError:
            self.ended.set()
            raise
        if not data:
            self.ended.set()
        return data

    async def aclose(self) -> None:
        await self._stream.aclose()


@attrs.frozen
class Site:
    """Address of a monitor, and the way to it.

    Attributes:
        token: what lets this client in: the token for programs, or the session that a link began.
        code: of a link that was not used yet; see `with_link`.
    """

    host: str
    port: int
    tls: ssl.SSLContext | None
    token: str
    code: str = ""

    @classmethod
    def parse(cls, url: str, token: str, tls: ssl.SSLContext | None) -> Self:
        """Read the address of a monitor.

        Raises:
            UsageError: it is none, or the token can be none.
        """
        no_address = UsageError(f"{url!r} is no address of a monitor", hint="such as http://127.0.0.1:8765")
        try:
            parts = urlsplit(url)
        except ValueError:
            raise no_address from None
        if parts.scheme not in {"http", "https", "ws", "wss"} or not parts.hostname:
            raise no_address
        token = token.strip()  # as it comes out of its file
        require_secret(token)
        is_secure = parts.scheme in {"https", "wss"}
        try:
            port = parts.port or (443 if is_secure else 80)
        except ValueError:
            raise UsageError(f"{url!r}: its port is none") from None
        return cls(parts.hostname, port, (tls or ssl.create_default_context()) if is_secure else None, token)

    @classmethod
    def parse_link(cls, link: str) -> Self:
        """Read a link as ``matterstack monitor`` prints it, or an address with ``?token=`` and the token.

        Raises:
            UsageError: it is none, or there is neither in it.
        """
        address, _, fragment = link.partition("#")
        address, _, query = address.partition("?")
        code = dict(parse_qsl(fragment)).get("code", "")
        token = dict(parse_qsl(query)).get("token", "")
        site = cls.parse(address, token or code or "none", None)
        if not (token or code):
            hint = (
                "give --token-file, or the whole link that `matterstack monitor` printed, #code=... included"
            )
            raise UsageError(f"{address}: the token is missing", hint=hint)
        return site if token else attrs.evolve(site, token="", code=code)

    @property
    def name(self) -> str:
        """Host and port, as people and headers have them."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def _credentials(self) -> list[tuple[bytes, bytes]]:
        return [(b"Authorization", f"Bearer {self.token}".encode())]

    async def with_link(self) -> Self:
        """The same, let in: with a link, its code is traded for a session, as a browser does it.

        Raises:
            MonitorError: the monitor does not answer, or the link opens nothing (any more).
        """
        if not self.code:
            return self
        link = [(b"Authorization", f"Link {self.code}".encode())]
        status, body = await self._exchange(SESSION_PATH, link, method="POST")
        if status != HTTPStatus.OK:
            raise self._told(status, body)
        begun = self.parsed(body)
        session = begun.get("session") if isinstance(begun, dict) else None
        if not isinstance(session, str):
            raise self.stranger()
        require_secret(session)
        return attrs.evolve(self, token=session, code="")

    # ---- websockets ----

    @asynccontextmanager
    async def connected(self, query: str) -> AsyncIterator[WebSocketConnection]:
        """A websocket that has said hello.

        Raises:
            MonitorError: for good (`is_final`), or for now.
            UsageError: what is asked for makes no sense.
        """
        try:
            async with open_plain_nursery() as nursery, await self._stream() as stream:
                socket = await self._shake_hands(nursery, stream, f"/events?{query}")
                yield socket
                with trio.move_on_after(CLOSE_TIMEOUT_S):
                    await socket.aclose()
                nursery.cancel_scope.cancel()
        except ConnectionRejected as rejected:
            raise self._rejection(rejected.status_code, rejected.body or b"") from None

    async def _stream(self) -> _TcpStream:
        try:
            with trio.fail_after(CONNECT_TIMEOUT_S):
                stream = await trio.open_tcp_stream(self.host, self.port)
        except OSError as error:
            hint = "it is started with `matterstack monitor`; from elsewhere it takes a tunnel"
            raise MonitorError(f"{self.name} cannot be reached: {error}", hint=hint) from error
        except trio.TooSlowError:
            raise MonitorError(f"{self.name} gave no answer within {CONNECT_TIMEOUT_S:g} s") from None
        # The websocket library leaves a stream that breaks to the garbage collector: this one is closed here.
        return stream if self.tls is None else trio.SSLStream(stream, self.tls, server_hostname=self.host)

    async def _shake_hands(self, nursery: trio.Nursery, stream: _TcpStream, path: str) -> WebSocketConnection:
        watched = _Watched(stream)
        try:
            with trio.fail_after(CONNECT_TIMEOUT_S):
                async with open_plain_nursery() as watch:
                    watch.start_soon(self._notice_the_end, watched)
                    socket = await wrap_client_stream(
                        nursery,
                        watched,  # type: ignore[arg-type]  # any stream does
                        self.name,
                        path,
                        extra_headers=self._credentials,
                        max_message_size=MOST_MESSAGE_BYTES,
                    )
                    watch.cancel_scope.cancel()
                return socket
        except (HandshakeError, ConnectionClosed, trio.BrokenResourceError, ssl.SSLError) as error:
            raise MonitorError(f"{self.name} did not let this client in: {error}") from error
        except trio.TooSlowError:
            raise MonitorError(f"{self.name} gave no answer within {CONNECT_TIMEOUT_S:g} s") from None

    async def _notice_the_end(self, stream: _Watched) -> None:
        """The websocket library waits on when the other side closes instead of answering, as tunnels do."""
        await stream.ended.wait()
        await trio.sleep(LAST_WORDS_S)  # what came before the end is still being read
        raise MonitorError(f"{self.name} closed the connection without an answer")

    # ---- documents ----

    async def document(self, path: str) -> Any:  # noqa: ANN401  JSON
        """What the monitor answers to a GET.

        Raises:
            MonitorError: it does not answer, or not as a monitor does.
            MatterStackError: what it answers with; of the same class and code as where it happened.
        """
        status, body = await self._exchange(path, self._credentials)
        if status != HTTPStatus.OK:
            raise self._told(status, body)
        return self.parsed(body)

    async def _exchange(
        self, path: str, credentials: Sequence[tuple[bytes, bytes]], *, method: str = "GET"
    ) -> tuple[int, bytes]:
        try:
            with trio.fail_after(ANSWER_TIMEOUT_S):
                async with await self._stream() as stream:
                    return await self._exchange_on(stream, path, credentials, method)
        except (trio.BrokenResourceError, h11.RemoteProtocolError, ssl.SSLError) as error:
            raise MonitorError(f"{self.name} gave no answer to {path}: {error}") from error
        except trio.TooSlowError:
            raise MonitorError(f"{self.name} gave no answer within {ANSWER_TIMEOUT_S:g} s") from None

    async def _exchange_on(
        self, stream: _TcpStream, path: str, credentials: Sequence[tuple[bytes, bytes]], method: str
    ) -> tuple[int, bytes]:
        http = h11.Connection(h11.CLIENT)
        headers = [(b"Host", self.name.encode()), (b"Connection", b"close"), *credentials]
        request = h11.Request(method=method, target=path, headers=headers)
        await stream.send_all(http.send(request) + http.send(h11.EndOfMessage()))
        status, body = 0, bytearray()
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA:
                http.receive_data(bytes(await stream.receive_some(READ_BYTES)))
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > MOST_BYTES:
                    raise MonitorError(f"{self.name}: its answer has more than {MOST_BYTES} bytes")
            elif isinstance(event, h11.EndOfMessage):
                return status, bytes(body)

    def parsed(self, message: str | bytes) -> Any:  # noqa: ANN401  JSON
        """Parse what the monitor sent as JSON.

        Raises:
            MonitorError: no monitor sends such a thing.
        """
        try:
            return json.loads(message)
        except (ValueError, RecursionError):
            raise self.stranger() from None

    def stranger(self) -> MonitorError:
        """There is something else than a monitor."""
        return MonitorError(f"{self.name} does not answer as a monitor does", is_final=True)

    def _rejection(self, status: int, body: bytes) -> MatterStackError:
        told = self._told(status, body)
        if isinstance(told, UsageError):
            return told
        text = f"{self.name} did not let this client in: {told}"
        return MonitorError(text, hint=told.hint, is_final=status in REFUSALS)

    def _told(self, status: int, body: bytes) -> MatterStackError:
        try:
            told = error_of(json.loads(body)["error"])
        except (ValueError, KeyError, TypeError, RecursionError):
            return MonitorError(
                f"{self.name} answered with HTTP status {status}", is_final=status in REFUSALS
            )
        if status in REFUSALS - {404}:
            return MonitorError(
                f"{self.name} did not let this client in: {told}", hint=told.hint, is_final=True
            )
        return told


def require_secret(text: str) -> None:
    """Fail where a text can be no secret of a monitor.

    Raises:
        UsageError: it cannot; the text is not repeated.
    """
    if not text.isascii() or not text.isprintable() or " " in text or not text:
        raise UsageError("that is no token", hint="it is in the file that `matterstack monitor` names")
