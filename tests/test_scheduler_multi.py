"""Many runs under one engine: a broken, hanging or full one is a matter of its own.

That they share fairly is in `tests.test_fairness`.
"""

from __future__ import annotations

from collections.abc import Sequence

import trio

from matterstack.actors.supervisor import RestartPolicy
from matterstack.backends.base import PreparedAttempt
from matterstack.core.run import facts as f
from matterstack.core.run.messages import Cancel, Pause
from matterstack.core.states import RunStatus
from tests.support.engine import World, flat, on_virtual_clock
from tests.support.fake_backend import Behaviour


def bugs(count: int) -> list[Exception]:
    """Errors that no code expects."""
    return [RuntimeError(f"bug {i}") for i in range(count)]


@on_virtual_clock
async def test_a_run_whose_plan_raises_fails_with_that_message_and_the_other_completes(world: World) -> None:
    world.campaign("broken", fault="campaign.py, line 7 in plan: ZeroDivisionError: division by zero")
    world.campaign("good", flat(5))
    broken, good = world.create("broken"), world.create("good")

    await world.serve_until_done()

    assert world.status(broken) is RunStatus.FAILED
    assert world.state(broken).status_reason.endswith("line 7 in plan: ZeroDivisionError: division by zero")
    assert world.status(good) is RunStatus.COMPLETED
    world.check()


@on_virtual_clock
async def test_a_run_whose_plan_hangs_does_not_delay_the_others(world: World) -> None:
    world.campaign("hangs", flat(1), plan_s=1e6)
    world.campaign("good", flat(5))
    hangs, good = world.create("hangs"), world.create("good")
    async with world.serving():
        await world.until_status(good, RunStatus.COMPLETED, within_s=10)
        assert (world.status(hangs), world.state(hangs).iteration) == (RunStatus.RUNNING, 0), "it hangs still"
    world.check()


@on_virtual_clock
async def test_a_run_actor_that_crashes_three_times_recovers(world: World) -> None:
    campaign = world.campaign("w", flat(3), crashes=bugs(3))
    run = world.create("w")

    await world.serve_until_done()

    assert campaign.crashes == []
    assert world.status(run) is RunStatus.COMPLETED
    world.check()


@on_virtual_clock
async def test_more_than_three_crashes_in_a_minute_fail_that_run_only_and_end_its_jobs(world: World) -> None:
    world.campaign("broken", flat(8))
    world.campaign("good", flat(10, "g"), flat(10, "h"))
    broken = world.create("broken", max_hpc_jobs_per_run=3)
    good = [world.create("good") for _ in range(3)]
    world.cluster.behave = lambda a: Behaviour(duration_s=3 if a.task_id == "t0000" else 20)
    # Its fourth task, prepared when the first one has ended, cannot be prepared without a crash.
    world.cluster.faults["script of t0003"] = bugs(4)
    async with world.serving():
        await world.until(lambda: len(world.facts(broken, f.JobAccepted)) == 3, "the jobs of the broken run")
        await world.until_ended(broken, *good, within_s=400)

    state = world.state(broken)
    assert state.status is RunStatus.FAILED
    assert "crashed more than 3 times in 60 s" in state.status_reason
    assert "RuntimeError: bug 3" in state.status_reason
    assert state.status_reason.endswith("(traceback in the log of the program that served it)")
    assert not any(job.run_id == broken for job in world.cluster.live())
    assert any(job.is_cancelled for job in world.cluster.jobs if job.run_id == broken)
    assert [world.status(run) for run in good] == [RunStatus.COMPLETED] * 3
    assert not any(job.is_cancelled for job in world.cluster.jobs if job.run_id != broken)
    world.check()


