"""Identifiers, and the rules that make them safe as file and job names."""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import UTC, datetime
from typing import Final, NewType

RunId = NewType("RunId", str)
TaskId = NewType("TaskId", str)
Token = NewType("Token", str)
"""Names one attempt of one task of one run, in the cluster too (as the job's name)."""
JobId = NewType("JobId", str)
BackendName = NewType("BackendName", str)
UtcTime = NewType("UtcTime", str)
"""UTC as ``YYYY-MM-DDThh:mm:ss.ffffffZ``: sorts as text, needs no parsing to compare."""

RUN_ID_PATTERN: Final = re.compile(r"\d{8}T\d{6}-[a-z2-7]{6}")
LAST_RUN: Final = "@last"
"""What people may say for the run that was made last."""
TASK_ID_PATTERN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
SLUG_PATTERN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
SLUG_RULE: Final = (
    "it has letters, digits, '.', '_' and '-', at most 100, and starts with a letter or a digit"
)


def new_run_id(now: datetime, entropy: bytes) -> RunId:
    """Make a run id that sorts by time: ``YYYYMMDDThhmmss-`` and 6 characters of base32.

    >>> new_run_id(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), b"abcd")
    '20260102T030405-mfrggz'
    """
    suffix = base64.b32encode(entropy).decode("ascii").lower().rstrip("=")[:6]
    return RunId(f"{now.astimezone(UTC):%Y%m%dT%H%M%S}-{suffix}")


def attempt_token(run_id: RunId, task_id: TaskId, n: int) -> Token:
    """Name attempt ``n`` of a task.

    The same attempt always gets the same token, so that a restarted engine looks for the job
    that the last one may have submitted.  Letters and digits only: every scheduler takes it.
    """
    digest = hashlib.sha256(f"{run_id}/{task_id}/{n}".encode()).digest()
    return Token("ms-" + base64.b32encode(digest).decode("ascii").lower()[:20])


def utc_text(moment: datetime) -> UtcTime:
    """Format an aware time as UTC text with microseconds.

    >>> utc_text(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    '2026-01-02T03:04:05.000000Z'
    """
    return UtcTime(f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z")


def utc_moment(text: str) -> datetime:
    """Parse what `utc_text` wrote (fractions of a second may be missing)."""
    return datetime.fromisoformat(text)
