"""What users and jobs wrote is shown, and controls nothing."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.text import Text

from matterstack.watch.text import clean, clock, fit, log_lines, rule, split, wrapped

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=80)
"""Half pairs, controls and marks of direction among it."""


@given(ANY_TEXT)
def test_no_text_can_control_a_terminal(text: str) -> None:
    for shown in (clean(text), *log_lines(text)):
        assert shown.isprintable(), shown
        assert not any(unicodedata.category(one) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for one in shown)
        shown.encode()


@pytest.mark.parametrize(
    ("printed", "lines"),
    [
        ("", []),
        ("one\ntwo", ["one", "two"]),
        ("one\r\ntwo\r\n", ["one", "two"]),
        ("\x1b[1;31mred\x1b[0m\x1b]0;title\x07 text\x1b]8;;http://x\x1b\\link\n", ["red textlink"]),
        ("\x1b[2J\x1b[Hcleared\x1b", ["cleared\\x1b"]),
        ("10 %\r50 %\r100 %\ndone\n", ["100 %", "done"]),
        ("a\tb\n", ["a       b"]),
        ("\x9b31mC1\n", ["\\x9b31mC1"]),
        ("\x1b]0;no end\nnext", ["", "next"]),
        ("[bold]no markup[/bold]\n", ["[bold]no markup[/bold]"]),
    ],
)
def test_output_is_read_as_it_was_meant_to_be_seen(printed: str, lines: list[str]) -> None:
    assert log_lines(printed) == lines


@given(ANY_TEXT, st.integers(0, 30), st.sampled_from(["left", "right"]))
def test_a_cell_has_its_width_whatever_is_in_it(text: str, width: int, align: str) -> None:
    assert fit(text, width, align=align).cell_len == width


def test_what_is_too_long_is_seen_to_be_cut() -> None:
    assert fit("relaxation", 6).plain == "relax…"
    assert fit("relax", 7, align="right").plain == "  relax"
    assert fit("名前名前", 5).plain == "名前…"


@given(ANY_TEXT, ANY_TEXT, st.integers(1, 60))
def test_a_line_with_two_ends_is_as_wide_as_the_terminal(left: str, right: str, width: int) -> None:
    assert split(Text(clean(left)), Text(clean(right)), width).cell_len == width


def test_the_right_end_of_a_line_stays_whole() -> None:
    assert split(Text("a long title"), Text("● live"), 14).plain == "a long… ● live"
    assert rule("EVENTS", 12).plain == "─ EVENTS ───"


@given(ANY_TEXT, st.integers(4, 40), st.sampled_from(["", "  "]))
def test_wrapped_lines_fit_and_lose_nothing(text: str, width: int, indent: str) -> None:
    lines = wrapped(text, width, indent)
    assert all(cell_len(line) <= width for line in lines)
    assert "".join("".join(lines).split()) == "".join(clean(text).split())


def test_lines_are_broken_between_words_and_keep_their_indent() -> None:
    assert wrapped("   a command that is long", 14, "     ") == ["   a command", "     that is", "     long"]
    assert wrapped("abcdefghij", 4) == ["abcd", "efgh", "ij"]


def test_times_are_those_of_the_reader() -> None:
    zone = timezone(timedelta(hours=9))
    now = datetime(2026, 1, 2, 20, 0, tzinfo=UTC)  # the third in Tokyo
    assert clock("2026-01-02T18:04:05.000000Z", zone, now) == "03:04:05"
    assert clock("2026-01-02T14:59:00.000000Z", zone, now) == "2026-01-02 23:59"
    assert clock(None, zone, now) == ""
