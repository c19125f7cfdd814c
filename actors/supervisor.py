"""Supervision, one for one: an actor that crashes is started again, alone, up to a limit."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import attrs
import trio

logger: Final = logging.getLogger(__name__)

GiveUp: TypeAlias = Callable[[Exception], Awaitable[None]]


@attrs.frozen(kw_only=True)
class RestartPolicy:
    """How often an actor may crash.

    Attributes:
        max_crashes: more than this many crashes within ``window_s`` seconds are too many; None: never.
        first_delay_s: wait before the first restart; doubled for each further crash of an actor that did
            not stay up for ``window_s`` seconds.
        max_delay_s: longest wait.
    """

    max_crashes: int | None = 3
    window_s: float = 60.0
    first_delay_s: float = 0.1
    max_delay_s: float = 60.0

    def delay_s(self, in_a_row: int) -> float:
        """How long to wait after the latest of so many crashes in a row."""
        return min(self.max_delay_s, self.first_delay_s * math.exp2(min(in_a_row, 64) - 1))


FOREVER: Final = RestartPolicy(max_crashes=None)


def root_cause(error: BaseException) -> BaseException:
    """The first error inside nested exception groups: the one to tell people about."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def supervise(
    name: str,
    start: Callable[[], Awaitable[None]],
    *,
    policy: RestartPolicy,
    fatal: tuple[type[Exception], ...] = (),
    give_up: GiveUp | None = None,
) -> None:
    """Run an actor until it returns; start it again when it crashes.

    Args:
        start: makes the actor from what is stored, and runs it.
        fatal: errors that are not the actor's own: they are raised on, and stop the whole engine.
        give_up: called with the last error once the policy's limit is passed.
    """
    crashes: list[float] = []
    in_a_row = 0
    while True:
        started = trio.current_time()
        try:
            await start()
        except Exception as error:
            cause = root_cause(error)
            if _contains(error, fatal):
                raise
            now = trio.current_time()
            crashes = [t for t in crashes if now - t < policy.window_s] + [now]
            logger.exception("%s crashed (%d in %g s): %s", name, len(crashes), policy.window_s, cause)
            if policy.max_crashes is not None and len(crashes) > policy.max_crashes:
                if give_up is not None:
                    await give_up(error)
                return
            in_a_row = 1 if now - started >= policy.window_s else in_a_row + 1
            await trio.sleep(policy.delay_s(in_a_row))
        else:
            return


def _contains(error: BaseException, kinds: tuple[type[Exception], ...]) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return any(_contains(inner, kinds) for inner in error.exceptions)
    return isinstance(error, kinds)
