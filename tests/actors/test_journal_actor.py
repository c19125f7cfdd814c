"""The journal actor: one transaction for all who wait, and no answer before it is durable."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import ParamSpec, TypeVar

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from matterstack.actors.journal import JournalActor
from matterstack.actors.runtime import Runtime
from matterstack.core.errors import ActorEndedError, LeaseLostError, StoreError
from matterstack.core.ids import RunId, UtcTime
from matterstack.core.run import facts as f
from matterstack.core.run.apply import Touched, new_run
from matterstack.storage.journal import Append, make_append
from matterstack.storage.schema import open_database
from tests.support.engine import World, flat

_P = ParamSpec("_P")
_T = TypeVar("_T")

AT = UtcTime("2026-01-01T00:00:00.000000Z")


@attrs.define
class SlowDisk:
    """Commits as usual, as soon as it is let; counts, and says how large each group was."""

    groups: list[int] = attrs.field(factory=list)
    took_s: list[float] = attrs.field(factory=list)
    go_on: trio.Event = attrs.field(factory=trio.Event)
    broken: bool = False

    async def __call__(self, call: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        appends = args[2]
        assert isinstance(appends, Sequence)
        self.groups.append(len(appends))
        await self.go_on.wait()
        if self.broken:
            raise StoreError("the disk is gone")
        return call(*args, **kwargs)


def created(number: int, epoch: int | None = None) -> Append:
    """The first fact of a run."""
    fact = f.RunCreated(workspace="w", config={"backends": {}})
    run_id = RunId(f"20260101T000000-{number:06}".replace("0", "a").replace("1", "b"))
    return make_append(new_run(run_id, fact, AT), epoch, [(AT, fact)], Touched(run=True))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def connection(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(open_database(path)) as opened:
        yield opened


@asynccontextmanager
async def serving(connection: sqlite3.Connection, path: Path, disk: SlowDisk) -> AsyncIterator[JournalActor]:
    """A journal actor at work."""
    journal = JournalActor(connection, path, Runtime(journal=disk), disk.took_s.append)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(journal.serve)
        yield journal
        nursery.cancel_scope.cancel()


def event_count(path: Path) -> int:
    """What another process would see."""
    with closing(open_database(path)) as other:
        return int(other.execute("SELECT count(*) FROM events").fetchone()[0])


async def test_what_comes_in_during_a_commit_goes_into_one_transaction(
    connection: sqlite3.Connection, path: Path
) -> None:
    disk = SlowDisk()
    answers: list[int] = []
    async with serving(connection, path, disk) as journal, trio.open_nursery() as nursery:

        async def append(number: int) -> None:
            answers.append(await journal.append(created(number)))

        nursery.start_soon(append, 0)
        await wait_all_tasks_blocked()
        for number in range(1, 51):
            nursery.start_soon(append, number)
        await wait_all_tasks_blocked()
        assert disk.groups == [1]
        disk.go_on.set()
    assert disk.groups == [1, 50]
    assert sorted(answers) == list(range(1, 52))
    assert event_count(path) == 51


async def test_it_is_told_how_long_a_commit_took_until_it_was_durable(
    connection: sqlite3.Connection, path: Path, mock_clock: MockClock
) -> None:
    disk = SlowDisk()
    async with serving(connection, path, disk) as journal:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(journal.append, created(0))
            await wait_all_tasks_blocked()
            mock_clock.jump(2.5)
            assert disk.took_s == []
            disk.go_on.set()
        await journal.append(created(1))
    assert disk.took_s == [2.5, 0]


async def test_nobody_is_answered_before_the_commit(connection: sqlite3.Connection, path: Path) -> None:
    disk = SlowDisk()
    seen: list[int] = []
    async with serving(connection, path, disk) as journal, trio.open_nursery() as nursery:

        async def append() -> None:
            await journal.append(created(0))
            seen.append(event_count(path))

        nursery.start_soon(append)
        await wait_all_tasks_blocked()
        assert seen == []
        assert event_count(path) == 0
        disk.go_on.set()
    assert seen == [1]


async def test_an_append_that_is_refused_fails_only_who_asked_for_it(
    connection: sqlite3.Connection, path: Path
) -> None:
    disk = SlowDisk()
    failed: list[int] = []
    stored: list[int] = []
    async with serving(connection, path, disk) as journal, trio.open_nursery() as nursery:

        async def append(number: int, epoch: int | None) -> None:
            try:
                await journal.append(created(number, epoch))
            except LeaseLostError:
                failed.append(number)
            else:
                stored.append(number)

        disk.go_on.set()
        await append(1, None)
        disk.go_on = trio.Event()
        nursery.start_soon(append, 0, None)
        await wait_all_tasks_blocked()
        for number, epoch in ((1, 99), (2, None), (3, None)):
            nursery.start_soon(append, number, epoch)
        await wait_all_tasks_blocked()
        disk.go_on.set()
        await wait_all_tasks_blocked()
        assert disk.groups == [1, 1, 3]
        await append(4, None)
    assert failed == [1]
    assert sorted(stored) == [0, 1, 2, 3, 4]
    assert event_count(path) == 5


async def test_a_store_that_fails_tells_everybody_and_ends_the_actor(
    connection: sqlite3.Connection, path: Path
) -> None:
    disk = SlowDisk()
    told: list[str] = []

    async def append(journal: JournalActor, number: int) -> None:
        try:
            await journal.append(created(number))
        except (StoreError, ActorEndedError) as error:
            told.append(type(error).__name__)

    journal = JournalActor(connection, path, Runtime(journal=disk), disk.took_s.append)
    with pytest.RaisesGroup(StoreError):
        async with trio.open_nursery() as nursery, trio.open_nursery() as askers:
            nursery.start_soon(journal.serve)
            for number in range(70):  # more than one group takes
                askers.start_soon(append, journal, number)
            await wait_all_tasks_blocked()
            disk.broken = True
            disk.go_on.set()
    assert len(told) == 70
    assert event_count(path) == 0
    with pytest.raises(ActorEndedError):
        await journal.append(created(1))


async def test_an_asker_that_is_cancelled_does_not_disturb_the_others(
    connection: sqlite3.Connection, path: Path
) -> None:
    disk = SlowDisk()
    stored: list[int] = []
    async with serving(connection, path, disk) as journal, trio.open_nursery() as nursery:

        async def append(number: int) -> None:
            await journal.append(created(number))
            stored.append(number)

        with trio.CancelScope() as impatient:
            async with trio.open_nursery() as inner:
                inner.start_soon(append, 0)
                await wait_all_tasks_blocked()
                nursery.start_soon(append, 1)
                await wait_all_tasks_blocked()
                impatient.cancel()
        disk.go_on.set()
    assert stored == [1]
    assert not journal.mailbox._asked
    assert event_count(path) == 2, "what was under way is seen through"


async def test_a_store_failure_stops_the_engine_with_the_error(world: World) -> None:
    inline = world.runtime.journal
    broken = False

    async def journal(call: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        if broken and getattr(call, "__name__", "") == "commit":
            raise StoreError("the disk is gone")
        return await inline(call, *args, **kwargs)

    world.runtime = attrs.evolve(world.runtime, journal=journal)
    world.campaign("w", flat(20))
    runs = [world.create("w", max_hpc_jobs_per_run=2) for _ in range(2)]
    stopped = False
    try:
        async with world.serving():
            await world.until(world.cluster.live, "jobs")
            broken = True
            await trio.sleep(1000)
    except* StoreError:
        stopped = True
    assert stopped, "the engine went on although nothing could be stored"
    world.check()

    broken = False
    await world.serve_until_done()
    assert set(world.cluster.tasks_run().values()) == {1}
    assert {str(world.status(run)) for run in runs} == {"COMPLETED"}
    world.check()
