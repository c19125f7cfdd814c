"""What the doctor finds, and how it asks: everything at once, and nothing for ever."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, TypeVar

import attrs
import trio

from matterstack.core.errors import MatterStackError

_T = TypeVar("_T")

COMMAND_S: Final = 10.0
"""How long one command may take: a controller that is busy answers within 5 s, or says that it does not."""
CHECK_S: Final = 45.0
"""How long one check may take, with all its commands."""


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


async def examine(checks: Sequence[Check]) -> list[Finding]:
    """Ask all checks at once; their findings in the order of the checks."""
    found: list[Sequence[Finding]] = [()] * len(checks)

    async def ask(place: int, check: Check) -> None:
        late = Finding(check.name, False, f"no answer within {check.timeout_s:g} s", check.action)
        found[place] = [late]
        with trio.move_on_after(check.timeout_s):
            try:
                found[place] = await check.ask()
            except (MatterStackError, OSError) as error:
                found[place] = [Finding(check.name, False, str(error), check.action)]

    async with trio.open_nursery() as nursery:
        for place, check in enumerate(checks):
            nursery.start_soon(ask, place, check)
    return [finding for findings in found for finding in findings]


async def in_thread(call: Callable[[], _T]) -> _T:
    """Look at files in a thread that is left behind when a file system does not answer."""
    return await trio.to_thread.run_sync(partial(call), abandon_on_cancel=True)
