"""One port: the page, what it asks for, and the event stream."""

from __future__ import annotations

import logging
import socket
import ssl
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Final

import attrs
import trio
from trio_websocket import wrap_server_stream

from matterstack.core.errors import MatterStackError, NotFoundError, UsageError
from matterstack.core.ids import RunId
from matterstack.monitor.access import SUBPROTOCOL, TOKEN_FOR_PAGE, Access, Refusal, new_token
from matterstack.monitor.endpoints import Documents, is_of_page
from matterstack.monitor.feed import Feed
from matterstack.monitor.http_requests import BadRequestError, Request, read_request
from matterstack.monitor.http_responses import (
    Response,
    error_response,
    json_response,
    send_response,
)
from matterstack.monitor.running_monitors import link_to
from matterstack.monitor.secret import TokenFile, keep_token, token_file_of
from matterstack.monitor.session import Session
from matterstack.monitor.steering import Steering
from matterstack.monitor.wire import Wire
from matterstack.storage.layout import Root, require_run_id
from matterstack.storage.openness import settle
from matterstack.storage.read.reader import open_reader

logger: Final = logging.getLogger(__name__)

MOST_CLIENTS: Final = 100
MOST_UNADMITTED: Final = 200
"""Connections from which no request with a token has come yet."""
MOST_MESSAGE_BYTES: Final = 1 << 20
"""A message above this ends its connection; one above 64 KiB gets an error reply."""
UPGRADE_TIMEOUT_S: Final = 10.0
SEND_BUFFER_BYTES: Final = 128 * 1024
"""What the system may keep for a client that does not read (by itself it would keep megabytes)."""
GUESS_DELAY_S: Final = 0.25
"""How long a wrong token waits for its refusal."""
TOKEN_INTERVAL_S: Final = 1.0
"""How often is looked whether the token was replaced: who came in with the old one is sent away."""
SESSION_INTERVAL_S: Final = 30.0
"""How often is looked whether the session of an open stream is over."""
SESSION_PATH: Final = "/api/session"


