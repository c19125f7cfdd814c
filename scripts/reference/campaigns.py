"""The page of what a ``campaign.py`` holds, and of what its questions may ask."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import attrs
from docstrings import told
from fields import rows_of_model
from markdown import code, page, table
from pydantic import BaseModel

from matterstack.core.documents.manifests import (
    ExperimentManifest,
    GateManifest,
    HumanOperatorManifest,
    ManualHPCManifest,
)
from matterstack.core.model.resources import Growth, Resources
from matterstack.core.model.workflow import Campaign, Result, Results, Task, Workflow

INTRO = """All of these are imported from `matterstack`. A value that makes no sense is refused where it stands,
with its name: the message names the line of `campaign.py`."""

OPERATORS: Mapping[str, type[BaseModel]] = {
    "human": HumanOperatorManifest,
    "gate": GateManifest,
    "experiment": ExperimentManifest,
    "manual_hpc": ManualHPCManifest,
}


def make() -> str:
    """The whole page."""
    written = [_of_class(kind) for kind in (Task, Workflow, Resources, Growth)]
    given = [_of_class(Result), f"## Results\n\n{told(Results).text}\n\n{_methods(Results)}"]
    asked = [
        f"## params of {name}\n\n{told(model).text}\n\n"
        + table(("key", "type", "default", "meaning"), rows_of_model(model))
        for name, model in OPERATORS.items()
    ]
    campaign = f"## Campaign\n\n{told(Campaign).text}\n\n{_methods(Campaign)}"
    return page("campaign.py", INTRO, campaign, *written, *given, *asked)


def _of_class(kind: type[Any]) -> str:
    said = told(kind)
    rows = [
        (code(one.name), code(_type(one)), code(_default(one)), said.fields.get(one.name, ""))
        for one in attrs.fields(kind)
    ]
    shown = table(("field", "type", "default", "meaning"), rows)
    return f"## {kind.__name__}\n\n{said.text}\n\n{shown}\n{_methods(kind)}"


def _type(one: attrs.Attribute[Any]) -> str:
    return str(one.type).replace("TaskId", "str").replace("matterstack.core.states.", "")


def _default(one: attrs.Attribute[Any]) -> str:
    if one.default is attrs.NOTHING:
        return "required"
    factory = getattr(one.default, "factory", None)
    if factory is not None:
        made = factory()
        return "Resources()" if isinstance(made, Resources) else repr(made)
    if isinstance(one.default, tuple):
        return "(" + ", ".join(repr(str(item)) for item in one.default) + ")"
    return repr(one.default)


def _methods(kind: type[Any]) -> str:
    parts = []
    for name, thing in _public(kind):
        said = told(thing.fget if isinstance(thing, property) else thing)
        if isinstance(thing, property):
            parts.append(f"- `{name}`: {said.text}")
        else:
            parts.append(f"- `{name}{_signature(thing)}`: {said.text}")
    return "\n".join(parts)


def _signature(thing: Any) -> str:
    parameters = [
        str(one).partition(":")[0].partition("=")[0] for one in inspect.signature(thing).parameters.values()
    ]
    return "(" + ", ".join(name for name in parameters if name != "self") + ")"


def _public(kind: type[Any]) -> Iterator[tuple[str, Any]]:
    for name, thing in vars(kind).items():
        if not name.startswith("_") and (isinstance(thing, property) or inspect.isfunction(thing)):
            yield name, thing
