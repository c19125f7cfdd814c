"""Seats: the mirror of live attempts that an engine shares out from."""

from __future__ import annotations

from matterstack.actors.seats import Seats
from matterstack.core.ids import RunId, Token

A, B = RunId("a"), RunId("b")


def seats_of(cap: int) -> Seats:
    """Free seats, attended by one run."""
    seats = Seats()
    seats.attend(A, cap)
    return seats


async def test_a_seat_is_taken_until_its_attempt_has_ended_whoever_leaves() -> None:
    seats = seats_of(3)
    seats.restore(Token("t1"))
    seats.leave(A)
    seats.attend(A, 3)
    assert seats.free == 2
    seats.give_back(Token("t1"))
    assert seats.free == 3


async def test_a_promise_keeps_seats_and_goes_when_its_run_leaves() -> None:
    seats = seats_of(4)
    seats.promise(A, 3)
    assert seats.free == 1
    seats.unpromise(A, 2)
    assert seats.free == 3
    seats.leave(A)
    assert seats.free == 4


async def test_giving_back_more_than_was_kept_gives_back_what_was_kept() -> None:
    seats = seats_of(4)
    seats.promise(A, 2)
    seats.unpromise(A, 10)
    assert seats.free == 4


async def test_attempts_above_a_lowered_cap_keep_their_seats_and_none_is_free() -> None:
    seats = seats_of(1)
    for number in range(3):
        seats.restore(Token(f"t{number}"))
    assert seats.free == 0
    seats.give_back(Token("t0"))
    seats.give_back(Token("t1"))
    assert seats.free == 0
    seats.give_back(Token("t2"))
    assert seats.free == 1


async def test_taking_or_giving_back_a_seat_twice_is_once() -> None:
    seats = seats_of(2)
    seats.restore(Token("t"))
    seats.restore(Token("t"))
    assert seats.free == 1
    seats.give_back(Token("t"))
    seats.give_back(Token("t"))
    assert seats.free == 2


async def test_the_largest_cap_of_the_runs_counts() -> None:
    seats = seats_of(2)
    seats.attend(B, 5)
    assert seats.free == 5
