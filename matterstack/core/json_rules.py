"""What JSON must be like so that MatterStack can keep it, and give it back, everywhere."""

from __future__ import annotations

import json
from typing import Final

DEEPEST: Final = 100
"""Most objects and lists inside of one another; encoders recurse, and may be called deep in a stack."""


def json_problem(value: object) -> str | None:
    """Say why a value cannot be kept as JSON, or None.

    >>> json_problem({"energy": float("inf")})
    'Out of range float values are not JSON compliant'
    """
    try:
        # Lone surrogates pass json.dumps, but neither files nor databases take them.
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        return str(error)
    if _is_deeper(value, DEEPEST):
        return f"it is nested more than {DEEPEST} levels deep"
    return None


def _is_deeper(value: object, levels: int) -> bool:
    level = [value]
    for _ in range(levels + 1):
        containers = [item for item in level if isinstance(item, dict | list | tuple)]
        if not containers:
            return False
        level = [
            child for item in containers for child in (item.values() if isinstance(item, dict) else item)
        ]
    return True
