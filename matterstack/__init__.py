"""MatterStack: a durable runtime for materials-science campaigns."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matterstack import aio as aio
    from matterstack.client import connect as connect
    from matterstack.core.errors import MatterStackError as MatterStackError
    from matterstack.core.model import Campaign as Campaign
    from matterstack.core.model import Result as Result
    from matterstack.core.model import Results as Results
    from matterstack.core.model import Task as Task
    from matterstack.core.model import Workflow as Workflow
    from matterstack.core.resources import Growth as Growth
    from matterstack.core.resources import Resources as Resources
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

# Loaded by those who use it: a campaign.py does not need trio, and `matterstack --help` none of it.
_LATER = {
    "Campaign": "matterstack.core.model",
    "Growth": "matterstack.core.resources",
    "MatterStackError": "matterstack.core.errors",
    "Resources": "matterstack.core.resources",
    "Result": "matterstack.core.model",
    "Results": "matterstack.core.model",
    "Task": "matterstack.core.model",
    "Workflow": "matterstack.core.model",
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
