"""Messages that come when those whom they are about have gone."""

from __future__ import annotations

import trio
from trio.testing import wait_all_tasks_blocked

from matterstack.actors import protocol as p
from matterstack.actors.mailbox import Mailbox
from matterstack.actors.services import BackendHandle
from matterstack.actors.supervisor import RestartPolicy
from matterstack.core.ids import BackendName, RunId
from matterstack.core.states import RunStatus
from matterstack.engine import Engine
from tests.support.engine import World, flat
from tests.support.fake_backend import Behaviour

NO_CRASH = RestartPolicy(max_crashes=0)


async def test_seats_are_not_kept_for_a_run_whose_leaving_overtook_its_coming(
    world: World,
) -> None:
    world.campaign("w", flat(4))
    world.cluster.behave = lambda _: Behaviour(duration_s=60)
    async with world.serving() as engine:
        first = world.create("w", max_jobs=2)
        await world.until_status(first, RunStatus.COMPLETED)
        handle = _handle_of(engine)
        # What a run had told a backend whose actor was being started again, when it ended meanwhile.
        gone, mailbox = (
            RunId("20260101T000000-gonego"),
            Mailbox[p.RunMessage]("run gone"),
        )
        handle.mailbox.tell(p.Attend(gone, mailbox, weight=1, cap=2, jobs=[], unresolved=[]))
        handle.mailbox.tell(p.Want(gone, ready=2, room=2))
        handle.leave(gone)
        second = world.create("w", max_jobs=2)
        await world.until(lambda: len(handle.mailbox) == 0, "the backend to have read all of it")
        mailbox.close()

        await world.until_status(second, RunStatus.COMPLETED, within_s=3600)

    assert world.cluster.most_live == 2, "no seat is lost"
    world.check()


async def test_seats_that_a_run_was_given_before_its_actor_was_started_again_do_no_harm(
    world: World,
) -> None:
    world.campaign("w", flat(2))
    world.cluster.behave = lambda _: Behaviour(duration_s=60)
    async with world.serving(NO_CRASH) as engine:
        run = world.create("w")
        await world.until(lambda: len(world.cluster.live()) == 2, "jobs")
        # It used this backend before, when it had other tasks; the one that it has now knows nothing of it.
        engine._served[run].mailbox.tell(p.SeatsGranted(BackendName("elsewhere"), 1))

        await world.until_ended(run, within_s=3600)

    assert world.status(run) is RunStatus.COMPLETED, world.state(run).status_reason
    world.check()


async def test_what_is_taken_back_leaves_the_rest_in_its_order_and_makes_room() -> None:
    mailbox = Mailbox[int]("it", capacity=4)
    for number in range(4):
        mailbox.tell(number)
    mailbox.tell(1, control=True)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(mailbox.put, 4)
        await wait_all_tasks_blocked()
        mailbox.take_back(lambda number: number % 2 == 1)

    assert mailbox.drain() == [1, 0, 2, 4], "control messages are not taken back"


def _handle_of(engine: Engine) -> BackendHandle:
    (handle,) = engine._handles.values()
    return handle
