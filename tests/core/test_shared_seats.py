"""Seats that engines share: what each is due, and that nobody waits for a seat that nobody takes."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from matterstack.core.ids import RunId
from matterstack.core.run.seats import Claim, Turn, room_of, shares

NOW = Turn(since="50", until="60")


def claim(run: str, sharer: str, live: int = 0, wanted: int = 100, **options: Any) -> Claim:
    """A claim of a run that has waited since the beginning."""
    usual = {"weight": 1, "served_at": "0", **options}
    return Claim(run=RunId(run), live=live, wanted=wanted, sharer=sharer, **usual)


def test_runs_of_one_sharer_leave_nothing_to_each_other() -> None:
    own = [claim(f"r{number}", "me", live=number == 0) for number in range(8)]
    assert room_of("me", 4, 1, own).seats == 3
    assert room_of("me", 4, 1, own).kept == 0


def test_sharers_get_seats_by_the_weights_of_their_runs() -> None:
    claims = [claim("a1", "a"), claim("a2", "a", weight=2), claim("b", "b")]
    due = shares(8, claims)
    assert (due["a"].seats, due["b"].seats) == (6, 2)


def test_many_runs_and_few_seats_come_to_whole_seats_for_each_sharer() -> None:
    # By run each would be due half a seat, and who has waited longest would change with every job.
    claims = [claim(f"{sharer}{n}", sharer, served_at=str(n)) for sharer in "ab" for n in range(4)]
    due = shares(4, claims)
    assert {sharer: (share.seats, share.whole) for sharer, share in due.items()} == {"a": (2, 2), "b": (2, 2)}


def test_whoever_has_more_than_its_share_keeps_nobody_else_from_theirs() -> None:
    claims = [claim("a", "a", live=3), claim("b", "b"), claim("c", "c")]
    rooms = {sharer: room_of(sharer, 4, 3, claims).seats for sharer in "abc"}
    assert rooms == {"a": -1, "b": 1, "c": 1}


def test_seats_that_others_cannot_use_are_not_left_to_them() -> None:
    claims = [claim("a", "a", live=2), claim("b", "b", live=1, wanted=1)]
    room = room_of("a", 8, 3, claims)
    assert (room.seats, room.kept) == (4, 1)


def test_seats_of_those_that_do_not_wait_are_nobodys_share() -> None:
    claims = [claim("a", "a"), claim("b", "b")]
    assert room_of("a", 8, 4, claims).seats == 2, "four are taken by others, two of the rest are for b"


def test_the_odd_seat_stays_with_one_sharer_for_the_length_of_a_turn_and_then_goes_to_the_other() -> None:
    mine, other = claim("a", "a", served_at="55", turn_at="55"), claim("b", "b", served_at="1")
    assert room_of("a", 1, 0, [mine, other], NOW).seats == 1
    assert room_of("b", 1, 0, [mine, other], NOW).seats == 0
    later = Turn(since="56", until="66")
    assert room_of("a", 1, 0, [mine, other], later).seats == 0
    assert room_of("b", 1, 0, [mine, other], later).seats == 1


def test_a_new_claim_has_no_turn_yet() -> None:
    new, old = claim("a", "a", served_at="59"), claim("b", "b", served_at="1")
    assert room_of("a", 1, 0, [new, old], NOW).seats == 0


claims_of_some = st.lists(
    st.builds(
        Claim,
        run=st.integers(0, 10**9).map(lambda n: RunId(f"r{n}")),
        live=st.integers(0, 4),
        wanted=st.integers(0, 9),
        weight=st.integers(1, 5),
        served_at=st.sampled_from(["10", "51", "55"]),
        sharer=st.sampled_from("abcd"),
        turn_at=st.sampled_from(["", "10", "51", "55"]),
    ),
    min_size=1,
    unique_by=lambda c: c.run,
)


@given(claims_of_some, st.integers(0, 20), st.integers(0, 5))
def test_a_free_seat_that_somebody_wants_may_be_taken_by_somebody(
    claims: list[Claim], cap: int, beside: int
) -> None:
    live = beside + sum(c.live for c in claims)
    free = cap - live
    wanted = {c.group: sum(o.wanted for o in claims if o.group == c.group) for c in claims}
    rooms = {group: room_of(group, cap, live, claims, NOW) for group in wanted}
    assert all(room.seats <= max(free, 0) or room.seats <= free for room in rooms.values())
    takers = [group for group, room in rooms.items() if min(room.seats, wanted[group]) >= 1]
    assert bool(takers) == (free > 0 and any(wanted.values()))


@given(claims_of_some, st.integers(0, 40))
def test_shares_are_all_the_seats_or_all_that_is_wanted(claims: list[Claim], seats: int) -> None:
    due = shares(seats, claims, NOW)
    usable = {c.group: sum(o.live + o.wanted for o in claims if o.group == c.group) for c in claims}
    assert sum(share.seats for share in due.values()) == min(seats, sum(usable.values()))
    assert all(0 <= share.seats - share.whole <= 1 for share in due.values())
    assert all(due[group].seats <= usable[group] for group in usable)
