"""A real terminal in which a command runs as people run it: tmux, with a server of its own."""

from __future__ import annotations

import shlex
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import attrs

from tests.support.command import PATIENCE_S
from tests.support.polling import wait_until

_WRAPPER: Final = """
stty -g >{folder}/before
set -m
"$@"
code=$?
while [ $code = 148 ]; do
    echo "STOPPED: enter brings it back"
    read -r
    fg >{folder}/fg
    code=$?
done
echo "EXIT CODE $code"
stty -g >{folder}/after
cat
"""
"""As a shell does it: the command is a job of its own, which may be stopped and brought back."""


@attrs.frozen
class Window:
    """A terminal of a fixed size, and what runs in it."""

    folder: Path

    def _tmux(self, *arguments: str) -> str:
        done = subprocess.run(
            ["tmux", "-S", str(self.folder / "s"), "-f", "/dev/null", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
            timeout=PATIENCE_S,
        )
        return done.stdout

    def open(
        self, command: Sequence[str], environment: Mapping[str, str], cwd: Path, size: tuple[int, int]
    ) -> None:
        """Run a command in it."""
        script = _WRAPPER.format(folder=shlex.quote(str(self.folder)))
        line = shlex.join(["env", "-C", str(cwd), "bash", "-c", script, "bash", *command])
        settings = [word for name, value in environment.items() for word in ("-e", f"{name}={value}")]
        columns, rows = map(str, size)
        self._tmux("new-session", "-d", "-x", columns, "-y", rows, *settings, line)

    @property
    def text(self) -> str:
        """What is on it now, without colours."""
        return self._tmux("capture-pane", "-p")

    def press(self, *keys: str) -> None:
        """Press keys, by tmux's names of them."""
        self._tmux("send-keys", *keys)

    def resize(self, columns: int, rows: int) -> None:
        """Make it larger or smaller."""
        self._tmux("resize-window", "-x", str(columns), "-y", str(rows))

    def wait(self, seen: Callable[[str], bool], what: str) -> str:
        """Wait until it shows something; returns all that it shows then."""
        shown = ""

        def is_seen() -> bool:
            nonlocal shown
            shown = self.text
            return seen(shown)

        try:
            wait_until(is_seen, PATIENCE_S, what)
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{shown}") from None
        return shown

    def wait_for(self, *words: str) -> str:
        """Wait until all these words are on it."""
        return self.wait(lambda shown: all(word in shown for word in words), f"{words}")

    def wait_for_end(self) -> int:
        """Wait until the command has ended and the terminal is as it was before; returns the exit code."""
        shown = self.wait_for("EXIT CODE ")
        wait_until((self.folder / "after").exists, PATIENCE_S, "the terminal's settings")
        wait_until(
            lambda: (self.folder / "after").read_text() == (self.folder / "before").read_text(),
            PATIENCE_S,
            "the settings that the terminal had",
        )
        return int(shown.partition("EXIT CODE ")[2].split()[0])


@contextmanager
def window() -> Iterator[Window]:
    """A terminal in which nothing runs yet."""
    # Not below the test's own folder: the path of a socket must be short.
    with tempfile.TemporaryDirectory(prefix="ms-tmux-") as folder:
        opened = Window(Path(folder))
        try:
            yield opened
        finally:
            subprocess.run(
                ["tmux", "-S", str(opened.folder / "s"), "kill-server"],
                capture_output=True,
                check=False,
                timeout=PATIENCE_S,
            )
