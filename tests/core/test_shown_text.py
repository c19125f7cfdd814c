"""What anybody wrote is shown, and is no order to a terminal."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matterstack.core.shown_text import LogText, shown, shown_colours, shown_json, shown_lines

PARTS = ["\x1b[31m", "\x1b[0m", "\x1b[8m", "\x1b]52;c;x\x07", "\x1b[2J", "\x1b", "[", "31", "m", "\r", "\n"]
ANY_TEXT = st.lists(st.one_of(st.characters(exclude_categories=()), st.sampled_from(PARTS)), max_size=40).map(
    "".join
)
COLOUR = re.compile(r"\x1b\[[0-9;:]*m")
CONTROL = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}


def orders(text: str) -> list[str]:
    """What in a text is more than lines, tabs, spaces and characters."""
    return [one for one in text if unicodedata.category(one) in CONTROL and one not in "\n\t\u200c\u200d"]


def log_text(data: bytes, size: int = 1 << 20) -> str:
    """A log as it is shown when it comes in pieces of a size."""
    log = LogText()
    return "".join([*(log.take(data[at : at + size]) for at in range(0, len(data), size)), log.finish()])


@given(ANY_TEXT)
def test_nothing_that_is_shown_is_an_order(text: str) -> None:
    assert shown(text).isprintable()
    assert orders(shown_lines(text)) == []
    assert orders(COLOUR.sub("", shown_colours(text))) == []
    data = text.encode("utf-8", "surrogatepass")
    assert orders(COLOUR.sub("", log_text(data))) == []
    shown_colours(text).encode()


@given(ANY_TEXT)
def test_json_holds_the_same(text: str) -> None:
    document = shown_json(json.dumps({text: text}, ensure_ascii=False, indent=1))
    assert json.loads(document) == {text: text}
    assert orders(document) == []


@given(ANY_TEXT, st.integers(1, 7))
def test_a_log_is_shown_alike_however_it_comes(text: str, size: int) -> None:
    data = text.encode("utf-8", "surrogatepass")
    assert log_text(data, size) == log_text(data)


PLAIN = "Müller: 10\u202f°C ± 0.1, \u4f60\u597d, \u0645\u06cc\u200c\u062e\u0648, 👩\u200d🔬, e\u0301\n\tnext"


@pytest.mark.parametrize("show", [shown_lines, shown_colours, lambda text: log_text(text.encode())])
def test_what_is_plain_text_stays_as_it_is(show: Callable[[str], str]) -> None:
    assert show(PLAIN) == PLAIN


@pytest.mark.parametrize(
    ("printed", "seen"),
    [
        (b"\x1b[1;31mred\x1b[0m\n", "\x1b[1;31mred\x1b[0m\n"),
        (b"\x1b[01;31m\x1b[Kgcc\x1b[m\x1b[K\n", "\x1b[01;31mgcc\x1b[m\n"),
        (b"\x1b[38;5;208mx\x1b[48;2;1;2;3my\x1b[4:3mz", None),
        (b"never ended \x1b[32mgreen", "never ended \x1b[32mgreen\x1b[0m"),
        (b"hidden \x1b[8msecret", "hidden \\x1b[8msecret"),
        (b"hidden \x1b[1;8msecret", "hidden \\x1b[1;8msecret"),
        (b"keys \x1b[>4;2m", "keys \\x1b[>4;2m"),
        (b"10 %\r50 %\r100 %\r\ndone\r\n", "10 %\n50 %\n100 %\ndone\n"),
        (b"\x1b]52;c;cm0gLXJm\x07", "\\x1b]52;c;cm0gLXJm\\x07"),
        (b"\x1b]8;;http://evil\x1b\\click\x1b]8;;\x1b\\", "\\x1b]8;;http://evil\\x1b\\click\\x1b]8;;\\x1b\\"),
        (b"\xc2\x9b2J \x9b2J", "\\x9b2J \\x9b2J"),
        ("user\u202etxt.exe".encode(), "user\\u202etxt.exe"),
        (b"\x08\x08\x08OK\x7f\x00", "\\x08\\x08\\x08OK\\x7f\\x00"),
        (b"half \xe2\x82", "half \\xe2\\x82"),
        (b"lone \x1b", "lone \\x1b"),
    ],
)
def test_a_log_has_colours_at_most(printed: bytes, seen: str | None) -> None:
    assert log_text(printed) == (seen if seen is not None else printed.decode() + "\x1b[0m")
