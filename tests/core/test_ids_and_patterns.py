"""Ids that are safe as names, and patterns of file names."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from fnmatch import translate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matterstack.core.ids import (
    RUN_ID_PATTERN,
    SLUG_PATTERN,
    TASK_ID_PATTERN,
    RunId,
    TaskId,
    attempt_token,
    new_run_id,
    utc_moment,
    utc_text,
)
from matterstack.core.model.patterns import matches

MOMENTS = st.datetimes(datetime(1970, 1, 2), datetime(9999, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
RUN = RunId("20260101T000000-abcdef")


@given(MOMENTS, st.binary(min_size=4, max_size=8))
def test_a_run_id_has_the_form_of_one(now: datetime, entropy: bytes) -> None:
    assert RUN_ID_PATTERN.fullmatch(new_run_id(now, entropy))


@given(MOMENTS, MOMENTS)
def test_times_and_run_ids_sort_as_text_like_their_moments(one: datetime, other: datetime) -> None:
    assert (utc_text(one) < utc_text(other)) == (one < other)
    if one.replace(microsecond=0) < other.replace(microsecond=0):
        assert new_run_id(one, b"zzzz") < new_run_id(other, b"aaaa")


@given(MOMENTS)
def test_a_time_comes_back_from_its_text(moment: datetime) -> None:
    assert utc_moment(utc_text(moment)) == moment


def test_times_are_written_in_utc_wherever_they_were_taken() -> None:
    there = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=timezone(timedelta(hours=9)))
    assert utc_text(there) == "2026-01-01T18:04:05.000006Z"
    assert new_run_id(there, b"abcd").startswith("20260101T180405-")
    assert utc_moment("2026-01-01T18:04:05Z") == there.replace(microsecond=0)


def test_a_token_is_the_same_for_the_same_attempt_and_another_for_any_other() -> None:
    attempts = {
        (run, t, n) for run in (RUN, RunId(RUN[:-1] + "g")) for t in ("a", "a1", "a-1") for n in (1, 2, 11)
    }
    tokens = {attempt_token(run, TaskId(t), n) for run, t, n in attempts}
    assert len(tokens) == len(attempts)
    assert attempt_token(RUN, TaskId("a"), 1) == attempt_token(RUN, TaskId("a"), 1)
    assert all(re.fullmatch(r"ms-[a-z2-7]{20}", token) for token in tokens)


@pytest.mark.parametrize("name", ["a", "0", "relax-1.2_b", "x" * 100])
def test_plain_names_are_names_of_tasks_and_workspaces(name: str) -> None:
    assert TASK_ID_PATTERN.fullmatch(name)
    assert SLUG_PATTERN.fullmatch(name)


@pytest.mark.parametrize("name", ["", ".", "..", "-a", "_a", "a/b", "a b", "a\n", "ä", "x" * 101, "a\0"])
def test_names_that_could_mean_another_place_or_an_option_are_none(name: str) -> None:
    assert not TASK_ID_PATTERN.fullmatch(name)
    assert not SLUG_PATTERN.fullmatch(name)


# ---- patterns ----

PART = st.text("ab.", min_size=1, max_size=3)
PATTERN = st.one_of(PART, st.sampled_from(["*", "**", "**", "?", "a*", "*b", "[ab]", "[!a]*"]))


def reference(path: str, pattern: str) -> bool:
    """The same as one regular expression."""
    pieces = ["(?:[^/]+/)*" if piece == "**" else f"(?:{_piece(piece)})/" for piece in pattern.split("/")]
    return re.fullmatch("".join(pieces), path + "/") is not None


def _piece(piece: str) -> str:
    inner = translate(piece).removeprefix("(?s:").removesuffix(r")\Z")
    return inner.replace(".*", "[^/]*") if "*" in piece else "[^/]" if piece == "?" else inner


@given(st.lists(PART, min_size=1, max_size=6), st.lists(PATTERN, min_size=1, max_size=5))
def test_a_pattern_matches_what_its_regular_expression_matches(parts: list[str], pieces: list[str]) -> None:
    path, pattern = "/".join(parts), "/".join(pieces)
    assert matches(path, pattern) == reference(path, pattern)


@pytest.mark.parametrize(
    ("path", "pattern", "expected"),
    [
        ("a.json", "*.json", True),
        ("d/a.json", "*.json", False),
        ("d/a.json", "*/*.json", True),
        ("a.json", "**/*.json", True),
        ("d/e/a.json", "**/*.json", True),
        ("d/e/a.json", "d/**", True),
        ("d/e/a.json", "d/**/a.json", True),
        ("d/a.json", "d/**/a.json", True),
        ("x/a.json", "d/**", False),
        (".hidden", "*", True),
        ("A.json", "a.json", False),
        ("a[1].txt", "a[[]1].txt", True),
        ("a1.txt", "a[0-9].txt", True),
        ("abc", "a**c", True),
        ("a/b/c", "a**c", False),
    ],
)
def test_stars_stay_within_a_folder_and_double_stars_do_not(path: str, pattern: str, expected: bool) -> None:
    assert matches(path, pattern) is expected


def test_many_double_stars_take_no_time() -> None:
    """Trying every way to share 40 folders out over 20 stars would take longer than the universe has."""
    assert not matches("/".join(["a"] * 40), "/".join(["**"] * 20 + ["b"]))
    assert matches("/".join(["a"] * 40), "/".join(["**", "a"] * 20))
