"""Waiting for something outside of this process, which cannot tell us: poll, with a deadline."""

from collections.abc import Callable
from time import monotonic, sleep
from typing import Final

SHORTEST_INTERVAL_S: Final = 0.02
LONGEST_INTERVAL_S: Final = 0.1
"""What is awaited needs the processor that asking takes."""


def is_soon(predicate: Callable[[], bool], timeout_s: float) -> bool:
    """Ask ``predicate`` until it is true; False when it was not within ``timeout_s`` seconds.

    It is asked at least once, and once more after the deadline, so a machine that stood still for the whole
    time is not taken for a condition that never came.
    """
    deadline = monotonic() + timeout_s
    interval_s = SHORTEST_INTERVAL_S
    while not predicate():
        if monotonic() > deadline:
            return predicate()
        sleep(interval_s)
        interval_s = min(1.1 * interval_s, LONGEST_INTERVAL_S)
    return True


def wait_until(predicate: Callable[[], bool], timeout_s: float, what: str = "") -> None:
    """Return as soon as ``predicate`` is true.

    Raises:
        TimeoutError: it was not within ``timeout_s`` seconds; the message names ``what`` was awaited.
    """
    if not is_soon(predicate, timeout_s):
        name = what or getattr(predicate, "__name__", "the condition")
        raise TimeoutError(f"waited {timeout_s:g} s in vain for: {name}")
