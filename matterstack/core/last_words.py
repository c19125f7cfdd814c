"""The last lines that a failed job printed, short enough to stand in a fact, and harmless to show."""

from __future__ import annotations

import re
from typing import Final

from matterstack.core.secret_words import Search
from matterstack.core.shown_text import shown_uncoloured

MOST_BYTES: Final = 4096
"""Of last words, as UTF-8."""
MOST_REASON: Final = 400
"""Characters of them in the reason of a failure."""
_CUT_OFF: Final = "…"
_OF_THE_SCRIPT: Final = re.compile(r"^.*/(?:job\.sh|slurm_script): line \d+: ")
"""What bash puts in front of its own complaints: lines of a script that nobody wrote."""


def last_lines(raw: bytes, search: Search, *, is_whole: bool) -> str:
    r"""The last lines of a log, at most `MOST_BYTES` of them, cut where a line begins.

    Secrets are looked for in all that was read, before anything is cut; of what came before, nobody knows
    where one began, so that as many characters are left out as the longest has.

    Args:
        raw: the end of the log; more of it than is kept, by what the longest secret takes.
        is_whole: it is all of the log.

    >>> print(last_lines(b"10 %\r20 %\r\nno licence\x1b[0m\x07\n\n", Search(), is_whole=True))
    20 %
    no licence\x07
    """
    text = search.scrubbed(raw.decode("utf-8", "surrogateescape"))
    if not is_whole:
        text = text[search.longest :]
        text = text.partition("\n")[2] or text
    # What was written over, as bars of progress are, nobody would have seen.
    lines = [line.rstrip("\r").rpartition("\r")[2].rstrip() for line in text.split("\n")]
    return _end_of(shown_uncoloured("\n".join(lines)).strip("\n"))


def said(raw: bytes, search: Search) -> str:
    """What was said from a place in a log on, in one line that fits into a reason.

    Of a long one its beginning and its last line.
    """
    text = search.scrubbed(raw.decode("utf-8", "surrogateescape"))
    lines = [_OF_THE_SCRIPT.sub("", line) for line in shown_uncoloured(text).splitlines()]
    lines = [" ".join(line.split()) for line in lines]
    lines = [line for line in lines if line]
    whole = " ".join(lines)
    if len(whole) <= MOST_REASON:
        return whole
    half = MOST_REASON // 2
    end = lines[-1] if len(lines[-1]) <= half else _CUT_OFF + lines[-1][-half:]
    return f"{whole[:half]}{_CUT_OFF} {end}"


def closing(words: str, most_lines: int) -> list[str]:
    """The last lines of last words, for a face that has room for so many."""
    return words.splitlines()[-most_lines:] if words else []


def _end_of(text: str) -> str:
    data = text.encode()
    if len(data) <= MOST_BYTES:
        return text
    end = data[-MOST_BYTES:]
    if not data[: len(data) - MOST_BYTES].endswith(b"\n"):
        before, found, after = end.partition(b"\n")
        end = after if found and after.strip() else _CUT_OFF.encode() + before[len(_CUT_OFF.encode()) :]
    return end.decode("utf-8", "ignore").strip("\n")
