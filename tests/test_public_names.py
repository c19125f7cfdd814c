"""The names that campaigns and host programs may rely on: these, at home where they are, and loaded late."""

from __future__ import annotations

import importlib
import subprocess
import sys
from typing import Final

import pytest

import matterstack
from matterstack.core import errors

CAMPAIGNS: Final = {
    "Campaign": "matterstack.core.model.workflow",
    "Growth": "matterstack.core.model.resources",
    "Resources": "matterstack.core.model.resources",
    "Result": "matterstack.core.model.workflow",
    "Results": "matterstack.core.model.workflow",
    "Task": "matterstack.core.model.workflow",
    "TaskStatus": "matterstack.core.states",
    "Workflow": "matterstack.core.model.workflow",
}
HOSTS: Final = {
    "Bundle": "matterstack.evidence.export",
    "Change": "matterstack.embed.host_change",
    "Client": "matterstack.client",
    "Engine": "matterstack.embed.handles",
    "EventStream": "matterstack.embed.handles",
    "Run": "matterstack.embed.handles",
    "RunStatus": "matterstack.core.states",
    "RunSummary": "matterstack.storage.read.runs",
    "aio": "matterstack",
    "connect": "matterstack.client",
    "open_engine": "matterstack.embed.opening",
}
ERRORS: Final = (
    "BackendError",
    "CampaignError",
    "ChangedError",
    "ClosedError",
    "ConfigError",
    "DatabaseCorruptError",
    "DatabaseVersionError",
    "DiskFullError",
    "IllegalTransitionError",
    "InvariantError",
    "LeaseLostError",
    "MatterStackError",
    "MonitorError",
    "NotFoundError",
    "RefusedError",
    "StoreError",
    "UnreachableError",
    "UsageError",
)
INSIDE: Final = {
    "ActorEndedError": "asked and answered between actors",
    "CapReachedError": "the run's actor waits for a seat",
    "MailboxFullError": "between actors; what was for it stays in the store",
    "StagingError": "fails its task, with the reason in its history",
}
"""Errors that end where they are raised, and where."""


def test_the_public_names_are_these() -> None:
    assert set(matterstack.__all__) == {*CAMPAIGNS, *HOSTS, *ERRORS, "__version__"}
    assert dir(matterstack) == sorted(matterstack.__all__)


@pytest.mark.parametrize(
    ("name", "home"), [*CAMPAIGNS.items(), *HOSTS.items(), *((name, errors.__name__) for name in ERRORS)]
)
def test_a_public_name_is_what_its_home_has(name: str, home: str) -> None:
    assert getattr(matterstack, name) is getattr(importlib.import_module(home), name)


def test_every_error_is_public_or_ends_inside() -> None:
    kinds = {name for name, value in vars(errors).items() if isinstance(value, type)}
    ours = {name for name in kinds if issubclass(getattr(errors, name), errors.MatterStackError)}
    assert ours == {*ERRORS, *INSIDE}


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(
    ("names", "unwanted"),
    [
        ("", "matterstack.core attrs trio pydantic sqlite3"),
        (" ".join((*CAMPAIGNS, *ERRORS, "RunStatus")), "trio pydantic sqlite3 matterstack.engine"),
    ],
)
def test_what_is_not_used_is_not_loaded(names: str, unwanted: str) -> None:
    script = (
        "import sys, matterstack\n"
        f"for name in {names.split()}: getattr(matterstack, name)\n"
        f"print(*(set({unwanted.split()}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
