"""A task with some of its fields changed, each named by its path, such as ``resources.walltime_s``."""

from __future__ import annotations

import difflib
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias, get_args, get_origin

import attrs

from matterstack.core.errors import UsageError
from matterstack.core.model.resources import Growth, Resources
from matterstack.core.model.workflow import Task

FIXED: Final[Mapping[str, str]] = {
    "id": "a task keeps its name",
    "operator": "who does a task is the plan's to say",
    "depends_on": "what a task waits for is the plan's to say",
}
"""Fields of a task that nobody changes, and why."""
_NESTED: Final[Mapping[str, type[Any]]] = {"resources": Resources, "grow": Growth}
_MOST_SHOWN: Final = 100
_MOST_TEXT: Final = 1_000_000

Form: TypeAlias = Literal["value", "text", "list", "texts by name", "json by name", "parts"]
"""What a field holds: it decides how a value is read from a command line, and where a path goes on."""


def amended(task: Task, changes: Mapping[str, Any]) -> Task:
    """The task with new values at these paths; nothing of it is set anew but what they name.

    ``None`` takes a name out of ``env``, ``files``, ``inputs`` and ``resources.extra``.

    Raises:
        UsageError: there is no such path, or it cannot have that value; names the path.
    """
    new: Task = _evolved(task, [(path, path, value) for path, value in changes.items()])
    if set(new.dependencies()) != set(task.dependencies()):
        raise UsageError(
            f"inputs: {FIXED['depends_on']}; it may take files of tasks that it waits for already"
        )
    return new


def value_at(task: Task, path: str) -> Any:  # noqa: ANN401  any JSON
    """What a task has at a path, as JSON; None where it has nothing there.

    Raises:
        UsageError: there is no such path.
    """
    part: Any = task
    rest = path
    while rest:
        head, _, rest = rest.partition(".")
        form = _form(type(part), head, path)
        part = getattr(part, head)
        if form in {"texts by name", "json by name"} and rest:
            return _in_mapping(part, rest, form)
        if form == "parts" and part is None:
            return None
        if rest and form != "parts":
            raise UsageError(f"{path}: {head} has no parts")
    return _plain(part)


def setting(text: str) -> tuple[str, Any]:
    """Read ``PATH=VALUE`` as it is typed.

    Texts are taken as they are; lists are JSON, or words as a shell splits them; all else is JSON, and in
    ``params`` text where it is none.  ``null`` is nothing.

    Raises:
        UsageError: it is none, or there is no such path.

    >>> setting("resources.walltime_s=7200"), setting("command=vasp_std -v")
    (('resources.walltime_s', 7200), ('command', ['vasp_std', '-v']))
    """
    path, sign, value = text.partition("=")
    if not sign or not path:
        raise UsageError(f"{text[:200]!r} is no PATH=VALUE", hint="such as: resources.walltime_s=7200")
    return path, _read(_form_at(path), path, value)


def paths() -> list[str]:
    """All that can be amended; where a name of one's own follows, it ends in a dot."""
    return list(_paths(Task, ""))


def change_in_words(path: str, old: Any, new: Any) -> str:  # noqa: ANN401  any JSON
    """Tell of one change in a line.

    >>> change_in_words("resources.walltime_s", 60, 7200), change_in_words("env.A", None, "x")
    ('resources.walltime_s: 60 -> 7200', "env.A: nothing -> 'x'")
    """
    return f"{path}: {told_value(old)} -> {told_value(new)}"


def told_value(value: Any) -> str:  # noqa: ANN401  any JSON
    """A value as a line has room for it."""
    words = "nothing" if value is None else repr(value) if isinstance(value, str) else _json(value)
    return words if len(words) <= _MOST_SHOWN else words[: _MOST_SHOWN - 1] + "…"


def _json(value: Any) -> str:  # noqa: ANN401
    return json.dumps(value, ensure_ascii=False)


# ---- what there is ----


def _fields(kind: type[Any]) -> Sequence[attrs.Attribute[Any]]:
    """Fields with their types, of which annotations may be only the names."""
    fields: Sequence[attrs.Attribute[Any]] = attrs.fields(attrs.resolve_types(kind))
    return fields


def _paths(kind: type[Any], before: str) -> Iterator[str]:
    for field in _fields(kind):
        if before or field.name not in FIXED:
            form = _form_of(field)
            if form == "parts":
                yield from _paths(_NESTED[field.name], f"{before}{field.name}.")
            else:
                yield f"{before}{field.name}" + ("." if form.endswith("by name") else "")


def _form_of(field: attrs.Attribute[Any]) -> Form:
    if field.name in _NESTED:
        return "parts"
    kind = get_origin(field.type) or field.type
    if kind is Mapping:
        return "json by name" if Any in get_args(field.type) else "texts by name"
    if kind is Sequence:
        return "list"
    return "text" if kind is str or str in get_args(field.type) else "value"


