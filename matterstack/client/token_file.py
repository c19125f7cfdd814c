"""A token that comes in a file or on standard input: every user of a machine sees the words of commands."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from matterstack.core.errors import UsageError

MOST_BYTES: Final = 4096
STANDARD_INPUT: Final = "-"


def read_token(file: str | Path) -> str:
    """The token in a file: its first line; ``-``: that of standard input.  Blocking.

    Raises:
        UsageError: it cannot be read, or is empty.
    """
    try:
        if str(file) == STANDARD_INPUT:
            text = sys.stdin.readline(MOST_BYTES)
        else:
            with Path(file).open(encoding="utf-8") as opened:
                text = opened.readline(MOST_BYTES)
    except (OSError, ValueError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or "it is no text"
        raise UsageError(f"{file}: the token cannot be read: {reason}") from None
    if not text.strip():
        raise UsageError(
            f"{file}: there is no token in it", hint="`matterstack monitor` names the file that has it"
        )
    return text.strip()


def given_token(token: str | None, token_file: str | Path | None) -> str:
    """The token of whoever gives it in one of two ways.  Blocking.

    Raises:
        UsageError: it was given in both, or in none; or cannot be read.
    """
    if (token is None) == (token_file is None):
        raise UsageError("give the token, or token_file: one of them")
    return read_token(token_file) if token is None and token_file is not None else token or ""