@attrs.define(eq=False)
class Monitor:
    """Serves one root.  Made by `open_monitor`, which owns its background tasks."""

    root: Root
    access: Access
    _documents: Documents
    _steering: Steering
    feed: Feed
    _seats: trio.CapacityLimiter
    _token_file: TokenFile | None
    _unadmitted: deque[trio.CancelScope] = attrs.field(factory=deque)
    _streams: set[trio.CancelScope] = attrs.field(factory=set)
    _looking: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(1))

    @property
    def clients(self) -> int:
        """How many are connected now."""
        return int(self._seats.borrowed_tokens)

    async def handle(self, stream: trio.abc.Stream) -> None:
        """Serve one connection; whatever happens on it, the others go on."""
        try:
            async with stream:
                _bound_buffer(stream)
                await self._handle(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return
        except Exception:
            logger.exception("a connection of the monitor ended with an error")

    async def _handle(self, stream: trio.abc.Stream) -> None:
        request: Request | None = None
        with trio.CancelScope() as patience, self._bounded(patience):
            request = await self._admitted(stream)
        if patience.cancelled_caught:
            await send_response(stream, error_response(503, "busy", "too many connections at once"))
        elif request is not None:
            await self._serve(request, stream)

    @contextmanager
    def _bounded(self, patience: trio.CancelScope) -> Iterator[None]:
        """Where there are too many of whom nobody knows who they are, the first are sent away."""
        if len(self._unadmitted) >= MOST_UNADMITTED:
            self._unadmitted.popleft().cancel()
        self._unadmitted.append(patience)
        try:
            yield
        finally:
            if patience in self._unadmitted:
                self._unadmitted.remove(patience)

    async def _admitted(self, stream: trio.abc.Stream) -> Request | None:
        """A request that may be served; None when it was answered already."""
        try:
            request = await read_request(stream)
        except BadRequestError as error:
            await send_response(stream, error_response(error.status, "bad_request", error.message))
            return None
        if request is None:
            return None
        response = await self._answer_to_anybody(request)
        if response is None:
            return request
        if response.status == HTTPStatus.UNAUTHORIZED and self.access.is_guess(request):
            await trio.sleep(GUESS_DELAY_S)
        await send_response(stream, response, head_only=request.method == "HEAD")
        return None

    async def _answer_to_anybody(self, request: Request) -> Response | None:
        """What is answered before anything of the root is served; None when the request is admitted."""
        if refusal := self.access.foreign(request):
            return _refused(request, refusal)
        if is_of_page(request.path):
            # Its files are those of the installation, and hold nothing of the root.
            return (
                _refused(request, TOKEN_FOR_PAGE) if "token" in request.query else await self._answer(request)
            )
        await self.look_at_token()
        if request.path == SESSION_PATH and request.method == "POST":
            begun = self.access.take_link(request)
            return json_response({"session": begun}) if isinstance(begun, str) else _refused(request, begun)
        refusal = self.access.refusal(request)
        return None if refusal is None else _refused(request, refusal)

    async def _serve(self, request: Request, stream: trio.abc.Stream) -> None:
        seat = object()
        try:
            self._seats.acquire_on_behalf_of_nowait(seat)
        except trio.WouldBlock:
            busy = error_response(503, "busy", f"{MOST_CLIENTS} clients are connected")
            await send_response(stream, busy)
            return
        try:
            if request.path == "/events" and request.is_upgrade:
                await self._stream_while_admitted(request, stream)
            else:
                response = await self._answer(request)
                await send_response(stream, response, head_only=request.method == "HEAD")
        finally:
            self._seats.release_on_behalf_of(seat)

    async def look_at_token(self) -> None:
        """Go by the token that is in its file now.  With another one, whoever is connected is sent away."""
        if self._token_file is None:
            return
        token = await trio.to_thread.run_sync(self._token_file.news, limiter=self._looking)
        if token is None or token == self.access.token:
            return
        logger.info("the token was replaced: who is connected is sent away")
        self.access.take_token(token)
        for scope in self._streams:
            scope.cancel()

    async def watch_token(self) -> None:
        """Look at the token for ever."""
        while True:
            await trio.sleep(TOKEN_INTERVAL_S)
            await self.look_at_token()

    # ---- pages and documents ----

    async def _answer(self, request: Request) -> Response:
        if request.method not in {"GET", "HEAD"}:
            return error_response(405, "method", f"{request.method} is not served here")
        if request.path == SESSION_PATH:
            return json_response({"is_known": True})
        try:
            return await self._documents.answer(request)
        except MatterStackError as error:
            return _told(error)
        except Exception:
            logger.exception("%s could not be answered", request.path)
            return error_response(500, "internal", "this should not have happened; the log tells more")

    # ---- the stream ----

    async def _stream_while_admitted(self, request: Request, stream: trio.abc.Stream) -> None:
        """A stream that is open counts as use of its session, and ends with it."""
        async with trio.open_nursery() as nursery:
            self._streams.add(nursery.cancel_scope)
            nursery.start_soon(self._end_with_session, request, nursery.cancel_scope)
            try:
                await self._stream_events(request, stream)
            finally:
                self._streams.discard(nursery.cancel_scope)
            nursery.cancel_scope.cancel()

    async def _end_with_session(self, request: Request, scope: trio.CancelScope) -> None:
        # Time ends a session, and nothing tells of that.
        while self.access.refusal(request) is None:  # noqa: ASYNC110
            await trio.sleep(SESSION_INTERVAL_S)
        scope.cancel()

    async def _stream_events(self, request: Request, stream: trio.abc.Stream) -> None:
        try:
            after, run, with_rows = _wanted(request)
        except MatterStackError as error:
            await send_response(stream, _told(error))
            return
        async with trio.open_nursery() as nursery:
            wire = Wire(request.raw, stream)
            with trio.move_on_after(UPGRADE_TIMEOUT_S) as upgrading:
                handshake = await wrap_server_stream(nursery, wire, max_message_size=MOST_MESSAGE_BYTES)
                asked_for = SUBPROTOCOL in handshake.proposed_subprotocols
                websocket = await handshake.accept(subprotocol=SUBPROTOCOL if asked_for else None)
            if not upgrading.cancelled_caught:
                session = Session(websocket, wire, self.feed, self._steering.carry_out, after, run, with_rows)
                await session.serve()
            nursery.cancel_scope.cancel()


def _bound_buffer(stream: trio.abc.Stream) -> None:
    plain = stream.transport_stream if isinstance(stream, trio.SSLStream) else stream
    if isinstance(plain, trio.SocketStream):
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)


def _refused(request: Request, refusal: Refusal) -> Response:
    if "text/html" in request.headers.get("accept", ""):
        text = f"{refusal.message}\n\n{refusal.hint}\n"
        return Response(status=refusal.status, body=text.encode())
    return error_response(refusal.status, refusal.code, refusal.message, refusal.hint)


