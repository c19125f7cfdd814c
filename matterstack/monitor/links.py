"""Links for browsers: made by who can read the root's secrets, taken once, by the one monitor they are for.

A link carries a code: until when it counts, a number used once, and a MAC of both.  The key of the MAC is
made anew at each start of a monitor, so that a code opens nothing on another port, and nothing after a
restart; and no secret has to be sent anywhere to get a new link.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from typing import Final

import attrs

LINK_S: Final = 3600.0
"""How long a link may lie about unused."""
MOST_USED: Final = 4096
"""Numbers of used links that are remembered; beyond that, no link is taken before some are too old anyway."""
_CODE: Final = re.compile(r"(\d{1,12})\.([\w-]{16,64})\.([\w-]{43})", re.ASCII)


class NoLinkError(Exception):
    """A code that opens nothing, and why."""


def new_code(key: str, token: str, now: float) -> str:
    """A code that lets one browser in, once, within `LINK_S` from now (seconds since 1970).

    Args:
        key: of this start of the monitor.
        token: of the root; a link ends with it.
    """
    text = f"{int(now + LINK_S)}.{secrets.token_urlsafe(16)}"
    return f"{text}.{_mac(key, token, text)}"


@attrs.define
class UsedLinks:
    """The links of one start of a monitor that were used already."""

    _too_old_at: dict[str, float] = attrs.field(factory=dict)

    def take(self, code: str, key: str, token: str, now: float) -> None:
        """Use the code of a link up.

        Raises:
            NoLinkError: it was used before, is too old, or is none of this start.
        """
        found = _CODE.fullmatch(code)
        if found is None or not hmac.compare_digest(found[3], _mac(key, token, f"{found[1]}.{found[2]}")):
            raise NoLinkError("this link is cut off, or is none of this start of the monitor")
        too_old_at, number = float(found[1]), found[2]
        self._too_old_at = {n: at for n, at in self._too_old_at.items() if at > now}
        if number in self._too_old_at:
            raise NoLinkError("this link was used before")
        if too_old_at <= now:
            raise NoLinkError("this link is too old")
        if len(self._too_old_at) >= MOST_USED:
            raise NoLinkError("too many links were used within the hour")
        self._too_old_at[number] = too_old_at


def _mac(key: str, token: str, text: str) -> str:
    digest = hmac.new(f"{key}.{token}".encode(), text.encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).decode("ascii").rstrip("=")
