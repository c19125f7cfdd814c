"""When to ask a backend next."""

from __future__ import annotations

from typing import Final

SLOWEST: Final = 4.0
"""Longest interval while nothing changes, as a multiple of the configured one."""
LONGEST_BACKOFF_S: Final = 120.0


def next_interval_s(base_s: float, unchanged: int, failures: int) -> float:
    """How long to wait before the next question.

    Args:
        base_s: the configured interval.
        unchanged: answers in a row that brought nothing new.
        failures: questions in a row that got no answer.

    >>> next_interval_s(10, 0, 0), next_interval_s(10, 50, 0), next_interval_s(10, 0, 2)
    (10.0, 40.0, 40.0)
    """
    if failures:
        return min(max(LONGEST_BACKOFF_S, base_s), base_s * 2.0 ** min(failures, 32))
    return float(min(base_s * SLOWEST, base_s * 1.25 ** min(max(unchanged - 2, 0), 32)))
