"""The looking at outputs, with real threads: it holds nothing up, can be ended, and tells how far it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
import trio.lowlevel

from matterstack.actors import collecting
from matterstack.actors.collecting import collect_all
from matterstack.actors.runtime import Runtime
from matterstack.actors.services import Services
from matterstack.core.ids import TaskId
from matterstack.core.run.messages import Collected
from matterstack.core.run.state import RunState, TaskState
from matterstack.core.secret_words import Search
from matterstack.storage.finishing_reports import finishing_words, read_finishing
from matterstack.storage.layout import Root
from tests.support.states import ToldRun, task

HUGE = 900 << 30
"""Larger than anything hashes while a test waits."""


def _world(tmp_path: Path, sizes: dict[str, int]) -> tuple[Services, RunState, list[TaskState]]:
    """A run whose tasks each left one output, most of which is a hole."""
    root = Root(tmp_path)
    run = ToldRun.running(*(task(name, outputs=["out"]) for name in sizes), max_hpc_jobs_per_run=len(sizes))
    run.activate(*sizes)
    for name, size in sizes.items():
        run.end(name)
        folder = root.run_folder(run.state.workspace, run.state.run_id).attempt(TaskId(name), 1).path
        folder.mkdir(parents=True)
        with (folder / "out").open("wb") as file:
            file.truncate(size)
    services = SimpleNamespace(root=root, runtime=Runtime(), vault=SimpleNamespace(search=Search))
    return cast("Services", services), run.state, [run.state.tasks[TaskId(name)] for name in sizes]


def _named(state: RunState, collected: Sequence[Collected]) -> list[str]:
    names = {attempt.token: attempt.task_id for attempt in state.attempts()}
    return [names[each.token] for each in collected]


async def test_small_outputs_overtake_huge_ones_of_the_same_run_and_of_others(tmp_path: Path) -> None:
    huge = {f"huge{n}": HUGE for n in range(12)}
    services, state, tasks = _world(tmp_path, {**huge, "small": 5, "other": 5, "middle": 40 << 20})
    told: list[str] = []
    enough = trio.Event()

    async def tell(collected: Sequence[Collected]) -> None:
        told.extend(_named(state, collected))
        if {"small", "other", "middle"} <= set(told):
            enough.set()

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            for one in tasks[:-3]:
                nursery.start_soon(collect_all, services, state, [one], tell)
            nursery.start_soon(collect_all, services, state, tasks[-3:-1], tell)
            nursery.start_soon(collect_all, services, state, [*tasks[:2], tasks[-1]], tell)
            await enough.wait()
            nursery.cancel_scope.cancel()

    assert set(told) == {"small", "other", "middle"}


async def test_who_is_cancelled_waits_for_no_hashing(tmp_path: Path) -> None:
    services, state, tasks = _world(tmp_path, {"huge": HUGE})

    async def tell(_collected: Sequence[Collected]) -> None:
        pytest.fail("that ends after hours")

    with trio.fail_after(5), trio.move_on_after(0.3) as scope:
        await collect_all(services, state, tasks, tell)
    assert scope.cancelled_caught


async def test_people_are_told_how_far_it_is_and_no_more_when_it_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collecting, "TOLD_EVERY_S", 0.0)
    services, state, tasks = _world(tmp_path, {"huge": HUGE, "small": 1})
    seen: list[Any] = []
    later = trio.Event()

    async def tell(_collected: Sequence[Collected]) -> None:
        pass

    async def look() -> None:
        while len(seen) < 2 or seen[-1] == seen[-2]:
            await trio.lowlevel.checkpoint()
            if far := await trio.to_thread.run_sync(read_finishing, services.root, state.run_id):
                seen.append(far)
        later.set()

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(collect_all, services, state, tasks, tell)
            nursery.start_soon(look)
            await later.wait()
            nursery.cancel_scope.cancel()

    assert set(seen[-1]) == {"huge"}
    assert seen[-1]["huge"].total_bytes == HUGE
    assert 0 <= seen[0]["huge"].done_bytes < seen[-1]["huge"].done_bytes < HUGE
    assert finishing_words(seen[-1].values()).endswith(" of 900 GiB")
    assert read_finishing(services.root, state.run_id) == {}
