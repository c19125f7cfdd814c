"""The page of what `import matterstack` offers."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from docstrings import told
from markdown import item, page

import matterstack
from matterstack.core.errors import MatterStackError

INTRO = """What `import matterstack` offers to host programs. It is loaded when it is used: a `campaign.py` needs no
trio. What a campaign is written with is [told apart](campaign.md), and so are [all errors](exit-codes.md)."""

TOLD_ELSEWHERE = {"Campaign", "Growth", "Resources", "Result", "Results", "Task", "Workflow", "__version__"}


def make() -> str:
    """The whole page."""
    names = [name for name in matterstack.__all__ if name not in TOLD_ELSEWHERE]
    parts = [_section(f"matterstack.{name}", getattr(matterstack, name)) for name in names]
    aio = [
        _section(f"matterstack.aio.{name}", getattr(matterstack.aio, name))
        for name in matterstack.aio.__all__
    ]
    return page("Python API", INTRO, *filter(None, parts), *filter(None, aio))


def _section(title: str, thing: Any) -> str:
    if inspect.isclass(thing) and issubclass(thing, MatterStackError) and thing is not MatterStackError:
        return ""
    if isinstance(thing, ModuleType):
        return f"## {title}\n\n{told(thing).text}"
    head = f"## {title}\n\n"
    if inspect.isclass(thing):
        return (
            head
            + told(thing).text
            + "\n\n"
            + _fields(thing)
            + "\n\n".join(_method(*one) for one in _public(thing))
        )
    return head + _callable(title.rpartition(".")[2], thing)


def _fields(kind: type[Any]) -> str:
    said = told(kind).fields
    return "".join(
        f"{item(name, meaning)}\n" for name, meaning in said.items() if not name.startswith("_")
    ) + ("\n" if said else "")


def _method(name: str, thing: Any) -> str:
    if isinstance(thing, property):
        return f"### {name}\n\n{told(thing.fget).text}"
    return f"### {name}\n\n" + _callable(name, thing)


def _callable(name: str, thing: Any) -> str:
    said = told(thing)
    parts = [f"    {_signature(name, thing)}", said.text]
    if said.fields:
        parts.append("\n".join(item(one, meaning) for one, meaning in said.fields.items()))
    if said.raises:
        parts.append("Raises:\n\n" + "\n".join(item(one, meaning) for one, meaning in said.raises.items()))
    return "\n\n".join(parts)


def _signature(name: str, thing: Any) -> str:
    signature = inspect.signature(thing)
    kept = [one for one in signature.parameters.values() if one.name != "self"]
    waits = "await " if inspect.iscoroutinefunction(thing) else ""
    shown = str(signature.replace(parameters=kept, return_annotation=inspect.Signature.empty))
    return f"{waits}{name}{shown}".replace("'", "")


def _public(kind: type[Any]) -> Iterator[tuple[str, Any]]:
    seen: set[str] = set()
    for owner in kind.__mro__:
        if not owner.__module__.startswith("matterstack"):
            continue
        for name, thing in vars(owner).items():
            is_shown = isinstance(thing, property) or inspect.isfunction(thing)
            if is_shown and not name.startswith("_") and name not in seen:
                seen.add(name)
                yield name, thing
