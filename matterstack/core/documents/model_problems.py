"""What pydantic finds, in the words of people who never heard of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError

from matterstack.core.documents.fields import Problem, shown_name

_FIELD_TYPES: Final = ("number", "integer", "string", "boolean", "choice")
_PHRASES: Final = {
    "Input should be ": "must be ",
    "String should ": "must ",
    "Dictionary should ": "must ",
    "List should ": "must ",
    "a valid dictionary": "an object {...}",
    "a valid list": "a list [...]",
    "a valid string": "a text in double quotes",
    "a valid number": "a number",
    "a valid integer": "a whole number",
    "a valid boolean": "true or false",
    "match pattern '\\S'": "not be blank",
}
_MOST_SHOWN: Final = 80


def model_problems(error: ValidationError) -> list[Problem]:
    """Say for each field that is wrong what it must be."""
    return [_problem(dict(item)) for item in error.errors(include_url=False)]


def _problem(item: dict[str, Any]) -> Problem:
    location: tuple[str | int, ...] = item["loc"]
    field = _path(location)
    context: Mapping[str, Any] = item.get("ctx", {})
    match item["type"]:
        case "missing":
            return Problem(field, "is missing")
        case "extra_forbidden":
            return Problem(field, "is no name that is known here")
        case "union_tag_not_found":
            return Problem(f"{field}.type", f"is missing (there are: {', '.join(_FIELD_TYPES)})")
        case "union_tag_invalid":
            given = shown_name(str(context["tag"]))
            return Problem(f"{field}.type", f"{given} is none of: {', '.join(_FIELD_TYPES)}")
        case "value_error":
            return Problem(field, str(context["error"]))
        case "string_pattern_mismatch" if location[-1:] == ("[key]",):
            rule = "a name has letters, digits, '_', '.' and '-', and starts with a letter or '_'"
            return Problem(field, f"{rule} (at most 100)")
    message = item["msg"]
    for theirs, ours in _PHRASES.items():
        message = message.replace(theirs, ours)
    return Problem(field, f"{message[0].lower()}{message[1:]}, not {_given(item.get('input'))}")


def _path(location: tuple[str | int, ...]) -> str:
    """Names that lead to the field, without those that only pydantic knows."""
    parts = (
        str(part)
        for place, part in enumerate(location)
        # The type of a field stands in pydantic's path, but not in the document.
        if part != "[key]" and not (place == 2 and location[0] == "fields" and part in _FIELD_TYPES)
    )
    return ".".join(shown_name(part) for part in parts)


def _given(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= _MOST_SHOWN else f"{shown[:_MOST_SHOWN]}..."
