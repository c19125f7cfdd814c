"""What is different between two configs of a run, and how people are told."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from matterstack.core.run.facts import ConfigChange

_ASKED_WITH: Final = frozenset({"params", "default_backend", "planning_timeout_s", "pin_campaign"})
MOST_TOLD: Final = 3
"""Changes in one line; who wants to know more looks at the event."""
MOST_QUOTED: Final = 120
"""Characters of a value in a line."""


def config_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[ConfigChange, ...]:
    """Each key that is not as it was, in the order of the config as it is now; what is gone comes last.

    >>> for change in config_changes({"a": {"x": 1, "y": 2}, "b": 1}, {"a": {"x": 1, "y": 3}, "c": {"z": 0}}):
    ...     print(told_change(change))
    a.y: 2 -> 3
    c: not set -> {"z": 0}
    b: 1 -> not set
    """
    return tuple(_changes("", before, after))


def _changes(under: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[ConfigChange]:
    for key, new in after.items():
        path = f"{under}{key}"
        if key not in before:
            yield ConfigChange(path=path, new=new, is_new=True)
            continue
        old = before[key]
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from _changes(f"{path}.", old, new)
        elif not _is_same(old, new):
            yield ConfigChange(path=path, old=old, new=new)
    for key, old in before.items():
        if key not in after:
            yield ConfigChange(path=f"{under}{key}", old=old, is_gone=True)


def _is_same(old: object, new: object) -> bool:
    """Whether two values are the same JSON: true is not 1, and 2.0 is 2."""
    if isinstance(old, bool) or isinstance(new, bool):
        return old is new
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return old.keys() == new.keys() and all(_is_same(old[key], new[key]) for key in old)
    if isinstance(old, list | tuple) and isinstance(new, list | tuple):
        return len(old) == len(new) and all(map(_is_same, old, new))
    return old == new


def concern_planning(changes: Iterable[ConfigChange]) -> bool:
    """Whether a campaign would be asked otherwise: by its params, or with other backends to choose from."""
    return any(
        change.path.split(".")[0] in _ASKED_WITH
        or (change.path.startswith("backends.") and (change.is_new or change.is_gone))
        or (change.path.startswith("backends.") and change.path.endswith(".type"))
        for change in changes
    )


def told_change(change: ConfigChange) -> str:
    """A change in a line: the path, what stood there, and what stands there now."""
    return _told(change.path, change.old, change.new, is_new=change.is_new, is_gone=change.is_gone)


def all_changes_told(changes: Iterable[ConfigChange]) -> str:
    """All changes in one line."""
    return "; ".join(map(told_change, changes))


def told_changes(changes: Sequence[Mapping[str, Any]]) -> str:
    """The first of the changes of an event's data, in one line, and how many more there are."""
    told = [
        _told(
            change["path"],
            change.get("old"),
            change.get("new"),
            is_new=bool(change.get("is_new")),
            is_gone=bool(change.get("is_gone")),
        )
        for change in changes[:MOST_TOLD]
    ]
    more = [f"and {len(changes) - MOST_TOLD} more"] if len(changes) > MOST_TOLD else []
    return "; ".join([*told, *more])


def _told(path: str, old: object, new: object, *, is_new: bool, is_gone: bool) -> str:
    return f"{path}: {'not set' if is_new else _quoted(old)} -> {'not set' if is_gone else _quoted(new)}"


def _quoted(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= MOST_QUOTED else f"{text[:MOST_QUOTED]}..."
