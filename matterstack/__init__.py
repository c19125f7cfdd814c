"""MatterStack: a durable runtime for materials-science campaigns.

Here are the names that a campaign and a host program need; all else may move between versions.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matterstack import aio as aio
    from matterstack.client import Client as Client
    from matterstack.client import connect as connect
    from matterstack.core.errors import BackendError as BackendError
    from matterstack.core.errors import CampaignError as CampaignError
    from matterstack.core.errors import ChangedError as ChangedError
    from matterstack.core.errors import ClosedError as ClosedError
    from matterstack.core.errors import ConfigError as ConfigError
    from matterstack.core.errors import DatabaseCorruptError as DatabaseCorruptError
    from matterstack.core.errors import DatabaseVersionError as DatabaseVersionError
    from matterstack.core.errors import DiskFullError as DiskFullError
    from matterstack.core.errors import IllegalTransitionError as IllegalTransitionError
    from matterstack.core.errors import InvariantError as InvariantError
    from matterstack.core.errors import LeaseLostError as LeaseLostError
    from matterstack.core.errors import MatterStackError as MatterStackError
    from matterstack.core.errors import MonitorError as MonitorError
    from matterstack.core.errors import NotFoundError as NotFoundError
    from matterstack.core.errors import RefusedError as RefusedError
    from matterstack.core.errors import StoreError as StoreError
    from matterstack.core.errors import UnreachableError as UnreachableError
    from matterstack.core.errors import UsageError as UsageError
    from matterstack.core.model.resources import Growth as Growth
    from matterstack.core.model.resources import Resources as Resources
    from matterstack.core.model.workflow import Campaign as Campaign
    from matterstack.core.model.workflow import Result as Result
    from matterstack.core.model.workflow import Results as Results
    from matterstack.core.model.workflow import Task as Task
    from matterstack.core.model.workflow import Workflow as Workflow
    from matterstack.core.states import RunStatus as RunStatus
    from matterstack.core.states import TaskStatus as TaskStatus
    from matterstack.embed.handles import Engine as Engine
    from matterstack.embed.handles import EventStream as EventStream
    from matterstack.embed.handles import Run as Run
    from matterstack.embed.host_change import Change as Change
    from matterstack.embed.opening import open_engine as open_engine
    from matterstack.evidence.export import Bundle as Bundle
    from matterstack.storage.read.runs import RunSummary as RunSummary

__all__ = [
    "BackendError",
    "Bundle",
    "Campaign",
    "CampaignError",
    "Change",
    "ChangedError",
    "Client",
    "ClosedError",
    "ConfigError",
    "DatabaseCorruptError",
    "DatabaseVersionError",
    "DiskFullError",
    "Engine",
    "EventStream",
    "Growth",
    "IllegalTransitionError",
    "InvariantError",
    "LeaseLostError",
    "MatterStackError",
    "MonitorError",
    "NotFoundError",
    "RefusedError",
    "Resources",
    "Result",
    "Results",
    "Run",
    "RunStatus",
    "RunSummary",
    "StoreError",
    "Task",
    "TaskStatus",
    "UnreachableError",
    "UsageError",
    "Workflow",
    "__version__",
    "aio",
    "connect",
    "open_engine",
]

__version__ = "0.2.0"

# Loaded by those who use it: a campaign.py does not need trio, and `matterstack --help` none of it.
_LATER = {
    "BackendError": "matterstack.core.errors",
    "Bundle": "matterstack.evidence.export",
    "Campaign": "matterstack.core.model.workflow",
    "CampaignError": "matterstack.core.errors",
    "Change": "matterstack.embed.host_change",
    "ChangedError": "matterstack.core.errors",
    "Client": "matterstack.client",
    "ClosedError": "matterstack.core.errors",
    "ConfigError": "matterstack.core.errors",
    "DatabaseCorruptError": "matterstack.core.errors",
    "DatabaseVersionError": "matterstack.core.errors",
    "DiskFullError": "matterstack.core.errors",
    "Engine": "matterstack.embed.handles",
    "EventStream": "matterstack.embed.handles",
    "Growth": "matterstack.core.model.resources",
    "IllegalTransitionError": "matterstack.core.errors",
    "InvariantError": "matterstack.core.errors",
    "LeaseLostError": "matterstack.core.errors",
    "MatterStackError": "matterstack.core.errors",
    "MonitorError": "matterstack.core.errors",
    "NotFoundError": "matterstack.core.errors",
    "RefusedError": "matterstack.core.errors",
    "Resources": "matterstack.core.model.resources",
    "Result": "matterstack.core.model.workflow",
    "Results": "matterstack.core.model.workflow",
    "Run": "matterstack.embed.handles",
    "RunStatus": "matterstack.core.states",
    "RunSummary": "matterstack.storage.read.runs",
    "StoreError": "matterstack.core.errors",
    "Task": "matterstack.core.model.workflow",
    "TaskStatus": "matterstack.core.states",
    "UnreachableError": "matterstack.core.errors",
    "UsageError": "matterstack.core.errors",
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
