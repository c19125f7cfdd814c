"""The last words of a failed job: short, valid, harmless, and without any secret."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matterstack.core.last_words import MOST_BYTES, MOST_REASON, closing, last_lines, said
from matterstack.core.secret_words import Search

NONE = Search()
SECRET = b"hush-hush-hush-0123456789"
ONE = Search(values={"TOKEN": frozenset({SECRET})})


def whole(raw: bytes, search: Search = NONE) -> str:
    return last_lines(raw, search, is_whole=True)


@given(st.binary(max_size=3 * MOST_BYTES), st.booleans())
def test_whatever_was_printed_it_is_short_valid_and_harmless(raw: bytes, is_whole: bool) -> None:
    words = last_lines(raw, NONE, is_whole=is_whole)
    assert len(words.encode()) <= MOST_BYTES
    assert words.replace("\n", "").replace("\t", "").replace("\u200c", "").replace("\u200d", "").isprintable()


def test_long_words_begin_where_a_line_begins() -> None:
    lines = [f"step {n} energy -1.234567 eV" for n in range(1000)]
    words = whole("\n".join(lines).encode())
    kept = words.split("\n")
    assert kept == lines[-len(kept) :]
    assert MOST_BYTES - 40 < len(words.encode()) <= MOST_BYTES


def test_of_one_line_without_end_its_end_is_kept_and_said_to_be_cut() -> None:
    words = whole("é".encode() * MOST_BYTES + b" END")
    assert words.startswith("…")
    assert words.endswith("é END")
    assert len(words.encode()) <= MOST_BYTES


def test_colours_and_what_was_written_over_are_left_out() -> None:
    raw = b"\x1b[31mError\x1b[0m\x1b[K: no licence\r\n 10 %\r 20 %\r 30 %\r\n\n\n"
    assert whole(raw) == "Error: no licence\n 30 %"
    assert whole(b"a\x1b]52;c;ZXZpbA==\x07\xe9\0") == "a\\x1b]52;c;ZXZpbA==\\x07\\xe9\\x00"


def test_the_first_line_of_what_is_not_whole_may_have_been_cut_and_is_left_out() -> None:
    assert last_lines(b"alf a line\nwhole\n", NONE, is_whole=False) == "whole"
    assert last_lines(b"one line", NONE, is_whole=False) == "one line"


@pytest.mark.parametrize("left", range(8, 40))
def test_what_a_cut_left_of_a_secret_is_left_out(left: int) -> None:
    """At the beginning of what was read, nobody can tell it from other words."""
    value = b"short lines 1\nshort lines 2\nshort lines 3\n"
    search = Search(values={"KEY": frozenset({value})})
    words = last_lines(
        value[-left:] + b"it went on for quite a while\n" * 9 + b"after that\nEND\n", search, is_whole=False
    )
    assert "short" not in words
    assert words.endswith("END")


def test_a_secret_at_the_border_of_what_is_kept_is_found_before_anything_is_cut() -> None:
    for shift in range(-len(SECRET), len(SECRET)):
        tail = b"x" * (MOST_BYTES + shift)
        words = whole(b"word " * 100 + SECRET + tail, ONE)
        assert not any(SECRET[i:].decode() + "x" in words for i in range(len(SECRET) - 4))


def test_what_was_said_fits_into_one_line_of_a_reason() -> None:
    assert said(b"  Lmod has detected:\n\n  unknown: nothing/1.0\n", NONE) == (
        "Lmod has detected: unknown: nothing/1.0"
    )
    long = said(b"first words " + b"x" * 1000 + b"\nlast line\n", NONE)
    assert long.startswith("first words x")
    assert long.endswith("… last line")
    assert len(said(b"y" * 5000, NONE)) < MOST_REASON + 10
    assert said(b"", NONE) == said(b" \n\n", NONE) == ""
    assert said(SECRET + b"\n", ONE) == "[secret TOKEN]"


def test_a_face_shows_the_last_of_them() -> None:
    assert closing("a\nb\nc", 2) == ["b", "c"]
    assert closing("", 2) == []
