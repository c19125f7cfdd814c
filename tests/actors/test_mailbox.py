"""Mailboxes: bounded, in order, control first, and nobody waits for ever for an actor that has ended."""

from __future__ import annotations

import pytest
import trio
from trio.testing import Sequencer, wait_all_tasks_blocked

from matterstack.actors.mailbox import CAPACITY, Mailbox, Reply
from matterstack.core.errors import ActorEndedError, MailboxFullError


async def test_messages_come_out_in_the_order_in_which_they_went_in() -> None:
    mailbox: Mailbox[int] = Mailbox("a")
    for number in range(10):
        mailbox.tell(number)

    assert [await mailbox.receive() for _ in range(10)] == list(range(10))


async def test_a_full_mailbox_refuses_and_keeps_what_it_has() -> None:
    mailbox: Mailbox[int] = Mailbox("run 7")
    for number in range(CAPACITY):
        mailbox.tell(number)

    with pytest.raises(MailboxFullError, match="run 7 is full \\(64 messages"):
        mailbox.tell(-1)

    assert mailbox.drain() == list(range(CAPACITY))


async def test_control_messages_are_taken_out_before_all_others_and_in_their_own_order() -> None:
    mailbox: Mailbox[str] = Mailbox("a")
    mailbox.tell("work 1")
    mailbox.tell("pause", control=True)
    mailbox.tell("work 2")
    mailbox.tell("resume", control=True)

    taken = [await mailbox.receive(), *mailbox.drain()]

    assert taken == ["pause", "resume", "work 1", "work 2"]


async def test_there_is_room_for_control_messages_when_there_is_none_for_others() -> None:
    mailbox: Mailbox[str] = Mailbox("a", capacity=1)
    mailbox.tell("work")

    mailbox.tell("stop", control=True)

    assert await mailbox.receive() == "stop"
    with pytest.raises(MailboxFullError):
        mailbox.tell("more work")


async def test_receive_waits_for_the_next_message() -> None:
    mailbox: Mailbox[str] = Mailbox("a")
    received: list[str] = []

    async def receive() -> None:
        received.append(await mailbox.receive())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        assert received == []
        mailbox.tell("hello")
    assert received == ["hello"]


async def test_a_receive_that_is_cancelled_takes_nothing_out() -> None:
    mailbox: Mailbox[str] = Mailbox("a")
    mailbox.tell("hello")
    with trio.CancelScope() as scope:
        scope.cancel()
        await mailbox.receive()

    assert scope.cancelled_caught
    assert await mailbox.receive() == "hello"


async def test_drain_takes_at_most_what_is_asked_for_and_never_waits() -> None:
    mailbox: Mailbox[int] = Mailbox("a")
    assert mailbox.drain() == []
    for number in range(5):
        mailbox.tell(number)

    assert mailbox.drain(2) == [0, 1]
    assert len(mailbox) == 3
    assert mailbox.drain() == [2, 3, 4]


async def test_put_waits_for_room_and_keeps_the_order_of_its_sender() -> None:
    mailbox: Mailbox[int] = Mailbox("a", capacity=2)
    received: list[int] = []

    async def send() -> None:
        for number in range(20):
            await mailbox.put(number)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        await wait_all_tasks_blocked()
        assert len(mailbox) == 2
        while len(received) < 20:
            received.append(await mailbox.receive())
            assert len(mailbox) <= 2
    assert received == list(range(20))


async def test_many_that_wait_for_room_all_get_it() -> None:
    mailbox: Mailbox[tuple[int, int]] = Mailbox("a", capacity=3)

    async def send(sender: int) -> None:
        for number in range(5):
            await mailbox.put((sender, number))

    async with trio.open_nursery() as nursery:
        for sender in range(10):
            nursery.start_soon(send, sender)
        received = [await mailbox.receive() for _ in range(50)]
    for sender in range(10):
        assert [number for s, number in received if s == sender] == list(range(5))


async def test_an_answer_reaches_the_one_who_asked() -> None:
    mailbox: Mailbox[tuple[int, Reply[int]]] = Mailbox("doubler")

    async def double() -> None:
        while True:
            number, reply = await mailbox.receive()
            reply.send(2 * number)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(double)
        assert await mailbox.ask(lambda reply: (21, reply)) == 42
        assert await mailbox.ask(lambda reply: (4, reply)) == 8
        nursery.cancel_scope.cancel()


async def test_an_error_given_as_the_answer_is_raised_where_it_was_asked() -> None:
    mailbox: Mailbox[Reply[int]] = Mailbox("a")

    async def refuse() -> None:
        (await mailbox.receive()).fail(ValueError("no"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(refuse)
        with pytest.raises(ValueError, match="no"):
            await mailbox.ask(lambda reply: reply)


@pytest.mark.parametrize("is_taken_out", [True, False])
async def test_who_asked_an_actor_that_ends_is_told(is_taken_out: bool) -> None:
    mailbox: Mailbox[Reply[int]] = Mailbox("run 7")

    async def end() -> None:
        await wait_all_tasks_blocked()
        if is_taken_out:
            await mailbox.receive()
        mailbox.close()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(end)
        with pytest.raises(ActorEndedError, match="run 7 ended before it answered"):
            await mailbox.ask(lambda reply: reply)


async def test_who_waits_for_room_is_told_when_the_actor_ends() -> None:
    mailbox: Mailbox[int] = Mailbox("run 7", capacity=1)
    mailbox.tell(1)

    async def end() -> None:
        await wait_all_tasks_blocked()
        mailbox.close()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(end)
        with pytest.raises(ActorEndedError, match="run 7 has ended"):
            await mailbox.put(2)


async def test_an_actor_that_has_ended_can_be_told_and_asked_nothing() -> None:
    mailbox: Mailbox[Reply[int]] = Mailbox("run 7")
    mailbox.close()

    with pytest.raises(ActorEndedError):
        mailbox.tell(Reply())
    with pytest.raises(ActorEndedError):
        await mailbox.ask(lambda reply: reply)
    assert len(mailbox) == 0


async def test_an_answer_that_was_given_before_the_end_counts() -> None:
    mailbox: Mailbox[Reply[str]] = Mailbox("a")
    answers: list[str] = []

    async def ask() -> None:
        answers.append(await mailbox.ask(lambda reply: reply))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        reply = await mailbox.receive()
        reply.send("done")
        mailbox.close()
    assert answers == ["done"]


async def test_an_ask_that_is_cancelled_leaves_nothing_behind(autojump_clock: trio.testing.MockClock) -> None:
    mailbox: Mailbox[Reply[int]] = Mailbox("a")
    with trio.move_on_after(5) as waited:
        await mailbox.ask(lambda reply: reply)

    assert waited.cancelled_caught
    assert autojump_clock.current_time() == 5
    assert not mailbox._asked
    (await mailbox.receive()).send(1)  # nobody is there to take it, and that harms nobody
    mailbox.close()


async def test_an_ask_that_is_cancelled_while_it_waits_for_room_was_never_sent() -> None:
    mailbox: Mailbox[Reply[int] | None] = Mailbox("a", capacity=1)
    mailbox.tell(None)
    sequencer = Sequencer()
    with trio.CancelScope() as scope:

        async def ask() -> None:
            async with sequencer(0):
                pass
            await mailbox.ask(lambda reply: reply)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            async with sequencer(1):
                await wait_all_tasks_blocked()
            scope.cancel()
    assert mailbox.drain() == [None]
    assert not mailbox._asked
