"""The last words of failed tasks, as commands print them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from matterstack.core.last_words import closing
from matterstack.core.shown_text import shown, shown_lines

if TYPE_CHECKING:
    from matterstack.storage.read.failures import Failures

MOST_LINES: Final = 8


def quoted_words(words: str, indent: str = "") -> Iterator[str]:
    """The last lines of last words, each with a bar in front; nothing for none."""
    for line in closing(words, MOST_LINES):
        yield f"{indent}| {shown_lines(line)}"


def failure_lines(failures: Failures) -> Iterator[str]:
    """Which tasks failed, why, and what they said last: those that failed alike only once."""
    for alike in failures.kinds:
        more = f" and {alike.count - 1} more" if alike.count > 1 else ""
        yield f"FAILED {shown(alike.task_id)}{more}: {shown(alike.reason)}"
        yield from quoted_words(alike.last_words, "  ")
    if failures.left_out:
        yield f"FAILED {failures.left_out} more in other ways (matterstack run explain {failures.run_id})"


def said_in_cell(words: str, lines: int = 2) -> str:
    """The very last of them, for a cell of a table."""
    return "\n".join(closing(words, lines))
