"""The chain of a run's events: each one carries the hash of the one before it, and the last hash is the head.

An event is hashed as the line that it is in ``events.jsonl``, with its number, so that a bundle, an archive
and an import of it have the same chain as the store.  Who has written a head down can tell any change of what
was before it, with nothing but the lines.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Final

UNCHAINED: Final = ""
"""What the first event of a run carries: there is none before it."""


def chained(previous: str, line: bytes) -> str:
    r"""Hash an event: its predecessor's hash (in hex, nothing for the first one), then its line.

    >>> chained(chained(UNCHAINED, b'{"seq":1}\n'), b'{"seq":2}\n')[:8]
    '4f5f5e3e'
    """
    return sha256(previous.encode() + line).hexdigest()


def chain_of(lines: Iterable[bytes]) -> Iterator[str]:
    """The hash of each event of a run, from the lines of its ``events.jsonl``."""
    head = UNCHAINED
    for line in lines:
        head = chained(head, line)
        yield head
