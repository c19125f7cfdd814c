"""On a network file system one host at a time uses a store."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from matterstack import engine
from matterstack.core.errors import StoreError
from matterstack.core.run.messages import Pause
from matterstack.usecases.commands import send_command
from tests.support.engine import World, flat


def on_nfs(_path: Path) -> str:
    """A root on a network file system."""
    return "nfs4"


def lease_elsewhere(world: World) -> None:
    """Write an engine of another host into the row of every run."""
    world.connection.execute(
        "UPDATE runs SET lease_host = 'login7', lease_boot_id = 'b00t', lease_pid = 4711, lease_epoch = 3"
    )


async def test_an_engine_does_not_open_a_store_that_another_host_uses(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.campaign("w", flat(1))
    world.create("w")
    lease_elsewhere(world)
    monkeypatch.setattr(engine, "file_system_type", on_nfs)

    with pytest.raises(StoreError, match="process 4711 of host login7") as caught:
        async with world.engine():
            raise AssertionError("it was opened")
    assert "matterstack check --break-lease" in caught.value.hint


async def test_what_cannot_be_carried_out_because_of_another_host_is_not_carried_out_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.campaign("w", flat(1))
    world.create("w")
    lease_elsewhere(world)
    run = world.create("w")
    with monkeypatch.context() as patch:
        patch.setattr(engine, "file_system_type", on_nfs)
        with pytest.raises(StoreError, match="process 4711 of host login7"):
            await send_command(world.root, run, Pause(by="eva"), world.runtime)

    await world.serve_until_done(run)

    assert world.status(run) == "COMPLETED"
    assert "RunPaused" not in [type(fact).__name__ for fact in world.facts(run)]


async def test_on_a_local_disk_only_the_run_of_the_other_host_is_left_alone(world: World) -> None:
    world.campaign("w", flat(1))
    world.create("w")
    lease_elsewhere(world)
    mine = world.create("w")

    await world.serve_until_done(mine)

    assert {world.status(run) for run in [mine]} == {"COMPLETED"}


async def test_an_engine_logs_how_the_store_is_kept_and_why(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(engine, "file_system_type", on_nfs)
    with caplog.at_level(logging.INFO, logger="matterstack"):
        async with world.engine():
            (line,) = [record.message for record in caplog.records if "journal mode" in record.message]
    assert "journal mode DELETE, synchronous EXTRA" in line
    assert "a network file system (nfs4): one host at a time" in line
