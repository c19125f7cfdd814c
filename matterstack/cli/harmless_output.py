"""Standard output and error of a command: what it prints controls no terminal, wherever the text is from."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

import attrs

from matterstack.core.shown_text import shown_colours, shown_lines


@attrs.define(eq=False)
class _Harmless:
    """A text stream that is given only what can be shown; in all else, it is the one below."""

    below: TextIO
    _shown: Callable[[str], str]

    def write(self, text: str) -> int:
        self.below.write(self._shown(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  whatever a stream has
        return getattr(self.below, name)


@contextmanager
def harmless_output() -> Iterator[None]:
    """Print through such streams until the block is left.

    What a command draws itself (colours of a table, bars) has a stream of its own: `coloured` and `bare`.
    """
    out, err = sys.stdout, sys.stderr
    sys.stdout = cast("TextIO", _Harmless(out, shown_lines))
    sys.stderr = cast("TextIO", _Harmless(err, shown_lines))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = out, err


def coloured(stream: TextIO) -> TextIO:
    """For a table that has colours of its own: these pass, and nothing else."""
    return cast("TextIO", _Harmless(bare(stream), shown_colours))


def bare(stream: TextIO) -> TextIO:
    """For what moves on the terminal: whatever it is given must have been made fit to be shown before."""
    return stream.below if isinstance(stream, _Harmless) else stream
