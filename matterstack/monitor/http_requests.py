"""One HTTP request, read with strict limits; what was read can be read again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

import attrs
import h11
import trio

MOST_HEAD_BYTES: Final = 16 * 1024
MOST_PARAMETERS: Final = 20
HEAD_TIMEOUT_S: Final = 10.0
RECEIVE_BYTES: Final = 4096


class BadRequestError(Exception):
    """A request that gets no more than an error status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@attrs.frozen(kw_only=True)
class Request:
    """The head of a request.

    Attributes:
        path: decoded, without the query.
        query: the last value of each parameter.
        headers: by lower-case name; of a header that came twice, none (no header that matters may).
        is_upgrade: whether it asks for a websocket.
        raw: every byte that was received, for whoever takes the connection over.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    is_upgrade: bool
    raw: bytes


async def read_request(stream: trio.abc.ReceiveStream) -> Request | None:
    """Read the head of one request; None when the client went away before it sent any.

    Raises:
        BadRequestError: it is no HTTP, is too long, has a body, or took longer than `HEAD_TIMEOUT_S`.
    """
    with trio.move_on_after(HEAD_TIMEOUT_S):
        return await _read(stream)
    raise BadRequestError(408, f"no whole request came within {HEAD_TIMEOUT_S:g} s")


async def _read(stream: trio.abc.ReceiveStream) -> Request | None:
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MOST_HEAD_BYTES)
    raw = b""
    try:
        while (event := connection.next_event()) is h11.NEED_DATA:
            data = bytes(await stream.receive_some(RECEIVE_BYTES))
            if not data and not raw:
                return None
            raw += data
            connection.receive_data(data)
    except h11.RemoteProtocolError as error:
        raise BadRequestError(error.error_status_hint, f"no valid HTTP request: {error}") from None
    if not isinstance(event, h11.Request):
        return None
    return _request(event, raw)


def _request(event: h11.Request, raw: bytes) -> Request:
    names = [name for name, _ in event.headers]
    headers = {
        name.decode("ascii"): value.decode("latin-1").strip()
        for name, value in event.headers
        if names.count(name) == 1
    }
    if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
        raise BadRequestError(413, "a request with a body is not taken")
    try:
        target = urlsplit(event.target.decode("ascii", errors="replace"))
        query = dict(parse_qsl(target.query, keep_blank_values=True, max_num_fields=MOST_PARAMETERS))
    except ValueError as error:
        raise BadRequestError(400, f"no valid address: {error}") from None
    return Request(
        method=event.method.decode("ascii"),
        path=unquote(target.path),
        query=query,
        headers=headers,
        is_upgrade=headers.get("upgrade", "").lower() == "websocket" and event.http_version == b"1.1",
        raw=raw,
    )
