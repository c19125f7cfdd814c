"""The nonce of an attempt: what only the job that was submitted for it can have left in its folder.

It stands in the job's script, and the script writes it into the claim and the exit record.  The history has
its SHA-256, by which both are believed, and by which nobody can make them.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

import attrs

from matterstack.core.ids import Token

LENGTH: Final = 32
"""Hexadecimal digits of a nonce."""


@attrs.frozen
class Nonces:
    """Makes the nonces of a root's attempts; ``key`` is the secret of its store.

    They are derived and not drawn: an engine that comes after a crash writes the same script again, and a
    store that was put back from a copy knows the claims of jobs that were submitted since, so that their
    tasks do not work twice.
    """

    key: str = attrs.field(repr=False)

    def of(self, token: Token) -> str:
        """The nonce of an attempt.

        >>> Nonces("k").of(Token("ms-a"))
        '4713518528c08afae56aa2f29771fdda'
        """
        return hmac.new(self.key.encode(), token.encode(), hashlib.sha256).hexdigest()[:LENGTH]


def sha256_of_nonce(nonce: str) -> str:
    """What the history has of a nonce."""
    return hashlib.sha256(nonce.encode()).hexdigest()


def read_claim_text(text: str) -> tuple[str, str]:
    """The id of the job that made a claim, and the nonce that it bears; empty where it has none.

    >>> read_claim_text("12 f0af6e\\n"), read_claim_text("12\\n")
    (('12', 'f0af6e'), ('12', ''))
    """
    job_id, _, nonce = text.strip().partition(" ")
    return job_id, nonce


def is_believed(nonce: str, sha256: str | None) -> bool:
    """Whether what bears this nonce was made by the job of an attempt, as far as a nonce tells.

    ``sha256``: None for an attempt that has no nonce; then its job's id alone decides.
    """
    return sha256 is None or sha256_of_nonce(nonce) == sha256
