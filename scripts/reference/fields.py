"""Fields of pydantic models as rows of a table."""

from __future__ import annotations

import inspect
import json
import re
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args, get_origin

import annotated_types
from docstrings import told
from markdown import code
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from matterstack.core.documents.operator_documents import GivenGrowth, GivenResources
from matterstack.core.model.resources import Growth, Resources

NAMES: Mapping[Any, str] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    type(None): "null",
    Any: "JSON",
}


def rows_of_model(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str, str, str]]:
    """Key, type, default and meaning of each field of a model; models in it are told by their own keys."""
    said = _said(model)
    for name, field in model.model_fields.items():
        key = prefix + (field.alias or name)
        meaning = field.description or said.get(name, "")
        yield code(key), f"{type_of(field.annotation)}{_bounds(field)}", default_of(field), meaning
        for inner in _models(field.annotation):
            yield from rows_of_model(inner, f"{key}.")


def _said(model: type[BaseModel]) -> dict[str, str]:
    """What docstrings say of fields: the model's own, and those of what it is made from."""
    if model is GivenResources:
        return told(Resources).fields
    if model is GivenGrowth:
        return told(Growth).fields
    found: dict[str, str] = {}
    for kind in reversed(model.__mro__):
        if issubclass(kind, BaseModel) and kind is not BaseModel:
            found.update(told(kind).fields)
    return found


def default_of(field: FieldInfo) -> str:
    """What a field is where nothing is said."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    try:
        return code(json.dumps(value))
    except TypeError:
        return ""


def type_of(annotation: Any) -> str:
    """An annotation in words."""
    if annotation in NAMES:
        return NAMES[annotation]
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin is typing.Annotated:
        return type_of(inside[0])
    if origin in (types.UnionType, typing.Union):
        return " or ".join(dict.fromkeys(type_of(part) for part in inside))
    if origin is Literal:
        return " or ".join(code(json.dumps(part)) for part in inside)
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        return f"object of {type_of(inside[1])}"
    if origin in (list, tuple):
        return f"list of {type_of(inside[0])}"
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return "object"
    return str(getattr(annotation, "__name__", annotation))


def _bounds(field: FieldInfo) -> str:
    words = []
    for one in field.metadata:
        match one:
            case annotated_types.Ge(ge=least):
                words.append(f"at least {least}")
            case annotated_types.Gt(gt=least):
                words.append(f"above {least}")
            case annotated_types.Le(le=most):
                words.append(f"at most {most}")
            case _:
                pass
    return f" ({', '.join(words)})" if words else ""


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (types.UnionType, typing.Union):
        for part in get_args(annotation):
            yield from _models(part)


def keys_in(page: str) -> set[str]:
    """The keys that a page has a row for."""
    return set(re.findall(r"^\| `([^`]+)`", page, re.MULTILINE))
