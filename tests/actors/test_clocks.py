"""A clock that is set back, or far ahead, changes nothing but what is written down."""

from __future__ import annotations

from datetime import datetime, timedelta

import attrs
import trio

from matterstack.core.states import RunStatus
from tests.support.engine import BEGINNING, World, flat
from tests.support.fake_backend import Behaviour


async def test_facts_of_a_run_never_go_back_in_time_when_the_clock_does(world: World) -> None:
    jumps = [timedelta(), timedelta(days=-3), timedelta(days=400), timedelta(days=-400)]

    def clock_that_jumps() -> datetime:
        now_s = trio.current_time()
        return BEGINNING + timedelta(seconds=now_s) + jumps[int(now_s) % len(jumps)]

    world.runtime = attrs.evolve(world.runtime, clock=clock_that_jumps)
    world.campaign("w", flat(20, retries=1))
    run = world.create("w", max_hpc_jobs_per_run=3)
    world.cluster.behave = lambda a: Behaviour(duration_s=1 + int(a.task_id[1:]) % 3)

    await world.serve_until_done(run)

    assert world.status(run) is RunStatus.COMPLETED
    times = [event.at for event in world.events()]
    assert times == sorted(times)
    assert len(set(times)) > 1
    assert trio.current_time() < 100, "nothing waited for the clock"
    world.check()
