"""What was asked of people and instruments: which of the files belongs to which attempt."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from matterstack.storage.confine import Confined
from matterstack.storage.operator_files import ACKNOWLEDGEMENT, REQUEST, RESPONSE, asked_attempt

_WITHDRAWN: Final = "request.withdrawn.json"
_REJECTED: Final = ("response.rejected-", "response.error")


def answer_names(n: int) -> tuple[str, ...]:
    """Where the answer to an attempt may be: it is renamed when the next attempt asks again."""
    return (_kept(RESPONSE, n), RESPONSE)


def asked_files(folder: Confined, n: int, *, is_last: bool) -> Iterator[tuple[str, str]]:
    """Files beside the answer of an attempt: under which name they belong to it, and where they are.

    Args:
        is_last: no later attempt was made; answers that were set aside are told with this one.
    """
    is_asked_now = asked_attempt(folder) == n
    for name in (REQUEST, ACKNOWLEDGEMENT):
        if folder.exists(_kept(name, n)):
            yield name, _kept(name, n)
        elif is_asked_now and folder.exists(name):
            yield name, name
    withdrawn = f"request-{n}.withdrawn.json"
    if folder.exists(withdrawn):
        yield _WITHDRAWN, withdrawn
    if is_last:
        yield from ((name, name) for name in sorted(folder.regular_files()) if is_set_aside(name))


def is_asked_name(name: str) -> bool:
    """Whether this is what `asked_files` calls a file.

    >>> is_asked_name("request.json"), is_asked_name("notes.txt")
    (True, False)
    """
    return name in {REQUEST, ACKNOWLEDGEMENT, _WITHDRAWN} or is_set_aside(name)


def is_set_aside(name: str) -> bool:
    """Whether this is an answer that was not taken: those are told with the last attempt.

    >>> is_set_aside("response.rejected-1.json")
    True
    """
    return name.startswith(_REJECTED)


def _kept(name: str, n: int) -> str:
    stem, dot, suffix = name.rpartition(".")
    return f"{stem}-{n}{dot}{suffix}"
