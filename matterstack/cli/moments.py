"""Moments as people type them: a day, a time, or how long ago."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from matterstack.core.errors import UsageError
from matterstack.core.ids import UtcTime, utc_text

_AGO: Final = re.compile(r"(\d{1,6})\s*(m|h|d|w)")
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


_FIRST_YEAR: Final = 1970


def moment(text: str, now: datetime) -> UtcTime:
    """Read what was typed; what names no zone is UTC, as all times that are shown.

    >>> moment("2026-01-02", datetime(2026, 3, 1, tzinfo=UTC))
    '2026-01-02T00:00:00.000000Z'
    >>> moment("36h", datetime(2026, 3, 3, tzinfo=UTC))
    '2026-03-01T12:00:00.000000Z'

    Raises:
        UsageError: it is neither.
    """
    try:
        found = _read(text.strip(), now)
        if found.year < _FIRST_YEAR:
            raise ValueError(text)
        return utc_text(found)
    except (ValueError, OverflowError):
        raise UsageError(
            f"--since {text!r}: must be a day, a time, or how long ago",
            hint="such as 2026-01-02, 2026-01-02T15:30+01:00, 90m, 36h, 7d or 2w",
        ) from None


def _read(text: str, now: datetime) -> datetime:
    ago = _AGO.fullmatch(text)
    if ago is not None:
        return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    found = datetime.fromisoformat(text)
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
