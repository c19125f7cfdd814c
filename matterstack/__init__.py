"""MatterStack: a durable runtime for materials-science campaigns."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from matterstack.core.errors import MatterStackError
from matterstack.core.model import Campaign, Result, Results, Task, Workflow
from matterstack.core.resources import Growth, Resources

if TYPE_CHECKING:
    from matterstack import aio as aio
    from matterstack.client import connect as connect
    from matterstack.embed.opening import open_engine as open_engine

__all__ = [
    "Campaign",
    "Growth",
    "MatterStackError",
    "Resources",
    "Result",
    "Results",
    "Task",
    "Workflow",
    "__version__",
    "aio",
    "connect",
    "open_engine",
]

__version__ = "0.1.0"

# What needs trio and the rest is loaded by those who use it: a campaign.py and `matterstack --help` do not.
_LATER = {
    "aio": "matterstack.aio",
    "connect": "matterstack.client",
    "open_engine": "matterstack.embed.opening",
}


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(_LATER[name])
    found = module if name == "aio" else getattr(module, name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
