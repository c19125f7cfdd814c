"""The one place where a job finds its secrets: a file beside its attempt that it reads once and removes.

It is made when the job is about to be submitted, for its owner alone, and is gone when the job has begun;
where a job never begins, its backend removes the file.  A job that a scheduler has requeued finds it gone,
and asks for it: by a file in its claim, which its backend sees.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from matterstack.core.model.workflow_check import SECRETS_FILE, SECRETS_PART
from matterstack.storage.confine import Confined, ConfinementError, confined

ASKED_FOR: Final = "claim/wants_secrets"
"""A job that has found no secrets makes this file, and waits."""
AWAITED_S: Final = 600
"""How long it waits; then it fails, since nobody may be there who could give them."""


def secrets_text(values: Mapping[str, bytes]) -> bytes:
    """What the shell of a job reads; any byte but NUL comes through, in sh(1) and in bash(1).

    >>> secrets_text({"A": b"it's"})
    b"export A='it'\\\\''s'\\n"
    """
    quote = b"'\\''"
    return b"".join(
        b"export %s='%s'\n" % (name.encode(), value.replace(b"'", quote)) for name, value in values.items()
    )


def give_secrets(folder: Path, text: bytes) -> None:
    """Put the file into the folder of an attempt, whole.  Blocking.

    Raises:
        OSError: it cannot be written; nothing is left of it.
    """
    with confined(folder) as inside:
        try:
            inside.write(SECRETS_PART, text, mode=0o600)
            _remove(inside, SECRETS_FILE)
            inside.rename(SECRETS_PART, SECRETS_FILE)
        except OSError:
            _remove(inside, SECRETS_PART)
            raise
        _remove(inside, ASKED_FOR)


def take_secrets_away(folder: Path) -> None:
    """Remove the file of a job that does not need it any more, where there is one.  Blocking."""
    with suppress(FileNotFoundError, ConfinementError), confined(folder) as inside:
        for name in (SECRETS_FILE, SECRETS_PART, ASKED_FOR):
            _remove(inside, name)


def asks_for_secrets(folder: Path) -> bool:
    """Whether a job waits for its secrets.  Blocking."""
    try:
        with confined(folder) as inside:
            return inside.exists(ASKED_FOR)
    except OSError:
        return False


def _remove(folder: Confined, name: str) -> None:
    with suppress(FileNotFoundError, ConfinementError):
        folder.remove(name)
