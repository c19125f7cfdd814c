"""Numbers, names and times as people read them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from matterstack.core.ids import UtcTime, utc_moment

MOST_NAMED: Final = 3


def count(number: int, what: str, plural: str = "") -> str:
    """A number of things, in words.

    >>> count(1, "job"), count(1200, "job"), count(2, "try", "tries")
    ('1 job', '1,200 jobs', '2 tries')
    """
    return f"{number:,} {what if number == 1 else plural or what + 's'}"


def named(names: Sequence[str], what: str = "task") -> str:
    """The first few of several things, and how many more there are.

    >>> named(["a"]), named(["a", "b"]), named(["a", "b", "c", "d", "e"])
    ('task a', 'tasks a and b', 'tasks a, b, c and 2 more')
    """
    return f"{what}{'s' if len(names) > 1 else ''} {some(names)}"


def some(names: Sequence[str], total: int = 0) -> str:
    """The first few names, and how many more there are: of those given, or of a larger ``total``.

    >>> some(["a", "b"]), some(["a", "b", "c", "d"], 50)
    ('a and b', 'a, b, c and 47 more')
    """
    total = max(total, len(names))
    if len(names) == total == 1:
        return names[0]
    if len(names) == total <= MOST_NAMED:
        return f"{', '.join(names[:-1])} and {names[-1]}"
    first = names[:MOST_NAMED]
    return f"{', '.join(first)} and {total - len(first):,} more"


def duration(seconds: float) -> str:
    """A length of time, to two units.

    >>> duration(0.4), duration(75), duration(3600), duration(7500), duration(200_000)
    ('0 s', '1 min 15 s', '1 h', '2 h 5 min', '2 d 7 h')
    """
    rest = max(0, int(seconds))
    parts = []
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        number, rest = divmod(rest, size)
        if number:
            parts.append(f"{number} {unit}")
        elif parts:
            break
        if len(parts) == 2:
            break
    return " ".join(parts) or "0 s"


def seconds_between(earlier: UtcTime, later: UtcTime) -> float:
    """Seconds from one time to another; negative when it is the other way round."""
    return (utc_moment(later) - utc_moment(earlier)).total_seconds()


def clock(at: UtcTime, now: UtcTime) -> str:
    """A time as people say it, in UTC; with its date where that is not today's.

    >>> clock("2026-01-02T03:04:05.000000Z", "2026-01-02T23:00:00.000000Z")
    '03:04 UTC'
    >>> clock("2026-01-02T03:04:05.000000Z", "2026-01-03T23:00:00.000000Z")
    '2026-01-02 03:04 UTC'
    """
    moment = utc_moment(at)
    same_day = at[:10] == now[:10]
    return f"{moment:%H:%M} UTC" if same_day else f"{moment:%Y-%m-%d %H:%M} UTC"


def after(at: UtcTime, seconds: float, now: UtcTime) -> float:
    """Seconds that are left from ``now`` until so long after a time."""
    end = utc_moment(at) + timedelta(seconds=seconds)
    return (end - utc_moment(now)).total_seconds()