def _form(kind: type[Any], name: str, path: str) -> Form:
    fields = {field.name: field for field in _fields(kind)}
    if kind is Task and name in FIXED:
        raise UsageError(f"{path} cannot be amended: {FIXED[name]}")
    if name not in fields:
        raise unknown_path(path)
    return _form_of(fields[name])


def unknown_path(path: str) -> UsageError:
    """Say that a path does not exist, and which one may have been meant."""
    known = paths()
    near = difflib.get_close_matches(path[:200], known, n=1, cutoff=0.5)
    near = near or [one for one in known if path.startswith(one.rstrip("."))]
    ends = [one for one in known if one.rstrip(".").rpartition(".")[2] == path]
    meant = ends[:1] or near
    there_are = f"there are: {', '.join(map(_with_name, known))}"
    hint = f"did you mean {_with_name(meant[0])}?" if meant else there_are
    return UsageError(f"{path[:200]!r} is nothing that a task has", hint=hint)


def _with_name(path: str) -> str:
    return f"{path}NAME" if path.endswith(".") else path


def _form_at(path: str) -> Form:
    kind: type[Any] = Task
    rest = path
    while True:
        head, _, rest = rest.partition(".")
        form = _form(kind, head, path)
        if form == "parts" and rest:
            kind = _NESTED[head]
        elif form == "texts by name" and rest:
            return "text"
        elif rest and form != "json by name":
            raise unknown_path(path)
        else:
            return form


# ---- reading ----


def _read(form: Form, path: str, value: str) -> Any:  # noqa: ANN401  any JSON
    if len(value) > _MOST_TEXT:
        raise UsageError(f"{path}: a value of {len(value):,} letters is too long")
    if value == "null":
        return None
    if form == "text":
        return value
    try:
        read = json.loads(value)
    except (ValueError, RecursionError):
        read = value
    if form == "list" and not isinstance(read, list | dict):
        try:
            return shlex.split(value)
        except ValueError as error:
            raise UsageError(f"{path}: {value[:200]!r} cannot be split into words: {error}") from None
    return read


# ---- changing ----


def _evolved(part: Any, changes: Sequence[tuple[str, str, Any]]) -> Any:  # noqa: ANN401
    """Set what changes below one object at once: its fields may be right only together."""
    below: dict[str, list[tuple[str, str, Any]]] = {}
    for path, rest, value in changes:
        head, _, onward = rest.partition(".")
        below.setdefault(head, []).append((path, onward, value))
    new: dict[str, Any] = {}
    for name, inner in below.items():
        form = _form(type(part), name, inner[0][0])
        current = getattr(part, name)
        for path, onward, value in inner:
            if not onward:
                new[name] = current = _whole(form, path, value)
        further = [change for change in inner if change[1]]
        if further:
            new[name] = _into(form, name, current, further)
    try:
        return attrs.evolve(part, **new)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{', '.join(path for path, _, _ in changes)}: {error}") from None


def _whole(form: Form, path: str, value: Any) -> Any:  # noqa: ANN401
    if form == "parts" and value is not None:
        raise UsageError(f"{path}: name what of it is to change, such as {path}.{_first_part(path)}")
    if form.endswith("by name") and value is None:
        return {}
    return value


def _first_part(path: str) -> str:
    return "walltime_s" if path == "resources" else "walltime"


def _into(form: Form, name: str, current: Any, changes: Sequence[tuple[str, str, Any]]) -> Any:  # noqa: ANN401
    if form == "parts":
        return _evolved(_NESTED[name]() if current is None else current, changes)
    if not form.endswith("by name"):
        raise unknown_path(changes[0][0])
    mapping = dict(current) if isinstance(current, Mapping) else {}
    for path, onward, value in changes:
        if form == "texts by name":
            mapping.pop(onward, None)
            if value is not None:
                mapping[onward] = value
        else:
            _deep(mapping, path, onward.split("."), value)
    return mapping


def _deep(mapping: dict[str, Any], path: str, names: Sequence[str], value: Any) -> None:  # noqa: ANN401
    for name in names[:-1]:
        inner = mapping.get(name, {})
        if not isinstance(inner, Mapping):
            raise UsageError(f"{path}: {name} has no parts, it is {inner!r}"[:500])
        mapping[name] = inner = dict(inner)
        mapping = inner
    mapping[names[-1]] = value


def _in_mapping(part: Any, rest: str, form: Form) -> Any:  # noqa: ANN401
    if form == "texts by name":
        return part.get(rest)
    for name in rest.split("."):
        part = part.get(name) if isinstance(part, Mapping) else None
    return _plain(part)


def _plain(value: Any) -> Any:  # noqa: ANN401  any JSON
    if attrs.has(type(value)):
        return attrs.asdict(value)
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    if isinstance(value, Mapping):
        return dict(value)
    return value
