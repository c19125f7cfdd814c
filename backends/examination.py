"""What an examination of a backend is made of: checks, and what they find."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import attrs
import trio

from matterstack.core.documents.config import BackendConfig

_T = TypeVar("_T")

COMMAND_S: Final = 10.0
"""How long one command may take: a controller that is busy answers within 5 s, or says that it does not."""
CHECK_S: Final = 45.0
"""How long one check may take, with all its commands."""
LEAST_FREE_BYTES: Final = 1 << 30


@attrs.frozen
class Finding:
    """One line of the examination.

    Attributes:
        check: what was looked at.
        ok: whether it works, or is not needed.
        detail: what was seen.
        action: what a person can do about it, in one line; empty when it is ok.
    """

    check: str
    ok: bool
    detail: str
    action: str = ""


@attrs.frozen
class Check:
    """A question that gives some findings.

    Attributes:
        action: what to do when there is no answer.
    """

    name: str
    ask: Callable[[], Awaitable[Sequence[Finding]]]
    action: str
    timeout_s: float = CHECK_S


@attrs.frozen(kw_only=True)
class Examined:
    """All backends of one kind that are to be looked at.

    Attributes:
        backends: by a name for people: that in ``config.json``, with the workspace where it has two meanings.
        needed: those of them that some workspace uses unless its tasks name another one.
        trial_folder: where a test job is to write, in a folder of the root; None: no job is to be submitted.
        trial_s: how long that job may take.
    """

    backends: Mapping[str, BackendConfig]
    needed: frozenset[str] = frozenset()
    trial_folder: Path | None = None
    trial_s: float = 120.0


async def in_thread(call: Callable[[], _T]) -> _T:
    """Look at files in a thread that is left behind when a file system does not answer."""
    return await trio.to_thread.run_sync(partial(call), abandon_on_cancel=True)


def size_text(count: float) -> str:
    """A number of bytes as people read it.

    >>> size_text(1536), size_text(3 << 30)
    ('2 KiB', '3 GiB')
    """
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
