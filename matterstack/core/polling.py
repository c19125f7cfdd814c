"""When to ask a backend next."""

from __future__ import annotations

from typing import Final

SLOWEST: Final = 4.0
"""Longest interval while nothing changes, as a multiple of the configured one."""
LONGEST_BACKOFF_S: Final = 120.0
SLOW_S: Final = 2.0
"""An answer that takes longer comes from somebody who is busy; squeue has 2,000 jobs in 20 ms."""
PAUSE_AFTER_SLOW: Final = 4.0
"""How long such a one is left alone, as a multiple of the time that the answer took."""


def next_interval_s(base_s: float, unchanged: int, failures: int, took_s: float = 0.0) -> float:
    """How long to wait before the next question.

    Args:
        base_s: the configured interval.
        unchanged: answers in a row that brought nothing new.
        failures: questions in a row that got no answer.
        took_s: how long the last answer took.

    >>> next_interval_s(10, 0, 0), next_interval_s(10, 50, 0), next_interval_s(10, 0, 2)
    (10.0, 40.0, 40.0)
    >>> [next_interval_s(10, 0, 0, took_s) for took_s in (1.9, 5, 50)]
    [10.0, 20.0, 120.0]
    """
    usual_s = _usual_interval_s(base_s, unchanged, failures)
    return max(usual_s, min(LONGEST_BACKOFF_S, took_s * PAUSE_AFTER_SLOW)) if took_s > SLOW_S else usual_s


def _usual_interval_s(base_s: float, unchanged: int, failures: int) -> float:
    if failures:
        return min(max(LONGEST_BACKOFF_S, base_s), base_s * 2.0 ** min(failures, 32))
    return float(min(base_s * SLOWEST, base_s * 1.25 ** min(max(unchanged - 2, 0), 32)))
