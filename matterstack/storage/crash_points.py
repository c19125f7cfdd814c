"""Named places at which a test lets the process die, as `kill -9` would.

Off, as always outside of tests, a crash point costs one comparison.  It is armed through the environment
variable `CRASH_VARIABLE`: ``NAME`` or ``NAME:K`` ends the process at the K-th passing (1 is the first).
"""

from __future__ import annotations

import os
from typing import Final

from matterstack.core.errors import UsageError

CRASH_VARIABLE: Final = "MATTERSTACK_CRASH_AT"
CRASHED: Final = 86
"""Exit status of a process that died at a crash point."""

CRASH_POINTS: Final = frozenset(
    {
        "after_lease",  # a run is held, nothing of it was read
        "after_plan_answered",  # the campaign answered, nothing of it is stored
        "before_commit",  # facts were decided, the transaction has not begun
        "inside_commit",  # facts and rows are written, the transaction is open
        "after_commit",  # facts are durable, nobody was told
        "after_prepared",  # seats are taken, no folder is written
        "inside_staging",  # a part of an attempt's folder is written
        "after_staging",  # the folder is written, nobody submits it yet
        "before_submit",  # the submit lock is held, the job is not started
        "after_submit",  # the job exists, nobody knows its id
        "after_submitted",  # the run knows the id, it is not stored
        "after_sighting",  # the end of a job was seen, it is not stored
        "after_collected",  # outputs were looked at, nothing of it is stored
        "before_cancel",  # the run is to be cancelled, its jobs do not know
        "after_cancel",  # the jobs were told to end, nobody has seen them end
        "after_search",  # unconfirmed attempts were looked for, nothing was concluded
        "before_removal",  # a run is deleted from the store, its folder is still there
        "before_release",  # the run's lease is about to be given back
    }
)


def _parse(text: str) -> tuple[str, int]:
    name, colon, count = text.partition(":")
    if name not in CRASH_POINTS and text:
        known = ", ".join(sorted(CRASH_POINTS))
        raise UsageError(
            f"{CRASH_VARIABLE}={text}: there is no crash point {name!r}", hint=f"there are: {known}"
        )
    if colon and not (count.isascii() and count.isdecimal() and int(count) > 0):
        raise UsageError(f"{CRASH_VARIABLE}={text}: {count!r} is no number of a passing (1 is the first)")
    return name, int(count or 1)


_armed, _passings_left = _parse(os.environ.get(CRASH_VARIABLE, ""))


def crash_point(name: str) -> None:
    """Die here, if this point is armed and its time has come."""
    if name == _armed:
        _pass()


def _pass() -> None:
    global _passings_left
    _passings_left -= 1
    if _passings_left == 0:
        os._exit(CRASHED)
