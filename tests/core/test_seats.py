"""Fair shares, polling intervals, retry rules."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matterstack.core.ids import RunId, TaskId
from matterstack.core.polling import LONGEST_BACKOFF_S, SLOWEST, next_interval_s
from matterstack.core.run.retry_rules import failure_kind, may_retry
from matterstack.core.run.seats import Turns, Want
from matterstack.core.states import FailureKind, JobState
from tests.support.states import ToldRun, task

A, B, C = (RunId(name) for name in "abc")


def one_by_one(turns: Turns, seats: int, wants: dict[RunId, Want]) -> str:
    """Who gets seats that become free one after the other, while all go on wanting."""
    return "".join(run for _ in range(seats) for run in turns.allot(1, wants))


def test_equal_runs_take_turns() -> None:
    assert one_by_one(Turns(), 6, {A: Want(9, 1), B: Want(9, 1), C: Want(9, 1)}) == "abcabc"


def test_seats_go_by_weight() -> None:
    given_ = Counter(one_by_one(Turns(), 60, {A: Want(99, 1), B: Want(99, 2), C: Want(99, 3)}))
    assert given_ == {A: 10, B: 20, C: 30}


def test_many_seats_at_once_are_shared_like_one_by_one() -> None:
    wants = {A: Want(99, 1), B: Want(99, 2)}
    assert Turns().allot(30, wants) == Counter(one_by_one(Turns(), 30, wants))


def test_nobody_gets_more_than_it_wants_and_the_rest_goes_to_others() -> None:
    assert Turns().allot(10, {A: Want(2, 1), B: Want(99, 1), C: Want(0, 9)}) == {A: 2, B: 8}
    assert Turns().allot(10, {A: Want(2, 1)}) == {A: 2}
    assert Turns().allot(0, {A: Want(2, 1)}) == {}
    assert Turns().allot(5, {}) == {}


def test_a_newcomer_neither_catches_up_on_the_past_nor_waits() -> None:
    turns = Turns()
    turns.allot(1000, {A: Want(1000, 1)})
    assert Counter(one_by_one(turns, 10, {A: Want(9, 1), B: Want(9, 1)})) == {A: 5, B: 5}


def test_a_run_that_wanted_nothing_when_another_came_in_is_not_put_off_for_its_past() -> None:
    turns = Turns()
    turns.allot(1000, {A: Want(1000, 1)})
    turns.allot(1, {B: Want(1, 1)})  # A has all seats that it may have, and wants none at this moment
    assert Counter(one_by_one(turns, 10, {A: Want(9, 1), B: Want(9, 1)})) == {A: 5, B: 5}


def test_a_run_that_comes_back_does_not_catch_up_on_what_it_did_not_want() -> None:
    turns = Turns()
    turns.allot(2, {A: Want(1, 1), B: Want(1, 1)})
    turns.allot(1000, {B: Want(1000, 1)})
    assert one_by_one(turns, 10, {A: Want(9, 1), B: Want(9, 1)}) in {"aababababa", "ababababab"}


def test_a_run_that_has_gone_leaves_nothing_behind() -> None:
    turns = Turns()
    turns.allot(10, {A: Want(9, 1), B: Want(9, 1)})
    turns.forget(A)
    turns.forget(C)
    assert A not in turns._turns


@given(
    st.dictionaries(st.sampled_from([A, B, C, RunId("d")]), st.integers(1, 5), min_size=2),
    st.lists(st.tuples(st.integers(0, 5), st.sets(st.sampled_from([A, B, C, RunId("d")]))), max_size=40),
)
def test_after_any_past_those_who_wait_get_their_weights_share(
    weights: dict[RunId, int], past: list[tuple[int, set[RunId]]]
) -> None:
    turns = Turns()
    for free, waiting in past:
        turns.allot(free, {run: Want(3, weight) for run, weight in weights.items() if run in waiting})
    rounds = 20
    shares = turns.allot(rounds * sum(weights.values()), {run: Want(9999, w) for run, w in weights.items()})
    for run, weight in weights.items():
        assert abs(shares[run] - rounds * weight) <= weight + max(weights.values()) + 1


# ---- polling ----


def test_the_interval_grows_while_nothing_changes_and_is_bounded() -> None:
    intervals = [next_interval_s(10, unchanged, 0) for unchanged in range(100)]
    assert intervals[:3] == [10, 10, 10]
    assert intervals == sorted(intervals)
    assert max(intervals) == intervals[-1] == 10 * SLOWEST


def test_the_interval_doubles_with_each_failure_and_is_bounded() -> None:
    assert [next_interval_s(10, 7, failures) for failures in (1, 2, 3, 4, 5, 10**6)] == [
        20,
        40,
        80,
        120,
        120,
        120,
    ]


def test_a_configured_interval_longer_than_the_longest_backoff_is_kept() -> None:
    assert next_interval_s(3 * LONGEST_BACKOFF_S, 0, 9) == 3 * LONGEST_BACKOFF_S


@given(st.floats(0.001, 1e6), st.integers(0, 10**9), st.integers(0, 10**9))
def test_an_interval_is_never_shorter_than_the_configured_one(
    base_s: float, unchanged: int, failures: int
) -> None:
    assert (
        base_s
        <= next_interval_s(base_s, unchanged, failures)
        <= max(base_s * SLOWEST, LONGEST_BACKOFF_S, base_s)
    )


# ---- retry rules ----


@pytest.mark.parametrize(
    ("state", "raw", "kind"),
    [
        (JobState.LOST, "NODE_FAIL", FailureKind.LOST),
        (JobState.COMPLETED_ERROR, "NODE_FAIL", FailureKind.NODE_FAIL),
        (JobState.COMPLETED_ERROR, "SOMETHING_NEW", FailureKind.ERROR),
    ],
)
def test_a_failure_is_named_by_its_state_then_by_the_raw_word(
    state: JobState, raw: str, kind: FailureKind
) -> None:
    assert failure_kind(state, raw) is kind


@pytest.mark.parametrize(
    ("retries", "tries", "allowed"), [(0, 1, False), (1, 1, True), (1, 2, False), (3, 3, True)]
)
def test_tries_are_counted_from_the_first(retries: int, tries: int, allowed: bool) -> None:
    run = ToldRun.running(task("a", retries=retries, retry_on=["lost"]))
    one = run.state.tasks[TaskId("a")]
    one.tries = tries
    assert may_retry(run.state, one, FailureKind.LOST) is allowed
    assert may_retry(run.state, one, FailureKind.TIMEOUT) is False
