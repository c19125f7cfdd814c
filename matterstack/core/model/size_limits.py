"""How large a file may be that a job, a person or an instrument leaves as an output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

GIB: Final = 1 << 30
MOST_OUTPUT_GIB: Final = 1024.0
"""What holds where nothing is set.

A file is hashed when its task ends, and a tebibyte takes up to an hour: what is larger is rather a mistake
(a file that only looks large, a log that ran away) than a result, and whoever means it says so.
"""


def most_output_gib(config: Mapping[str, Any]) -> float:
    """The limit of a run, by its frozen configuration; those of 0.2.0 have none in it."""
    return float(config.get("max_output_gib", MOST_OUTPUT_GIB))


def size_problem(size_bytes: int, most_gib: float | None) -> str | None:
    """Say why a file of this size is no output, or None.

    >>> size_problem(3 << 30, 2)
    'has 3 GiB, and max_output_gib is 2'
    """
    if most_gib is None or size_bytes <= most_gib * GIB:
        return None
    return f"has {size_bytes / GIB:.4g} GiB, and max_output_gib is {most_gib:g}"
