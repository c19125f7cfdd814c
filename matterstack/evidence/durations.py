"""Spans of time between stored times, for people."""

from __future__ import annotations

from matterstack.core.ids import UtcTime, utc_moment


def seconds_between(start: UtcTime | None, end: UtcTime | None) -> float | None:
    """Seconds from one stored time to another; None when one is missing, never below zero.

    Jobs are timed by the clocks of their own hosts, which may be behind.
    """
    if start is None or end is None:
        return None
    return max(0.0, (utc_moment(end) - utc_moment(start)).total_seconds())


def duration_text(seconds: float | None) -> str:
    """Say how long something took; empty when it is not known.

    >>> [duration_text(s) for s in (None, 0.25, 59.96, 3725, 90000)]
    ['', '0.2 s', '1 min 00 s', '1 h 02 min', '1 d 01 h']
    """
    if seconds is None:
        return ""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600:02d} h"


def hours_text(seconds: float) -> str:
    """Say an amount of core or GPU hours, with digits that still tell something when it is small.

    >>> [hours_text(s) for s in (0, 3.6, 36, 3600, 4500000)]
    ['0', '0.001', '0.01', '1', '1250']
    """
    hours = seconds / 3600
    return f"{hours:.3g}" if hours < 1000 else f"{hours:.0f}"


def bytes_text(size: int) -> str:
    """Say a file's size as people read it.

    >>> [bytes_text(n) for n in (0, 999, 1536, 5 * 2**30)]
    ['0 B', '999 B', '1.5 KiB', '5.0 GiB']
    """
    if size < 1024:
        return f"{size} B"
    amount = float(size)
    for unit in ("KiB", "MiB", "GiB"):
        amount /= 1024
        if amount < 1024 or unit == "GiB":
            return f"{amount:.1f} {unit}"
    raise AssertionError(size)
