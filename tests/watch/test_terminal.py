"""The terminal is drawn on sparingly, and given back in every case."""

from __future__ import annotations

import os
import termios
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from rich.text import Text

from matterstack.watch.terminal import Terminal


@attrs.frozen
class Pair:
    """A terminal, and who sits at it."""

    far: int
    near: int

    @property
    def settings(self) -> list[Any]:
        return termios.tcgetattr(self.near)

    def seen(self) -> str:
        """All that was written since the last time."""
        return os.read(self.far, 1 << 16).decode("latin-1" if self.is_old else "utf-8")

    is_old: bool = False

    def terminal(self) -> Terminal:
        return Terminal(keyboard=self.near, screen=self.near, encoding="latin-1" if self.is_old else "utf-8")


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    far, near = os.openpty()
    yield Pair(far, near)
    os.close(far)
    os.close(near)


def test_a_crash_leaves_the_terminal_as_it_was(pair: Pair) -> None:
    before = pair.settings

    def crash() -> None:
        with pair.terminal():
            assert pair.settings[3] & (termios.ICANON | termios.ECHO) == 0
            assert pair.settings[3] & termios.ISIG
            assert "\x1b[?1049h" in pair.seen()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        crash()
    assert pair.settings == before
    assert pair.seen().endswith("\x1b[?7h\x1b[?25h\x1b[?1049l")


def test_a_terminal_that_is_gone_is_no_second_error(pair: Pair) -> None:
    hole = os.open(os.devnull, os.O_RDONLY)

    def crash() -> None:
        with pair.terminal() as terminal:
            terminal.screen = terminal.keyboard = hole
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        crash()
    os.close(hole)


async def test_only_what_has_changed_is_written(pair: Pair) -> None:
    with pair.terminal() as terminal:
        pair.seen()
        size = (10, 3)
        await terminal.show([Text("one"), Text("two"), Text("three")], size)
        assert pair.seen() == "\x1b[0m\x1b[2J\x1b[1;1Hone\x1b[2;1Htwo\x1b[3;1Hthree"
        await terminal.show([Text("one"), Text("2", style="red"), Text("three")], size)
        assert pair.seen() == "\x1b[2;1H\x1b[31m2\x1b[0m"
        await terminal.show([Text("one"), Text("2", style="red"), Text("three")], size)
        await terminal.show([Text("one"), Text("2")], (10, 2))
        assert pair.seen() == "\x1b[0m\x1b[2J\x1b[1;1Hone\x1b[2;1H2", (
            "of the one before there was nothing to write"
        )


async def test_colours_are_left_away_where_nobody_wants_them(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    with pair.terminal() as terminal:
        pair.seen()
        await terminal.show([Text("red", style="red")], (10, 1))
        assert "31m" not in pair.seen()


async def test_a_terminal_without_unicode_is_shown_what_it_has(pair: Pair) -> None:
    old = attrs.evolve(pair, is_old=True)
    with old.terminal() as terminal:
        old.seen()
        await terminal.show([Text("▸ ██▒▒░ ü 名")], (20, 1))
        assert old.seen().endswith("> ##==. ü ?")


async def test_what_is_typed_comes_as_it_is_typed(pair: Pair) -> None:
    with pair.terminal() as terminal:
        os.write(pair.far, b"j")
        assert await terminal.read() == b"j"
        os.write(pair.far, b"\x1b[A\r")
        assert await terminal.read() in {b"\x1b[A\r", b"\x1b[A\n"}


def test_a_terminal_has_a_size(pair: Pair) -> None:
    termios.tcsetwinsize(pair.near, (33, 77))
    assert pair.terminal().size == (77, 33)
    assert Terminal(keyboard=pair.near, screen=os.open(os.devnull, os.O_RDONLY)).size == (80, 24)
