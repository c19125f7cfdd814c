"""Sequence numbers as text: which ones are meant, in a few characters for many."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

_PART: Final = re.compile(r"([1-9][0-9]{0,17})(?:-([1-9][0-9]{0,17}))?")

Range = tuple[int, int]
"""The first and the last of numbers that follow each other."""


def numbers_text(numbers: Iterable[int]) -> str:
    """Write ascending numbers down, those that follow each other as a range.

    >>> numbers_text([3, 4, 5, 9, 12, 13])
    '3-5,9,12-13'
    """
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in _ranges(numbers))


def read_numbers(text: str) -> list[Range]:
    """Read the ranges of numbers that `numbers_text` wrote down.

    >>> read_numbers("3-5,9")
    [(3, 5), (9, 9)]

    Raises:
        ValueError: it is nothing of the kind.
    """
    found: list[Range] = []
    for part in text.split(","):
        match = _PART.fullmatch(part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if last < first or (found and first <= found[-1][1]):
            raise ValueError(f"{part[:40]!r} is no number, or not behind those before it")
        found.append((first, last))
    return found


def count_numbers(ranges: Iterable[Range]) -> int:
    """How many numbers there are in ranges that do not meet."""
    return sum(last - first + 1 for first, last in ranges)


def missing_beside(first: int, last: int, known: Sequence[Range]) -> Range | None:
    """The first and the last of these numbers that no range holds; None where each is in one.

    Args:
        known: ascending.

    >>> missing_beside(3, 9, [(1, 4), (6, 7)])
    (5, 9)
    """
    missing: list[int] = []
    at = first
    for begin, end in known:
        if end < at:
            continue
        if begin > last:
            break
        if begin > at:
            missing += [at, begin - 1]
        at = end + 1
    if at <= last:
        missing += [at, last]
    return (missing[0], missing[-1]) if missing else None


def _ranges(numbers: Iterable[int]) -> Iterator[Range]:
    begun: Range | None = None
    for number in numbers:
        if begun is not None and number == begun[1] + 1:
            begun = (begun[0], number)
            continue
        if begun is not None:
            yield begun
        begun = (number, number)
    if begun is not None:
        yield begun
