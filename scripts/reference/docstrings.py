"""Docstrings, read by griffe: what a name is for, and what its fields mean."""

from __future__ import annotations

import inspect
import logging
from typing import Any

import attrs
from griffe import Docstring, DocstringSectionKind, Parser
from markdown import prose

logging.getLogger("griffe").setLevel(logging.ERROR)  # types stand in the signature, so it misses them


@attrs.frozen
class Told:
    """What a docstring says.

    Attributes:
        text: all that is no section of its own.
        fields: what ``Args`` and ``Attributes`` say, by name.
        raises: what ``Raises`` says, by the name of the error.
    """

    text: str
    fields: dict[str, str]
    raises: dict[str, str]


def told(thing: Any) -> Told:
    """Read the docstring of a class or a function; its own, none that it inherits."""
    return _told(inspect.cleandoc(thing.__dict__.get("__doc__") or getattr(thing, "__doc__", "") or ""))


def _told(docstring: str) -> Told:
    texts: list[str] = []
    fields: dict[str, str] = {}
    raises: dict[str, str] = {}
    for section in Docstring(docstring).parse(Parser.google, warn_unknown_params=False):
        match section.kind:
            case DocstringSectionKind.text:
                texts.append(section.value)
            case DocstringSectionKind.parameters | DocstringSectionKind.attributes:
                fields.update({item.name: prose(item.description) for item in section.value})
            case DocstringSectionKind.raises:
                raises.update({str(item.annotation): prose(item.description) for item in section.value})
            case DocstringSectionKind.admonition:
                texts.append(section.value.description)
            case _:
                pass
    text = "\n\n".join(part for part in "\n\n".join(texts).split("\n\n") if not part.startswith(">>> "))
    return Told(prose(text), fields, raises)
