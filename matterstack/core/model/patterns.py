"""Patterns of file names, as in a shell: ``*`` stays within a folder, ``**`` is any number of folders."""

from __future__ import annotations

from fnmatch import fnmatchcase


def matches(path: str, pattern: str) -> bool:
    """Whether a relative path matches a pattern.

    >>> matches("a/b/c.json", "**/*.json"), matches("a/c.json", "*.json")
    (True, False)
    """
    parts = path.split("/")
    reached = {0}  # how many parts the patterns so far may have used up
    for piece in pattern.split("/"):
        if piece == "**":
            reached = set(range(min(reached), len(parts) + 1))
        else:
            reached = {n + 1 for n in reached if n < len(parts) and fnmatchcase(parts[n], piece)}
        if not reached:
            return False
    return len(parts) in reached
