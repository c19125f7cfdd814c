"""Validators for the values that a campaign author writes.

They raise ValueError or TypeError with the field and the value, at the line of ``campaign.py`` that is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import attrs

_SURROGATES: Final = re.compile("[\ud800-\udfff]")
_Validator = Callable[[Any, "attrs.Attribute[Any]", Any], None]


def _is_plain(value: object) -> bool:
    """Whether it is text that command lines and files can hold: no NUL, no half of a surrogate pair."""
    return isinstance(value, str) and "\0" not in value and not _SURROGATES.search(value)


def at_least(least: int, *, optional: bool = False) -> _Validator:
    """Accept an int (no bool) that is not smaller than ``least``."""

    def check(_instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if optional and value is None:
            return
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{attribute.name} must be a whole number, not {value!r}")
        if value < least:
            raise ValueError(f"{attribute.name} must be at least {least}, not {value}")

    return check


def is_text(_instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """Accept a value that is a str."""
    if not _is_plain(value):
        raise TypeError(f"{attribute.name} must be text, not {value!r}")


def optional_text(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """Accept a str or None."""
    if value is not None:
        is_text(instance, attribute, value)


def is_flag(_instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """Accept a value that is True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"{attribute.name} must be True or False, not {value!r}")


def text_sequence(_instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """Accept a list or tuple of str (a lone str is a mistake: it would be taken letter by letter)."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise TypeError(f"{attribute.name} must be a list of texts, not {value!r}")
    for item in value:
        if not _is_plain(item):
            raise TypeError(f"{attribute.name} must hold only texts, but holds {item!r}")


def text_mapping(_instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """Accept a mapping of str to str."""
    if not isinstance(value, Mapping):
        raise TypeError(f"{attribute.name} must be a dict of texts, not {value!r}")
    for key, item in value.items():
        if not _is_plain(key) or not _is_plain(item):
            raise TypeError(f"{attribute.name} must map text to text, but holds {key!r}: {item!r}")
