"""The fields of a question: what kind of value each takes, and whether an answer is one."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal

import attrs
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

STRICT: Final = ConfigDict(defer_build=True, extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
MOST_FIELDS: Final = 1000
MOST_TEXT: Final = 100_000
MOST_WORDS: Final = 20_000
"""Most characters of a question, and of what is said beside an answer."""
MOST_SHOWN: Final = 60
"""Characters of what somebody else wrote that a message repeats."""
LARGEST_WHOLE: Final = 2**63 - 1
"""What every database and every language that reads an answer can hold."""

Text = Annotated[str, Field(min_length=1, max_length=MOST_WORDS, pattern=r"\S")]
Words = Annotated[str, Field(max_length=MOST_WORDS)]
FieldName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]{0,99}$")]
Unit = Annotated[str, Field(min_length=1, max_length=50, pattern=r"^\S.*$")]


class _Asked(BaseModel):
    model_config = STRICT
    required: bool = True
    help: str = Field(default="", max_length=2000)


class NumberField(_Asked):
    """Any finite number; ``min`` and ``max`` are allowed themselves."""

    type: Literal["number"]
    unit: Unit | None = None
    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _range_is_not_empty(self) -> NumberField:
        _require_range(self.min, self.max)
        return self


class IntegerField(_Asked):
    """A whole number; ``min`` and ``max`` are allowed themselves."""

    type: Literal["integer"]
    unit: Unit | None = None
    min: int | None = None
    max: int | None = None

    @model_validator(mode="after")
    def _range_is_not_empty(self) -> IntegerField:
        _require_range(self.min, self.max)
        return self


class StringField(_Asked):
    """Text; one that is required must not be blank."""

    type: Literal["string"]


class BooleanField(_Asked):
    """A field whose value is ``true`` or ``false``."""

    type: Literal["boolean"]


class ChoiceField(_Asked):
    """A field whose value is one of several texts."""

    type: Literal["choice"]
    choices: list[Annotated[str, Field(min_length=1, max_length=200)]] = Field(min_length=1, max_length=1000)

    @field_validator("choices")
    @classmethod
    def _no_choice_twice(cls, choices: list[str]) -> list[str]:
        for choice in choices:
            if choices.count(choice) > 1:
                raise ValueError(f"{choice!r} stands there twice")
        return choices


AnyField = Annotated[
    NumberField | IntegerField | StringField | BooleanField | ChoiceField, Field(discriminator="type")
]
Fields = Annotated[dict[FieldName, AnyField], Field(min_length=1, max_length=MOST_FIELDS)]


def _require_range(least: float | None, most: float | None) -> None:
    if least is not None and most is not None and least > most:
        raise ValueError(f"min ({least}) is larger than max ({most})")


@attrs.frozen
class Problem:
    """What is wrong with a field of an answer, and what to do.  ``field`` is empty for the whole document."""

    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


def describe_field(field: AnyField) -> str:
    """Say what a field takes.

    >>> describe_field(NumberField(type="number", unit="eV", min=0))
    'a number in eV, at least 0'
    """
    match field:
        case NumberField() | IntegerField():
            what = "a number" if isinstance(field, NumberField) else "a whole number"
            unit = f" in {field.unit}" if field.unit else ""
            return f"{what}{unit}{_range(field)}"
        case StringField():
            return "a text"
        case BooleanField():
            return "true or false"
        case ChoiceField():
            return f"one of: {', '.join(field.choices)}"


def _range(field: NumberField | IntegerField) -> str:
    if field.min is not None and field.max is not None:
        return f", from {_plain(field.min)} to {_plain(field.max)}"
    if field.min is not None:
        return f", at least {_plain(field.min)}"
    return f", at most {_plain(field.max)}" if field.max is not None else ""


def _plain(number: float) -> str:
    return repr(number).removesuffix(".0")


def field_problems(fields: Mapping[str, AnyField], values: Mapping[str, Any]) -> Iterator[Problem]:
    """Everything that keeps these values from being an answer to these fields."""
    for name in values:
        if name not in fields:
            yield Problem(shown_name(name), _not_asked_for(name, fields))
    for name, field in fields.items():
        value = values.get(name)
        if value is None:
            if field.required:
                yield Problem(name, f"is missing; give {describe_field(field)}")
        elif problem := value_problem(field, value):
            yield Problem(name, problem)


def given_values(fields: Mapping[str, AnyField], values: Mapping[str, Any]) -> dict[str, Any]:
    """The answer in the order of the question; what was left open is not in it."""
    return {name: values[name] for name in fields if values.get(name) is not None}


def _not_asked_for(name: str, fields: Mapping[str, AnyField]) -> str:
    near = difflib.get_close_matches(name[:200], fields, n=1)
    if near:
        return f"is not asked for; do you mean {near[0]!r}?"
    asked = list(fields)
    more = f" and {len(asked) - 10} more" if len(asked) > 10 else ""
    return f"is not asked for (there are: {', '.join(asked[:10])}{more})"


def value_problem(field: AnyField, value: object) -> str | None:
    """Say why a value is none for this field, or None.

    >>> value_problem(IntegerField(type="integer"), "3")
    "must be a whole number, not '3'; write it without quotes"
    """
    match field:
        case NumberField() | IntegerField():
            return _number_problem(field, value)
        case StringField():
            if not isinstance(value, str):
                return f"must be a text in double quotes, not {_short(value)}"
            if len(value) > MOST_TEXT:
                return f"must have at most {MOST_TEXT} characters, not {len(value)}"
            return "must not be blank" if field.required and not value.strip() else None
        case BooleanField():
            return None if isinstance(value, bool) else f"must be true or false, not {_short(value)}"
        case ChoiceField():
            if isinstance(value, str) and value in field.choices:
                return None
            return f"must be {describe_field(field)}; not {_short(value)}"


def _number_problem(field: NumberField | IntegerField, value: object) -> str | None:
    kind = "a whole number" if isinstance(field, IntegerField) else "a number"
    unit = f" {field.unit}" if field.unit else ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        hint = "; write it without quotes" if isinstance(value, str) and _is_number(value) else ""
        return f"must be {kind}, not {_short(value)}{hint}"
    if isinstance(field, IntegerField):
        if isinstance(value, float):
            return f"must be a whole number, not {_plain(value)}"
        if abs(value) > LARGEST_WHOLE:
            return "is too large for a whole number of 64 bits"
    elif not _is_finite(value):
        return "is too large for a number"
    if field.min is not None and value < field.min:
        return f"must be at least {_plain(field.min)}{unit}, not {_plain(value)}"
    if field.max is not None and value > field.max:
        return f"must be at most {_plain(field.max)}{unit}, not {_plain(value)}"
    return None


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _short(value: object) -> str:
    match value:
        case dict():
            return "an object {...}"
        case list():
            return "a list [...]"
        case bool():
            return "true" if value else "false"
        case _:
            shown = repr(value)
            return shown if len(shown) <= MOST_SHOWN else f"{shown[:MOST_SHOWN]}..."


def shown_name(name: str) -> str:
    """A name that somebody else chose, fit to stand in a line.

    >>> shown_name("energy"), shown_name("a\\nb")
    ('energy', "'a\\\\nb'")
    """
    return name if name.isprintable() and 0 < len(name) <= MOST_SHOWN else _short(name)
