"""Another config for a run that is being served: taken up at once, and nothing of its jobs is lost by it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import trio

from matterstack.core.documents.config import merge
from matterstack.core.ids import RunId
from matterstack.core.run import facts as f
from matterstack.core.run.messages import AmendConfig
from matterstack.core.states import RunStatus
from matterstack.storage.backend_reports import read_reports, troubles
from tests.support.engine import World, flat
from tests.support.fake_backend import Behaviour


def asked(world: World, run: RunId, changes: Mapping[str, Any]) -> AmendConfig:
    before = world.state(run).config
    return AmendConfig(by="eva", before=before, config=merge(before, changes))


async def amend(world: World, run: RunId, changes: Mapping[str, Any]) -> None:
    """Amend the config, acknowledged."""
    assert await world.ask(run, asked(world, run, changes)) == {"ok": True}


def fake(**changes: Any) -> dict[str, Any]:
    return {"backends": {"fake": changes}}


async def test_a_raised_cap_is_used_at_once_and_a_lowered_one_ends_nothing(world: World) -> None:
    world.campaign("w", flat(40))
    run = world.create("w", max_jobs=4)
    world.cluster.behave = lambda _: Behaviour(duration_s=1000)
    async with world.serving():
        await world.until(lambda: len(world.cluster.live()) == 4, "four jobs")
        await trio.sleep(50)
        await amend(world, run, fake(max_jobs=10))
        await world.until(lambda: len(world.cluster.live()) == 10, "ten jobs", within_s=5)

        await amend(world, run, fake(max_jobs=3))
        begun = len(world.cluster.jobs)
        await trio.sleep(500)
        assert len(world.cluster.live()) == 10, "a job was ended by a lowered cap"
        await trio.sleep(1500)
        assert 0 < len(world.cluster.live()) <= 3
        late = [job for job in world.cluster.jobs[begun:] if job.submitted_at < 1000]
        assert late == []
        await amend(world, run, {"max_hpc_jobs_per_run": 1})
        await world.until_ended(run)
    assert world.status(run) is RunStatus.COMPLETED
    assert set(world.cluster.tasks_run().values()) == {1}
    world.check()


async def test_jobs_of_a_backend_that_is_defined_anew_are_followed_on_and_keep_their_seats(
    world: World,
) -> None:
    world.campaign("w", flat(8))
    run = world.create("w", max_jobs=4)
    world.cluster.behave = lambda _: Behaviour(duration_s=1000)
    async with world.serving():
        await world.until(lambda: len(world.state(run).live) == 4 and world.cluster.live(), "four jobs")
        await trio.sleep(50)
        await amend(world, run, fake(poll_interval_s=200.0))
        changed_at = trio.current_time()
        await trio.sleep(800)
        assert len(world.cluster.jobs) == 4, "seats of jobs that are still at work were given away"
        polls = [at for at in world.cluster.times("poll") if at > changed_at + 1]
        assert len(polls) <= 5, f"the new interval is not kept: {len(polls)} polls in 800 s"
        await world.until_ended(run)
    assert world.status(run) is RunStatus.COMPLETED
    assert set(world.cluster.tasks_run().values()) == {1}
    world.check()


@pytest.mark.parametrize(("submit_s", "reply_s"), [(30, 0), (0, 30), (15, 15)])
async def test_a_backend_that_has_a_submission_in_hand_answers_for_it_before_it_is_defined_anew(
    world: World, submit_s: float, reply_s: float
) -> None:
    world.campaign("w", flat(9))
    run = world.create("w", max_jobs=3)
    world.cluster.submit_s, world.cluster.reply_s = submit_s, reply_s
    world.cluster.behave = lambda _: Behaviour(duration_s=100)
    async with world.serving():
        await world.until(lambda: world.cluster.times("submit"), "a submission")
        await amend(world, run, fake(poll_interval_s=2.0))
        assert all(attempt.job_id for attempt in world.state(run).live.values())
        await amend(world, run, fake(poll_interval_s=3.0, max_jobs=5))
        await world.until_ended(run)
    assert world.status(run) is RunStatus.COMPLETED
    assert set(world.cluster.tasks_run().values()) == {1}
    world.check()


@pytest.mark.parametrize("behaviour", [Behaviour(reply_lost=True), Behaviour(never_arrives=True)])
async def test_a_submission_of_which_nobody_knows_is_looked_for_by_the_backend_as_it_is_then(
    world: World, behaviour: Behaviour
) -> None:
    world.campaign("w", flat(3))
    run = world.create("w", max_jobs=3)
    unclear = True
    world.cluster.behave = lambda _: behaviour if unclear else Behaviour()
    async with world.serving():
        await world.until(lambda: world.cluster.times("submit"), "a submission")
        world.cluster.outage = "down"
        await trio.sleep(100)
        assert troubles(read_reports(world.root)) != []
        await amend(world, run, fake(poll_interval_s=5.0))
        unclear = False
        await trio.sleep(10)
        world.cluster.outage = None
        await world.until_ended(run)
        assert troubles(read_reports(world.root)) == [], "a backend that is none any more still complains"
    assert world.status(run) is RunStatus.COMPLETED
    assert set(world.cluster.tasks_run().values()) == {1}
    world.check()


async def test_runs_that_are_not_amended_keep_their_backend(world: World) -> None:
    world.campaign("w", flat(10))
    run, other = world.create("w", max_jobs=3), world.create("w", max_jobs=3)
    world.cluster.behave = lambda _: Behaviour(duration_s=60)
    async with world.serving():
        await world.until(lambda: len(world.cluster.live()) == 3, "jobs")
        for interval_s in (2.0, 3.0, 1.0, 4.0):
            await amend(world, run, fake(poll_interval_s=interval_s))
            await trio.sleep(70)
        assert len(world.cluster.live()) <= 3
        await world.until_ended(run, other)
    assert {world.status(run), world.status(other)} == {RunStatus.COMPLETED}
    assert world.cluster.most_live <= 3
    world.check()


async def test_tasks_that_wait_go_to_a_further_backend_and_live_ones_stay(world: World) -> None:
    world.campaign("w", flat(10))
    run = world.create("w", max_jobs=2)
    world.cluster.behave = lambda _: Behaviour(duration_s=100)
    async with world.serving():
        await world.until(lambda: len(world.cluster.live()) == 2, "two jobs")
        further = {"type": "slurm", "max_jobs": 50, "poll_interval_s": 1.0, "grace_period_s": 0.0}
        await amend(world, run, {"default_backend": "big", "backends": {"big": further}})
        await world.until(lambda: len(world.cluster.live()) == 10, "all jobs", within_s=10)
        await world.until_ended(run)
    backends = [fact.backend for fact in world.facts(run, f.AttemptPrepared)]
    assert (backends.count("fake"), backends.count("big")) == (2, 8)
    world.check()


async def test_a_plan_that_is_being_made_is_made_anew_with_other_params_and_not_for_another_cap(
    world: World,
) -> None:
    world.campaign("w", flat(2), plan_s=100)
    run = world.create("w")
    async with world.serving():
        await world.until(lambda: world.planner.asked, "the question")
        await trio.sleep(50)
        await amend(world, run, {"max_hpc_jobs_per_run": 7})
        await trio.sleep(20)
        assert len(world.planner.asked) == 1
        await amend(world, run, {"params": {"n": 5}})
        await world.until(lambda: world.state(run).tasks, "the plan", within_s=110)
        assert world.planner.asked == [("w", "plan"), ("w", "plan")]
        await world.until_ended(run)
    world.check()


async def test_what_was_asked_for_while_nobody_served_the_run_holds_from_its_first_job_on(
    world: World,
) -> None:
    world.campaign("w", flat(6))
    run = world.create("w", max_jobs=6)
    world.cluster.behave = lambda _: Behaviour(duration_s=10)
    command = world.command(run, asked(world, run, fake(max_jobs=1)))
    await world.serve_until_done(run)
    assert await world.outcome(command) == {"ok": True}
    kinds = [type(fact) for fact in world.facts(run)]
    assert kinds.index(f.ConfigAmended) < kinds.index(f.AttemptPrepared)
    assert world.cluster.most_live == 1
    world.check()


async def test_of_two_amendments_at_once_one_is_carried_out_and_the_other_is_told_so(world: World) -> None:
    world.campaign("w", flat(6))
    run = world.create("w")
    world.cluster.behave = lambda _: Behaviour(duration_s=100)
    async with world.serving():
        await world.until(world.cluster.live, "a job")
        first = world.command(run, asked(world, run, {"priority": 2}))
        second = world.command(run, asked(world, run, {"priority": 3}))
        assert await world.outcome(first) == {"ok": True}
        told = await world.outcome(second)
        assert (told["ok"], told["code"]) == (False, "changed")
        assert "priority: 1 -> 2" in told["message"]
        assert world.state(run).priority == 2
    world.check()
