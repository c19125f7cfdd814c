"""Bytes of a terminal become keys."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matterstack.watch.keys import decode_keys

KEYS = {
    b"\x1b[A": "up", b"\x1bOA": "up", b"\x1b[1;5A": "up", b"\x1b[B": "down", b"\x1b[H": "home",
    b"\x1b[1~": "home", b"\x1b[F": "end", b"\x1b[4~": "end", b"\x1b[5~": "page up", b"\x1b[6;2~": "page down",
    b"\x1b[Z": "back tab", b"\t": "tab", b"\r": "enter", b"\n": "enter", b"\x7f": "backspace",
    b"\x08": "backspace", b"q": "q", "ü".encode(): "ü",
}  # fmt: skip


@pytest.mark.parametrize(("data", "key"), KEYS.items())
def test_keys_are_known_however_a_terminal_sends_them(data: bytes, key: str) -> None:
    assert decode_keys(data, is_all=False) == ([key], b"")


@given(st.lists(st.sampled_from([data for data in KEYS if data.isascii()]), max_size=6), st.data())
def test_it_does_not_matter_where_what_was_typed_is_cut(typed: list[bytes], data: st.DataObject) -> None:
    everything = b"".join(typed)
    cut = data.draw(st.integers(0, len(everything)))
    first, rest = decode_keys(everything[:cut], is_all=False)
    second, left = decode_keys(rest + everything[cut:], is_all=False)
    assert [*first, *second] == [KEYS[one] for one in typed]
    assert left == b""


def test_an_escape_alone_is_a_key_as_soon_as_nothing_follows() -> None:
    assert decode_keys(b"\x1b", is_all=False) == ([], b"\x1b")
    assert decode_keys(b"\x1b", is_all=True) == (["escape"], b"")
    assert decode_keys(b"\x1b\x1b[A", is_all=False) == (["escape", "up"], b"")


@given(st.binary(max_size=40))
def test_no_bytes_at_all_do_harm(data: bytes) -> None:
    keys, rest = decode_keys(data, is_all=True)
    assert rest == b""
    assert all(keys)


def test_keys_that_nobody_knows_are_no_letters() -> None:
    assert decode_keys(b"\x1b[99~\x1b[38;5;1m", is_all=True) == ([], b"")
