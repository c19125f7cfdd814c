"""What differs between two definitions of a task, and what a plan and a person's amendments make together.

A definition is taken apart into values by name; lists are one value each.  What has names of its own (`env`,
`files`, `inputs`, `params`, `resources`) is taken apart further, so that two people change different things.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import attrs

from matterstack.core.model.resources import Growth, Resources
from matterstack.core.model.workflow import Task

_ABSENT: Final = object()
_FIELDS: Final = tuple(field.name for field in attrs.fields(Task) if field.name != "id")


@attrs.frozen(kw_only=True)
class Clash:
    """A value that a person had amended, and that the plan gives anew: not what either said before.

    Attributes:
        path: such as ``resources.walltime_s``.
        amended: what the person said; None where it is nothing.
        planned: what the plan says now.
    """

    path: str
    amended: Any
    planned: Any


def differences(old: Task, new: Task) -> dict[str, tuple[Any, Any]]:
    """Each value that is another one, old and new, by its path; None stands for nothing.

    >>> differences(Task("a", env={"A": "1"}), Task("a", env={"B": "2"}, priority=1))
    {'env.A': ('1', None), 'env.B': (None, '2'), 'priority': (0, 1)}
    """
    names = [name for name in _FIELDS if getattr(old, name) != getattr(new, name)]
    parts = _parts(old, names), _parts(new, names)
    return {".".join(path): (_shown(a), _shown(b)) for path, a, b in _differing((), *parts)}


def merged(before: Task, amended: Task, planned: Task, *, plan_wins: bool) -> tuple[Task, list[Clash]]:
    """What the plan says now, with what was amended since it was asked last on top.

    Args:
        before: what the plan had said when it was asked last.
        plan_wins: of a value that both changed, take the plan's.

    Raises:
        ValueError, TypeError: both are no task together, though each was one.
    """
    if amended in (before, planned):
        return planned, []
    clashes: list[Clash] = []
    parts = _merged((), _parts(before), _parts(amended), _parts(planned), clashes, plan_wins)
    resources = dict(parts.pop("resources"))
    grow = resources.pop("grow")
    given = Resources(**resources, grow=None if grow is None else Growth(**grow))
    return Task(planned.id, resources=given, **parts), clashes


def _merged(
    path: tuple[str, ...],
    before: Any,  # noqa: ANN401  any JSON, or nothing
    amended: Any,  # noqa: ANN401
    planned: Any,  # noqa: ANN401
    clashes: list[Clash],
    plan_wins: bool,
) -> Any:  # noqa: ANN401
    if planned == before:
        return amended
    if amended in (before, planned):
        return planned
    if isinstance(amended, dict) and isinstance(planned, dict):
        old = before if isinstance(before, dict) else {}
        found: dict[str, Any] = {}
        for name in dict.fromkeys((*planned, *amended)):
            was, own, new = (part.get(name, _ABSENT) for part in (old, amended, planned))
            value = _merged((*path, name), was, own, new, clashes, plan_wins)
            if value is not _ABSENT:
                found[name] = value
        return found
    clashes.append(Clash(path=".".join(path), amended=_shown(amended), planned=_shown(planned)))
    return planned if plan_wins else amended


def _differing(path: tuple[str, ...], old: Any, new: Any) -> Iterator[tuple[tuple[str, ...], Any, Any]]:  # noqa: ANN401
    if old == new:
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for name in dict.fromkeys((*old, *new)):
            yield from _differing((*path, name), old.get(name, _ABSENT), new.get(name, _ABSENT))
    else:
        yield path, old, new


def _shown(value: Any) -> Any:  # noqa: ANN401
    return None if value is _ABSENT else value


def _parts(task: Task, names: Sequence[str] = _FIELDS) -> dict[str, Any]:
    """These fields of a task as JSON."""
    return {name: _plain(getattr(task, name)) for name in names}


def _plain(value: Any) -> Any:  # noqa: ANN401
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    return {field.name: _plain(getattr(value, field.name)) for field in attrs.fields(type(value))}
