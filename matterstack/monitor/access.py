"""Who may come in: decided from a request's head alone."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
from collections.abc import Collection
from typing import Final
from urllib.parse import urlsplit

import attrs

from matterstack.monitor.http_requests import Request

TOKEN_BYTES: Final = 32
MOST_LINKS: Final = 16
LOOPBACK_NAMES: Final = frozenset({"localhost", "localhost.localdomain"})


def new_token() -> str:
    """A secret that nobody can guess."""
    return secrets.token_urlsafe(TOKEN_BYTES)


@attrs.frozen(kw_only=True)
class Refusal:
    """Why a request is not served."""

    status: int
    code: str
    message: str
    hint: str = ""


@attrs.define
class Access:
    """The rules of one server.

    Attributes:
        token: the secret of every request.
        cookie: the name of the cookie; servers on several ports of a machine share a browser's cookies.
        hosts: names under which the server may be asked for, beside addresses and those of loopback.
    """

    token: str
    cookie: str
    hosts: Collection[str] = ()
    is_secure: bool = False
    _links: list[str] = attrs.field(factory=list)

    def new_link_code(self) -> str:
        """A code that lets one browser in, once; of many unused ones, the newest count."""
        code = new_token()
        self._links = [*self._links, code][-MOST_LINKS:]
        return code

    def refusal(self, request: Request) -> Refusal | None:
        """Check the names and the token; None when the request may be served."""
        return self.foreign(request) or (None if self.is_known(request) else _NO_TOKEN)

    def foreign(self, request: Request) -> Refusal | None:
        """Whether it was not meant for this server, or comes from another site's page.

        A name that another site chose may point to this machine (DNS rebinding), so only addresses and names
        that are known count.  The port is left out: a tunnel changes it.
        """
        host = request.headers.get("host", "")
        name = _host_name(host)
        if name is None or not (_is_address(name) or name in LOOPBACK_NAMES or name in self.hosts):
            hint = "ask for it by its address, or start the monitor with --allow-host NAME"
            message = f"this server is not known as {host[:100]!r}"
            return Refusal(status=421, code="foreign_host", message=message, hint=hint)
        origin = request.headers.get("origin")
        if origin is not None and origin != f"{'https' if self.is_secure else 'http'}://{host}":
            message = f"pages of {origin[:100]!r} may not ask this server"
            return Refusal(status=403, code="foreign_origin", message=message)
        return None

    def is_known(self, request: Request) -> bool:
        """Whether it carries the token: as a bearer, in the cookie, or in the query."""
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        given = (bearer.strip() if scheme.lower() == "bearer" else "", request.query.get("token", ""))
        cookie = request.cookies.get(self.cookie, "")
        return any(_same(text, self.token) for text in given) or _same(cookie, self._cookie_value)

    def is_guess(self, request: Request) -> bool:
        """Whether something was given as a token, right or wrong."""
        return (
            "authorization" in request.headers or "token" in request.query or self.cookie in request.cookies
        )

    def takes_link(self, request: Request) -> bool:
        """Whether its query carries the code of an unused link, which is used now."""
        given = request.query.get("token", "")
        for code in self._links:
            if _same(given, code):
                self._links.remove(code)
                return True
        return False

    @property
    def cookie_header(self) -> str:
        """What lets a browser in from now on.  No script and no other site can use it."""
        flags = "; Secure" if self.is_secure else ""
        return f"{self.cookie}={self._cookie_value}; Path=/; HttpOnly; SameSite=Strict{flags}"

    @property
    def _cookie_value(self) -> str:
        return hmac.new(self.token.encode(), b"cookie", hashlib.sha256).hexdigest()


_NO_TOKEN: Final = Refusal(
    status=401,
    code="no_token",
    message="this needs the monitor's token",
    hint="open the link that `matterstack monitor` printed (it lets one browser in, once), or add "
    "?token=TOKEN with the token from the file that it named",
)


def _same(given: str, expected: str) -> bool:
    return bool(given) and hmac.compare_digest(given.encode(), expected.encode())


def _host_name(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
