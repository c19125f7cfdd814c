"""The terminal itself: taken over, drawn on, read from, and always given back as it was."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import termios
import threading
import tty
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final, Self

import attrs
import trio
from rich.console import Console
from rich.text import Text

READ_BYTES: Final = 4096
DUMB: Final = frozenset({"", "dumb", "unknown"})
_TAKE: Final = "\x1b[?1049h\x1b[?25l\x1b[?7l"
"""Another screen than that of the shell, no cursor, and no new line where one is full."""
_GIVE_BACK: Final = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l"
_ALL_ANEW: Final = "\x1b[0m\x1b[2J"
_PLAIN: Final = str.maketrans("█▒░▸●○…·─↑↓→", "#=.>*o.-----")
"""What a terminal without Unicode is shown."""


def is_screen() -> bool:
    """Whether a person sits at a terminal that can be drawn on and typed into."""
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "") not in DUMB


@attrs.define
class Terminal:
    """A terminal, for as long as the block lasts."""

    keyboard: int = attrs.field(factory=sys.stdin.fileno)
    screen: int = attrs.field(factory=sys.stdout.fileno)
    encoding: str = attrs.field(factory=lambda: sys.stdout.encoding or "ascii")
    _before: list[Any] | None = None
    _shown: list[Text] = attrs.field(factory=list)
    _size: tuple[int, int] = (0, 0)
    _console: Console = attrs.field(factory=lambda: _console_of(80))

    def __enter__(self) -> Self:
        self._take()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._give_back()

    def _take(self) -> None:
        self._before = termios.tcgetattr(self.keyboard)
        self._shown = []
        try:
            tty.setcbreak(self.keyboard, termios.TCSADRAIN)
            mode = termios.tcgetattr(self.keyboard)
            # SIGQUIT would leave no time to give the terminal back.
            mode[6][termios.VQUIT] = b"\x00"
            termios.tcsetattr(self.keyboard, termios.TCSADRAIN, mode)
            _write(self.screen, self._bytes(_TAKE))
        except BaseException:
            self._give_back()
            raise

    def _give_back(self) -> None:
        if self._before is None:
            return
        # It may be gone by now, and then there is nothing to be given back.
        with contextlib.suppress(OSError):
            _write(self.screen, self._bytes(_GIVE_BACK))
        with contextlib.suppress(termios.error):
            termios.tcsetattr(self.keyboard, termios.TCSAFLUSH, self._before)
        self._before = None

    def suspend(self) -> None:
        """Give it back, and stop this process until it is brought to the foreground again.

        Where there is no shell that could do that, the system does not stop it.
        """
        self._give_back()
        handler = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        # To this thread, which goes on no further before it has taken effect.
        signal.pthread_kill(threading.get_ident(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, handler)
        self._take()

    # ---- drawing ----

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows, at this moment."""
        try:
            found = os.get_terminal_size(self.screen)
        except OSError:
            return 80, 24
        return max(1, found.columns), max(1, found.lines)

    async def show(self, rows: Sequence[Text], size: tuple[int, int]) -> None:
        """Draw what differs from what was drawn the last time.

        Raises:
            OSError: the terminal is gone.
        """
        text = ""
        if size != self._size or len(rows) != len(self._shown):
            self._size, self._shown, text = size, [], _ALL_ANEW
            self._console = _console_of(size[0])
        for number, row in enumerate(rows):
            if number >= len(self._shown) or self._shown[number] != row:
                text += f"\x1b[{number + 1};1H{self._ansi(row)}"
        self._shown = list(rows)
        if text:
            # A terminal may take its time, or none at all (Ctrl-S): only this waits for it.
            await trio.to_thread.run_sync(_write, self.screen, self._bytes(text), abandon_on_cancel=True)

    def _ansi(self, row: Text) -> str:
        with self._console.capture() as captured:
            self._console.print(row, end="", no_wrap=True, crop=False, soft_wrap=True)
        return captured.get()

    def _bytes(self, text: str) -> bytes:
        if not self.encoding.lower().replace("-", "").startswith("utf"):
            text = text.translate(_PLAIN)
        return text.encode(self.encoding, "replace")

    # ---- keys ----

    async def read(self) -> bytes:
        """What was typed; nothing when the terminal is gone."""
        await trio.lowlevel.wait_readable(self.keyboard)
        try:
            return os.read(self.keyboard, READ_BYTES)
        except OSError:
            return b""


def _console_of(width: int) -> Console:
    """What gives a row its colours, as far as this terminal has any (and NO_COLOR allows)."""
    return Console(
        file=io.StringIO(), force_terminal=True, width=width, highlight=False, markup=False, emoji=False
    )


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
