"""MatterStack: a durable runtime for materials-science campaigns."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matterstack import aio as aio
    from matterstack.client import connect as connect
    from matterstack.core.errors import MatterStackError as MatterStackError
    from matterstack.core.model.resources import Growth as Growth
    from matterstack.core.model.resources import Resources as Resources
    from matterstack.core.model.workflow import Campaign as Campaign
    from matterstack.core.model.workflow import Result as Result
    from matterstack.core.model.workflow import Results as Results
    from matterstack.core.model.workflow import Task as Task
    from matterstack.core.model.workflow import Workflow as Workflow
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

__version__ = "0.2.0"

# Loaded by those who use it: a campaign.py does not need trio, and `matterstack --help` none of it.
_LATER = {
    "Campaign": "matterstack.core.model.workflow",
    "Growth": "matterstack.core.model.resources",
    "MatterStackError": "matterstack.core.errors",
    "Resources": "matterstack.core.model.resources",
    "Result": "matterstack.core.model.workflow",
    "Results": "matterstack.core.model.workflow",
    "Task": "matterstack.core.model.workflow",
    "Workflow": "matterstack.core.model.workflow",
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