@on_virtual_clock
async def test_crashes_in_four_minutes_do_not_add_up(world: World) -> None:
    campaign = world.campaign("w", *[flat(1, f"i{i}") for i in range(8)])
    run = world.create("w")
    world.cluster.behave = lambda _: Behaviour(duration_s=30)
    async with world.serving():
        for bug in bugs(8):
            campaign.crashes.append(bug)
            await world.until(lambda: not campaign.crashes, "a crash")
            await trio.sleep(5)
        await world.until_ended(run)
    assert world.status(run) is RunStatus.COMPLETED
    assert set(world.cluster.tasks_run().values()) == {1}
    world.check()


@on_virtual_clock
async def test_a_run_that_crashes_while_its_outputs_are_collected_ends_failed_all_the_same(
    world: World,
) -> None:
    async def broken_files(name: str, arguments: Sequence[object]) -> None:
        if name == "_collect_each" and "broken" in str(arguments):
            raise RuntimeError("a bug in collecting")

    world.before_files(broken_files)
    world.campaign("broken", flat(2))
    world.campaign("good", flat(5))
    broken, good = world.create("broken"), world.create("good")
    async with world.serving():
        await world.until_status(good, RunStatus.COMPLETED, within_s=60)
        await world.until_status(broken, RunStatus.FAILED, within_s=300)
    assert "a bug in collecting" in world.state(broken).status_reason
    world.check()


@on_virtual_clock
async def test_a_run_with_a_lower_cap_in_its_config_does_not_slow_the_others_down(world: World) -> None:
    def behave(attempt: PreparedAttempt) -> Behaviour:
        return Behaviour(duration_s=1000 if attempt.task_id == "t0000" else 0.5)

    world.campaign("modest", flat(10))
    world.campaign("w", flat(60))
    world.create("modest", max_jobs=2)
    world.cluster.behave = behave
    async with world.serving():
        await world.until(world.cluster.jobs.__len__, "a job")
        other = world.create("w", max_jobs=6, backend={"poll_interval_s": 1.0})
        await trio.sleep(30)
        assert sum(job.run_id == other for job in world.cluster.jobs) >= 50
    world.check()


@on_virtual_clock
async def test_a_run_whose_mailbox_of_commands_is_full_does_not_hold_the_commands_of_others_up(
    world: World,
) -> None:
    world.campaign("broken", flat(1), crashes=bugs(1))
    world.campaign("good", flat(200))
    broken = world.create("broken")
    good = world.create("good", max_hpc_jobs_per_run=2)
    async with world.serving(RestartPolicy(first_delay_s=1000, max_delay_s=1000)):
        await world.until(lambda: not world.planner.campaigns["broken"].crashes, "a crash")
        world.command(broken, Pause(by="eva"))
        await trio.sleep(60)  # its actor is not there to take the command in
        before = trio.current_time()
        await world.pause(good)
        assert trio.current_time() - before <= 0.5
    world.check()


@on_virtual_clock
async def test_a_run_that_ends_while_the_backend_is_away_takes_no_seat_with_it(world: World) -> None:
    world.campaign("doomed", flat(20))
    world.campaign("good", flat(12))
    doomed = [world.create("doomed", max_jobs=4, max_hpc_jobs_per_run=50) for _ in range(12)]
    world.cluster.behave = lambda a: Behaviour(duration_s=1000 if a.run_id == anchor else 1)
    world.campaign("anchor", flat(1))
    anchor = world.create("anchor", max_jobs=4)
    async with world.serving():
        await world.until(lambda: world.facts(anchor, f.JobAccepted), "a job that is polled")
        world.cluster.faults["poll"] = bugs(8)
        await world.until(lambda: not world.cluster.faults["poll"], "a long wait for the restart")
        for run in doomed:
            world.command(run, Cancel(by="eva"))
        await world.until_ended(*doomed, within_s=300)
        good = world.create("good", max_jobs=4)
        await world.until(lambda: len(world.facts(good, f.JobAccepted)) > 0, "a seat", within_s=100)
        await world.until_ended(good, within_s=100)
    assert world.cluster.most_live == 4
    world.check()