def _told(error: MatterStackError) -> Response:
    status = 404 if isinstance(error, NotFoundError) else 400 if isinstance(error, UsageError) else 503
    return error_response(status, error.code, str(error), error.hint)


def _wanted(request: Request) -> tuple[int | None, RunId | None, bool]:
    """After which event, of which run, and whether with the rows that events change."""
    after, run, rows = (request.query.get(name) for name in ("after", "run", "rows"))
    if after is not None and not (after.isascii() and after.isdecimal() and len(after) <= 18):
        raise UsageError(f"after: must be the sequence number of an event, not {after[:50]!r}")
    if rows not in {None, "0", "1"}:
        raise UsageError(f"rows: must be 1 or 0, not {str(rows)[:50]!r}")
    run_id = require_run_id(run) if run is not None else None
    return (int(after) if after is not None else None), run_id, rows == "1"


# ---- serving ----


@attrs.frozen(kw_only=True)
class Address:
    """Where a monitor is to listen.

    Attributes:
        port: 0 takes a free one.
        certificate, key: files in PEM form, for TLS.
        names: further host names under which it may be asked for.
    """

    host: str = "127.0.0.1"
    port: int = 8765
    certificate: Path | None = None
    key: Path | None = None
    names: Sequence[str] = ()


@attrs.frozen(kw_only=True)
class Served:
    """A monitor that listens, and how to get in.

    Attributes:
        url: its address, without any secret.
        link: lets one browser in, once.
        token_file: where the token is; of a private one, where that of others would be.
    """

    monitor: Monitor
    port: int
    url: str
    link: str
    token_file: Path


@asynccontextmanager
async def open_monitor(root: Root, address: Address, *, is_private: bool = False) -> AsyncIterator[Served]:
    """Listen, until the block is left.  A root that is open to others is closed first, as by an engine.

    Args:
        is_private: only this process is let in: the token is in its memory, and needs no file.

    Raises:
        UsageError: the address or the certificate cannot be used.
        StoreError: the store cannot be read, or the token cannot be kept.
        RefusedError: it cannot be shared with the group of its folder.
        ConfigError: the config of the root cannot be used.
    """
    for sentence in await trio.to_thread.run_sync(settle, root):
        logger.warning("%s", sentence)
    context = _tls(address)
    listeners = await _listeners(address)
    port = int(listeners[0].socket.getsockname()[1])
    token_file = token_file_of(root)
    token = new_token() if is_private else await trio.to_thread.run_sync(keep_token, token_file)
    names = {address.host, *address.names}
    access = Access(token, frozenset(names), is_secure=context is not None)
    seats = trio.CapacityLimiter(MOST_CLIENTS)
    # Two readers: a document of ten thousand tasks must not keep the events waiting.
    async with (
        open_reader(root) as for_documents,
        open_reader(root) as for_events,
        trio.open_nursery() as nursery,
    ):
        feed = Feed(for_events)
        documents = Documents(root, for_documents, lambda: int(seats.borrowed_tokens))
        steering = Steering(root, for_documents)
        watched = None if is_private else TokenFile(token_file)
        monitor = Monitor(root, access, documents, steering, feed, seats, watched)
        await monitor.look_at_token()
        nursery.start_soon(feed.serve)
        nursery.start_soon(monitor.watch_token)
        if context is None:
            nursery.start_soon(trio.serve_listeners, monitor.handle, listeners)
        else:
            secure = [trio.SSLListener(listener, context) for listener in listeners]
            nursery.start_soon(trio.serve_listeners, monitor.handle, secure)
        host = f"[{address.host}]" if ":" in address.host else address.host
        scheme = "https" if context is not None else "http"
        url = f"{scheme}://{host}:{port}"
        link = link_to(url, access.new_link_code())
        yield Served(monitor=monitor, port=port, url=url, link=link, token_file=token_file)
        nursery.cancel_scope.cancel()


async def _listeners(address: Address) -> list[trio.SocketListener]:
    try:
        return await trio.open_tcp_listeners(address.port, host=address.host)
    except OSError as error:
        raise UsageError(
            f"cannot listen on {address.host} port {address.port}: {error.strerror or error}",
            hint="take another one with --port, or 0 for any that is free",
        ) from error


def _tls(address: Address) -> ssl.SSLContext | None:
    if address.certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(address.certificate, address.key)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"--certfile {address.certificate}: cannot be used: {error}") from error
    return context
