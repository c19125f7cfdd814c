"""What users and jobs wrote, as text that a terminal shows and never obeys."""

from __future__ import annotations

import re
import unicodedata
from datetime import datetime, tzinfo
from typing import Final

from rich.cells import cell_len
from rich.text import Text

from matterstack.core.ids import utc_moment
from matterstack.core.shown_text import shown

_SEQUENCE: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\r\n]*(?:\x07|\x1b\\)?|[@-Z\\^_])")
"""Colours and movements as jobs print them: ECMA-48, section 5.4, and the titles that xterm takes."""


def clean(value: object) -> str:
    r"""One line in which nothing controls a terminal.

    >>> print(clean("a\x1b[2J\nb\u202e"))
    a\x1b[2J b\u202e
    """
    text = str(value)
    if text.isprintable():
        return text
    return shown("".join(" " if _is_space(character) else character for character in text))


def _is_space(character: str) -> bool:
    return character in "\t\n\v\f\r" or unicodedata.category(character) == "Zs"


def log_lines(text: str) -> list[str]:
    """What a job printed, as lines: without colours, and of a line that was written over, what it says now.

    >>> log_lines("\\x1b[31mred\\x1b[0m\\n10%\\r100%\\n")
    ['red', '100%']
    """
    lines = _SEQUENCE.sub("", text).replace("\r\n", "\n").split("\n")
    if lines[-1] == "":
        lines.pop()
    return [clean(_last_version(line).expandtabs(8)) for line in lines]


def _last_version(line: str) -> str:
    return line.rstrip("\r").rpartition("\r")[2]


def fit(value: object, width: int, style: str = "", *, align: str = "left") -> Text:
    """A cell of exactly so many columns; what is too long is cut."""
    text = Text(clean(value) if width > 0 else "", style=style, end="", no_wrap=True)
    if align == "right":
        text.truncate(width, overflow="ellipsis")
        return Text(" " * (width - text.cell_len), end="").append_text(text)
    text.truncate(width, overflow="ellipsis", pad=True)
    return text


def rule(title: str, width: int, style: str = "") -> Text:
    """A line from one side to the other, with a title in it."""
    return fit(f"─ {clean(title)} {'─' * width}"[:width] if title else "─" * width, width, style)


def split(left: Text, right: Text, width: int) -> Text:
    """A line with something at each end; the right one stays whole for as long as there is room at all."""
    right = right.copy()
    right.truncate(width, overflow="ellipsis")
    room = max(0, width - right.cell_len - 1)
    line = left.copy() if room else Text(end="", no_wrap=True)
    line.truncate(room, overflow="ellipsis", pad=True)
    line.append(" " * (width - right.cell_len - room))
    return line.append_text(right)


def wrapped(text: str, width: int, indent: str = "") -> list[str]:
    """Lines of at most so many columns, broken between words where that is possible."""
    lines: list[str] = []
    words = clean(text).lstrip(" ")
    line = " " * (len(text) - len(words))
    for word in words.split(" "):
        longer = f"{line} {word}" if line.strip() else f"{line}{word}"
        if cell_len(longer) <= width:
            line = longer
            continue
        if line.strip():
            lines.append(line)
        line = indent + word
        while cell_len(line) > width:
            cut = len(indent) + 1
            while cut < len(line) and cell_len(line[: cut + 1]) <= width:
                cut += 1
            lines.append(line[:cut])
            line = indent + line[cut:]
    return [*lines, line] if line.strip() or not lines else lines


def clock(at: str | None, zone: tzinfo | None, now: datetime) -> str:
    """A time of day where the reader is (None: as this machine has it); with its date if it is not today."""
    if not at:
        return ""
    moment, today = utc_moment(at).astimezone(zone), now.astimezone(zone).date()
    return f"{moment:%H:%M:%S}" if moment.date() == today else f"{moment:%Y-%m-%d %H:%M}"
