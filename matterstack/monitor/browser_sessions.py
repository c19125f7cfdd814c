"""Sessions of browsers: random, kept in the memory of one monitor, and ended by time."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from typing import Final

import attrs

UNUSED_S: Final = 12 * 3600.0
"""A session that nothing has used for so long is over."""
LONGEST_S: Final = 7 * 24 * 3600.0
"""From when a session is over in any case."""
MOST_SESSIONS: Final = 100


@attrs.define
class _Session:
    began_at: float
    used_at: float

    @property
    def ends_at(self) -> float:
        return min(self.used_at + UNUSED_S, self.began_at + LONGEST_S)


@attrs.define
class BrowserSessions:
    """Who was let in by a link.  What is kept is a hash of each secret, so that looking one up tells nothing.

    Attributes:
        now: seconds since 1970, or any clock that goes on while the machine sleeps.
    """

    now: Callable[[], float]
    _open: dict[bytes, _Session] = attrs.field(factory=dict)

    def begin(self) -> str:
        """Begin one; returns its secret.  Of too many, the one that was used last the longest ago ends."""
        self._forget_ended()
        while len(self._open) >= MOST_SESSIONS:
            del self._open[min(self._open, key=lambda name: self._open[name].used_at)]
        secret, now = secrets.token_urlsafe(32), self.now()
        self._open[_name(secret)] = _Session(now, now)
        return secret

    def use(self, secret: str) -> bool:
        """Whether this is the secret of one; that it is asked for counts as use of it."""
        self._forget_ended()
        session = self._open.get(_name(secret))
        if session is not None:
            session.used_at = self.now()
        return session is not None

    def end_all(self) -> None:
        """Nobody who was let in is known any more."""
        self._open.clear()

    def _forget_ended(self) -> None:
        now = self.now()
        self._open = {name: session for name, session in self._open.items() if session.ends_at > now}


def _name(secret: str) -> bytes:
    return hashlib.sha256(secret.encode(errors="replace")).digest()
