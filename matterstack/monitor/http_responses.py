"""What an HTTP request is answered with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

import attrs
import h11
import trio

SEND_TIMEOUT_S: Final = 30.0

# Nothing from elsewhere, nothing inline, no frame around it: whatever a job prints stays text.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_GUARDED: Final = (
    ("Content-Security-Policy", _POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cache-Control", "no-store"),
)


@attrs.frozen(kw_only=True)
class Response:
    """An HTTP response: status, headers and body."""

    status: int = 200
    kind: str = "text/plain; charset=utf-8"
    body: bytes = b""
    headers: Sequence[tuple[str, str]] = ()


def json_response(document: object, status: int = 200) -> Response:
    """A response that holds a JSON document."""
    # As ASCII: half of a surrogate pair, which somebody's text may hold, has no other form.
    text = json.dumps(document, separators=(",", ":"))
    return Response(status=status, kind="application/json", body=text.encode("ascii"))


def error_response(status: int, code: str, message: str, hint: str = "") -> Response:
    """An error, as the command line words it with ``--json``."""
    return json_response({"error": {"code": code, "message": message, "hint": hint}}, status)


async def send_response(stream: trio.abc.SendStream, response: Response, *, head_only: bool = False) -> None:
    """Send it whole; the connection is to be closed afterwards.

    A client that does not take it within `SEND_TIMEOUT_S`, or is gone, gets a part of it.
    """
    connection = h11.Connection(h11.SERVER)
    # So that h11 lets an answer be sent: the request itself was read by someone else.
    connection.receive_data(b"GET / HTTP/1.1\r\nHost: _\r\nConnection: close\r\n\r\n")
    connection.next_event()
    head = h11.Response(
        status_code=response.status,
        reason=HTTPStatus(response.status).phrase,
        headers=[
            ("Content-Type", response.kind),
            ("Content-Length", str(len(response.body))),
            ("Connection", "close"),
            *_GUARDED,
            *response.headers,
        ],
    )
    data = connection.send(head) or b""
    with trio.move_on_after(SEND_TIMEOUT_S):
        try:
            await stream.send_all(data if head_only else data + response.body)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return
