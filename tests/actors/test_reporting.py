"""What the engine says of a backend while it works: outages, limits, statistics."""

from __future__ import annotations

import trio

from matterstack.core.errors import BackendError
from matterstack.core.states import RunStatus
from matterstack.storage.backend_reports import BackendReport, read_reports
from matterstack.storage.commit_reports import read_commits
from tests.support.engine import World, flat
from tests.support.fake_backend import Behaviour


def report(world: World) -> BackendReport:
    """What the one engine says of the one backend."""
    (found,) = read_reports(world.root)
    return found


async def test_an_outage_is_told_with_its_beginning_until_it_is_over(world: World) -> None:
    world.campaign("w", flat(3))
    run = world.create("w", backend={"poll_interval_s": 10.0})
    world.cluster.behave = lambda _: Behaviour(duration_s=3000)
    async with world.serving():
        await world.until(lambda: len(world.cluster.live()) == 3, "jobs")
        assert report(world).out_since is None
        world.cluster.outage = "Unable to contact slurm controller"
        await world.until(lambda: report(world).out_since is not None, "an outage", within_s=60)
        since = report(world).out_since
        polls = len(world.cluster.times("poll"))
        await world.until(lambda: len(world.cluster.times("poll")) > polls + 5, "more failures")
        assert (report(world).out_since, report(world).problem) == (since, world.cluster.outage)
        world.cluster.faults["probe"] = [BackendError(world.cluster.outage)] * 3
        world.cluster.faults["poll"] = [RuntimeError("a bug")]
        await world.until(lambda: not world.cluster.faults["poll"], "a crash of the actor")
        assert report(world).out_since == since, "a crash made it forget"
        world.cluster.outage = None
        await world.until(lambda: report(world).out_since is None, "its end", within_s=200)
        assert report(world).problem == ""
        await world.until_status(run, RunStatus.COMPLETED, within_s=4000)
    assert read_reports(world.root) == [], "an engine that stopped says nothing any more"
    assert list((world.root.private / "backends").iterdir()) == []
    world.check()


async def test_a_backend_that_is_out_from_the_beginning_is_told_of(world: World) -> None:
    world.campaign("w", flat(1))
    world.create("w")
    world.cluster.faults["probe"] = [BackendError("no route to host")] * 100
    async with world.serving():
        await world.until(world.planner.asked.copy, "the plan")
        await world.until(lambda: bool(read_reports(world.root)), "a report", within_s=30)
        await world.until(lambda: report(world).out_since is not None, "the outage", within_s=60)
        assert report(world).problem == "no route to host"


async def test_the_commits_of_an_engine_are_told_of_while_it_lives(world: World) -> None:
    world.campaign("w", flat(3))
    run = world.create("w")
    async with world.serving():
        await world.until(lambda: bool(read_commits(world.root)), "the first commit")
        (first,) = read_commits(world.root)
        assert sum(first.counts) == 1
        await world.until_status(run, RunStatus.COMPLETED)
        await world.until(lambda: sum(read_commits(world.root)[0].counts) > 5, "more", within_s=60)
    assert read_commits(world.root) == []
    world.check()


async def test_engines_of_one_process_tell_of_themselves_each(world: World) -> None:
    world.campaign("w", flat(1))
    world.cluster.behave = lambda _: Behaviour(duration_s=1000)
    async with trio.open_nursery() as nursery, world.engine() as first:
        nursery.start_soon(first.serve, [world.create("w")])
        async with world.engine() as second:
            nursery.start_soon(second.serve, [world.create("w")])
            await world.until(lambda: len(world.cluster.live()) == 2, "both jobs", within_s=60)
            await world.until(lambda: len(read_commits(world.root)) == 2, "both commits", within_s=60)
            assert len(read_reports(world.root)) == 2
            nursery.cancel_scope.cancel()
        assert len(read_commits(world.root)) == len(read_reports(world.root)) == 1
    assert read_commits(world.root) == []
