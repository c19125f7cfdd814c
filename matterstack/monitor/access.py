"""Who may come in: decided from a request's head alone.

Programs have the root's token.  Browsers have a session, which a link begins; the page sends it in a header
of each request.  It is no cookie: a browser sends those to every server on the machine, whatever its port.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import time
from collections.abc import Callable, Collection
from typing import Final
from urllib.parse import urlsplit

import attrs

from matterstack.monitor.browser_sessions import BrowserSessions
from matterstack.monitor.http_requests import Request
from matterstack.monitor.links import NoLinkError, UsedLinks, new_code

TOKEN_BYTES: Final = 32
LOOPBACK_NAMES: Final = frozenset({"localhost", "localhost.localdomain"})
SUBPROTOCOL: Final = "matterstack"
"""What a page's websocket asks for, with its session behind it: scripts can send no other header with one."""
NEW_LINK: Final = (
    "get a new link with `matterstack monitor --new-link`, in the root's folder, and open it in this browser"
)


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
        token: the secret of programs; empty while there is none that only the user can read.
        hosts: names under which the server may be asked for, beside addresses and those of loopback.
        key: of the links of this start.
    """

    token: str
    hosts: Collection[str] = ()
    is_secure: bool = False
    key: str = attrs.field(factory=new_token)
    _now: Callable[[], float] = time.time
    _used: UsedLinks = attrs.field(factory=UsedLinks)
    _sessions: BrowserSessions = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._sessions = BrowserSessions(self._now)

    def new_link_code(self) -> str:
        """A code that lets one browser in, once."""
        return new_code(self.key, self.token, self._now())

    def take_token(self, token: str) -> None:
        """Another token counts from now on, and nobody who was let in before is known any more."""
        self.token = token
        self._sessions.end_all()

    def refusal(self, request: Request) -> Refusal | None:
        """Why what it carries does not let it in; None when it does."""
        given = _given(request)
        if any(self._sessions.use(secret) for secret in given):
            return None
        in_query = request.query.get("token", "") if request.path == "/events" else ""
        if not any(_same(secret, self.token) for secret in (*given, in_query)):
            return _NOT_KNOWN if _is_of_browser(request) else _NO_TOKEN
        return _TOKEN_IN_BROWSER if _is_of_browser(request) else None

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
        if origin is not None and origin not in self._origins(host, name):
            message = f"pages of {origin[:100]!r} may not ask this server"
            return Refusal(status=403, code="foreign_origin", message=message)
        return None

    def _origins(self, host: str, name: str) -> Collection[str]:
        own = f"{'https' if self.is_secure else 'http'}://{host}"
        # A proxy that was allowed by its name speaks TLS in place of this server.
        return {own, f"https://{host}"} if name in self.hosts and not _is_address(name) else {own}

    def take_link(self, request: Request) -> str | Refusal:
        """Use up the link that it carries; returns the secret of the session that this begins."""
        scheme, _, code = request.headers.get("authorization", "").partition(" ")
        try:
            if scheme.lower() != "link":
                raise NoLinkError("a session is begun with a link")
            self._used.take(code.strip(), self.key, self.token, self._now())
        except NoLinkError as why:
            return Refusal(status=401, code="used_link", message=str(why), hint=NEW_LINK)
        return self._sessions.begin()

    def is_guess(self, request: Request) -> bool:
        """Whether something was given as a secret, right or wrong."""
        return "authorization" in request.headers or "token" in request.query or bool(_given(request))


_NO_TOKEN: Final = Refusal(
    status=401,
    code="no_token",
    message="this needs the monitor's token",
    hint="it is in the file that `matterstack monitor` named: send it as `Authorization: Bearer TOKEN`",
)
_NOT_KNOWN: Final = Refusal(
    status=401, code="no_session", message="the monitor does not know this page (any more)", hint=NEW_LINK
)
_TOKEN_IN_BROWSER: Final = Refusal(
    status=403,
    code="token_in_browser",
    message="the token is for programs, never for a page",
    hint=f"a program sends neither Origin nor Sec-Fetch-Site; for a browser, {NEW_LINK}",
)
TOKEN_FOR_PAGE: Final = Refusal(
    status=403,
    code="token_in_browser",
    message="the token is for programs, never for a page (and now stands in this browser's history: "
    "replace it with `matterstack monitor --new-token`)",
    hint=NEW_LINK,
)


def _given(request: Request) -> list[str]:
    """What its head carries as a secret: as a bearer; for a websocket, as a page can send it."""
    scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
    given = [bearer.strip()] if scheme.lower() == "bearer" else []
    if request.path == "/events":
        name, _, session = request.headers.get("sec-websocket-protocol", "").partition(",")
        if name.strip() == SUBPROTOCOL:
            given.append(session.strip())
    return [secret for secret in given if secret]


def _is_of_browser(request: Request) -> bool:
    """Whether a browser sent it for a page: they say so, and no script can keep them from it."""
    return "origin" in request.headers or any(name.startswith("sec-fetch-") for name in request.headers)


def _same(given: str, expected: str) -> bool:
    return bool(expected) and hmac.compare_digest(given.encode(), expected.encode())


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
