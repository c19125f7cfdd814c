"""Patterns of file names, as in a shell: ``*`` stays within a folder, ``**`` is any number of folders."""

from __future__ import annotations

from fnmatch import fnmatchcase


def matches(path: str, pattern: str) -> bool:
    """Whether a relative path matches a pattern.

    >>> matches("a/b/c.json", "**/*.json"), matches("a/c.json", "*.json")
    (True, False)
    """
    return _matches(path.split("/"), pattern.split("/"))


def _matches(parts: list[str], patterns: list[str]) -> bool:
    if not patterns:
        return not parts
    if patterns[0] == "**":
        return any(_matches(parts[skip:], patterns[1:]) for skip in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], patterns[0]) and _matches(parts[1:], patterns[1:])
