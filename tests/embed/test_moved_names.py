"""Where names have gone that pickled campaigns hold."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from matterstack import Growth, Resources, Task
from matterstack.campaign import moved_names, pickled
from matterstack.campaign.moved_names import MOVES, where_it_is, where_module_is
from matterstack.campaign.pickled import PickledCampaign, unpickled
from matterstack.campaign.pickled import pickled as kept_of
from tests.embed.campaigns import Rounds

HELD_IN_020 = {
    "matterstack": "Campaign Growth MatterStackError Resources Result Results Task Workflow",
    "matterstack.core.errors": "CampaignError ClosedError ConfigError MatterStackError NotFoundError "
    "RefusedError StoreError UsageError",
    "matterstack.core.ids": "BackendName JobId RunId TaskId Token UtcTime",
    "matterstack.core.model": "ALL_FAILURES Campaign Result Results Task Workflow",
    "matterstack.core.partitions": "Partition",
    "matterstack.core.resources": "Growth Limits Resources",
    "matterstack.core.states": "FailureKind JobState Phase RunStatus TaskStatus",
    "matterstack.evidence.export": "Bundle",
    "matterstack.storage.queries": "RunSummary Stage",
}
"""What a campaign of 0.2.0 could hold: the model, and what engines give to host programs."""


@pytest.mark.parametrize("module", HELD_IN_020)
def test_what_a_campaign_of_020_could_hold_is_found(module: str) -> None:
    for name in HELD_IN_020[module].split():
        where, now = where_it_is(module, name, 0)
        assert hasattr(import_module(where), now), f"{module}.{name} is not at {where}.{now}"
    import_module(where_module_is(module, 0))


@pytest.mark.parametrize("number", range(len(MOVES)))
def test_every_name_of_every_table_leads_to_something_that_is_there(number: int) -> None:
    for old in MOVES[number]:
        try:
            import_module(where_module_is(old, number))
        except ModuleNotFoundError:
            where, name = where_it_is(*_split(old), number)
            assert hasattr(import_module(where), name), old


def _split(name: str) -> tuple[str, str]:
    module, _, last = name.rpartition(".")
    return module, last


def _with_tables(monkeypatch: pytest.MonkeyPatch, *tables: Mapping[str, str]) -> None:
    monkeypatch.setattr(moved_names, "MOVES", tables)
    monkeypatch.setattr(pickled, "MOVES", tables)


def test_what_moved_twice_is_found_by_each_of_its_names(monkeypatch: pytest.MonkeyPatch) -> None:
    _with_tables(
        monkeypatch,
        {"old": "older.new", "old.Renamed": "elsewhere.Better"},
        {"older.new": "newest", "old": "unrelated", "elsewhere.Better": "elsewhere.Best"},
    )
    assert where_it_is("old", "Thing", 0) == ("newest", "Thing")
    assert where_it_is("old", "Renamed", 0) == ("elsewhere", "Best")
    assert where_it_is("old", "Renamed.Inner", 0) == ("elsewhere", "Best.Inner")
    assert where_it_is("old", "Thing", 1) == ("unrelated", "Thing"), "another module has had the name since"
    assert where_it_is("old", "Thing", 2) == ("old", "Thing")
    assert [where_module_is("old", tables) for tables in range(3)] == ["newest", "unrelated", "old"]


class _Holding(Rounds):
    def __init__(self) -> None:
        super().__init__([])
        self.task = Task("a", resources=Resources(grow=Growth()))
        self.modules: Any = _Modules()


class _Modules:
    """Comes back as a module, as cloudpickle keeps one."""

    def __reduce__(self) -> Any:
        from cloudpickle.cloudpickle import subimport  # type: ignore[import-untyped]

        return (subimport, ("matterstack.core.model",))


def test_classes_and_modules_are_found_where_a_table_has_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = kept_of(_Holding())
    file = _keep(tmp_path, kept)
    loaded: Any = unpickled(file, kept.sha256)
    assert loaded.modules is import_module("matterstack.core.model"), "a new pickle means what it says"
    _with_tables(
        monkeypatch,
        *MOVES,
        {
            Resources.__module__: "matterstack",
            f"{Task.__module__}.Task": "matterstack.Task",
            "matterstack.core.model": "matterstack.core.states",
        },
    )
    moved: Any = unpickled(file, kept.sha256)
    assert moved.task == loaded.task
    assert moved.modules is import_module("matterstack.core.states")


def _keep(folder: Path, kept: PickledCampaign) -> Path:
    file = folder / "campaign.pickle"
    file.write_bytes(kept.content)
    return file
