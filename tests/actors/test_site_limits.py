"""A limit of the site, used up by whomever, is a wait: nothing fails, nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import trio

from matterstack.core.model.workflow import Workflow
from matterstack.core.run import facts as f
from matterstack.core.states import RunStatus
from matterstack.storage.backend_reports import BackendReport, read_reports
from tests.support.engine import World, flat, task
from tests.support.fake_backend import Behaviour

SLURM = {"type": "slurm", "max_jobs": 100, "poll_interval_s": 1.0, "grace_period_s": 0.0}


def report(world: World, backend: str = "fake") -> BackendReport:
    """What the one engine says of a backend."""
    (found,) = (r for r in read_reports(world.root) if r.backend == backend)
    return found


@contextmanager
def never_more_than(world: World, limit: int) -> Iterator[None]:
    """The site takes so many jobs, and at the end everything ran once."""
    world.cluster.submit_limit = limit
    yield
    assert 0 < world.cluster.most_live <= limit - world.cluster.others
    assert set(world.cluster.tasks_run().values()) == {1}
    world.check()


@pytest.mark.parametrize("tells_room", [False, True])
@pytest.mark.parametrize("batch_limit", [1, 1000])
async def test_a_thousand_tasks_run_where_only_a_hundred_jobs_are_allowed(
    world: World, batch_limit: int, tells_room: bool
) -> None:
    world.campaign("w", flat(1000))
    run = world.create("w", max_jobs=2000, max_hpc_jobs_per_run=2000)
    world.cluster.behave = lambda a: Behaviour(duration_s=20 + int(a.task_id[1:]) % 50)
    world.cluster.batch_limit, world.cluster.tells_room = batch_limit, tells_room
    with never_more_than(world, 100):
        await world.serve_until_done()
    assert world.status(run) is RunStatus.COMPLETED
    assert len(world.facts(run, f.AttemptPrepared)) == 1000, "a deferred attempt keeps its token"
    ended = max(job.ends_at for job in world.cluster.jobs)
    assert ended <= 1.6 * 1000 * 45 / 100, "the room that there was lay idle"
    if tells_room:
        assert len(world.facts(run, f.TaskFailed)) == 0
        assert len(world.cluster.times("submit")) < 700


async def test_jobs_submitted_by_hand_use_the_limit_up_for_a_night_and_then_end(world: World) -> None:
    world.campaign("w", flat(40))
    run = world.create("w")
    world.cluster.behave = lambda _: Behaviour(duration_s=60)
    world.cluster.batch_limit, world.cluster.others = 1000, 30
    world.cluster.submit_limit = 30
    async with world.serving():
        await trio.sleep(1800)
        assert world.cluster.jobs == []
        assert world.status(run) is RunStatus.RUNNING
        told = report(world)
        assert told.limit == "AssocMaxSubmitJobLimit"
        assert told.limited_since is not None
        assert world.seconds(told.limited_since) < 10
        assert len(world.cluster.times("submit")) < 1800 / 120 + 20, "it is asked now and then only"
        world.cluster.others = 0
        await world.until_status(run, RunStatus.COMPLETED, within_s=400)
        assert report(world).limited_since is None
    assert set(world.cluster.tasks_run().values()) == {1}
    world.check()


async def test_one_attempt_that_waits_alone_is_said_to_wait_since_its_first_refusal(world: World) -> None:
    world.campaign("w", flat(1))
    run = world.create("w")
    world.cluster.submit_limit = 0
    async with world.serving():
        await trio.sleep(1000)
        since = report(world).limited_since
        assert since is not None
        assert world.seconds(since) < 5
        world.cluster.submit_limit = 1
        await world.until_status(run, RunStatus.COMPLETED, within_s=200)
        assert report(world).limit == ""
    world.check()


async def test_other_backends_and_other_runs_go_on_while_one_takes_no_more_jobs(world: World) -> None:
    here = [task(f"a{i}", backend="fake") for i in range(3)]
    there = [task(f"b{i}", backend="other") for i in range(5)]
    world.campaign("w", Workflow([*here, *there]))
    world.campaign("free", flat(6))
    run = world.create("w", max_hpc_jobs_per_run=4, backends={"fake": SLURM, "other": SLURM})
    free = world.create("free")
    world.cluster.submit_limit = 0
    world.cluster.limits = lambda a: a.task_id.startswith("a")
    async with world.serving():
        await world.until_status(free, RunStatus.COMPLETED, within_s=60)
        await world.until(lambda: len(world.facts(run, f.TaskSucceeded)) == 5, "the others", within_s=60)
        assert [r.backend for r in read_reports(world.root) if r.limited_since] == ["fake"]
        world.cluster.submit_limit = 10
        await world.until_status(run, RunStatus.COMPLETED, within_s=300)
    world.check()


async def test_a_run_can_be_paused_while_attempts_wait_for_room_and_nothing_lands_then(world: World) -> None:
    world.campaign("w", flat(6))
    run = world.create("w")
    world.cluster.submit_limit = world.cluster.others = 5
    async with world.serving():
        await world.until(lambda: len(world.state(run).live) == 6, "deferred attempts")
        await trio.sleep(20)
        before = trio.current_time()
        await world.pause(run)
        assert trio.current_time() - before < 1
        world.cluster.others = 0
        await trio.sleep(1000)
        assert world.cluster.jobs == []
        await world.resume(run)
        await world.until_status(run, RunStatus.COMPLETED, within_s=600)
    assert set(world.cluster.tasks_run().values()) == {1}
    world.check()


async def test_a_cancel_withdraws_attempts_that_wait_for_room(world: World) -> None:
    world.campaign("w", flat(6))
    run = world.create("w")
    world.cluster.behave = lambda _: Behaviour(duration_s=1e6)
    world.cluster.submit_limit = 2
    async with world.serving():
        await world.until(lambda: len(world.cluster.live()) == 2, "jobs")
        await trio.sleep(20)
        await world.cancel(run)
        await world.until_status(run, RunStatus.CANCELLED, within_s=60)
    assert len(world.facts(run, f.SubmissionWithdrawn)) == 4
    assert len(world.cluster.jobs) == 2
    world.check()


async def test_a_new_engine_looks_for_attempts_that_waited_for_room_and_submits_them(world: World) -> None:
    world.campaign("w", flat(6))
    run = world.create("w")
    world.cluster.batch_limit = 100
    world.cluster.submit_limit = world.cluster.others = 3
    async with world.serving():
        await world.until(lambda: len(world.state(run).live) == 6, "deferred attempts")
        await trio.sleep(50)
    async with world.serving():
        await trio.sleep(50)
        assert report(world).limited_since is not None, "the new engine says so, too"
        world.cluster.others = 0
        await world.until_status(run, RunStatus.COMPLETED, within_s=300)
    assert len(world.facts(run, f.AttemptPrepared)) == 6
    assert set(world.cluster.tasks_run().values()) == {1}
    world.check()


async def test_a_crash_of_the_backend_actor_forgets_nothing_that_waits_for_room(world: World) -> None:
    world.campaign("w", flat(8))
    run = world.create("w")
    world.cluster.behave = lambda _: Behaviour(duration_s=30)
    world.cluster.submit_limit = 2
    async with world.serving():
        await world.until(world.cluster.live, "jobs")
        world.cluster.faults["poll"] = [RuntimeError("a bug")]
        await world.until_status(run, RunStatus.COMPLETED, within_s=1000)
    assert set(world.cluster.tasks_run().values()) == {1}
    assert world.cluster.most_live == 2
    world.check()


async def test_runs_share_the_room_that_a_site_leaves(world: World) -> None:
    world.campaign("w", flat(20))
    runs = [world.create("w", max_hpc_jobs_per_run=20) for _ in range(3)]
    world.cluster.behave = lambda _: Behaviour(duration_s=30)
    world.cluster.submit_limit, world.cluster.batch_limit = 6, 100
    async with world.serving():
        await world.until(lambda: len(world.cluster.jobs) >= 36, "half of the jobs", within_s=2000)
        started = [sum(job.run_id == run for job in world.cluster.jobs) for run in runs]
        assert min(started) >= 6, f"each has had half of its share at least: {started}"
        await world.until_ended(*runs, within_s=3000)
    assert world.cluster.most_live <= 6
    world.check()
