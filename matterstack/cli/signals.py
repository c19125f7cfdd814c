"""Signals of a serving command: the first one stops in order, the second one at once."""

from __future__ import annotations

import logging
import math
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Final

import trio

logger: Final = logging.getLogger(__name__)

INTERRUPTED: Final = 130
STOP_WITHIN_S: Final = 9.0
"""How long an engine may take to stop in order."""


async def stop_on_signals(stop: Callable[[], None], *, within_s: float = math.inf) -> None:
    """Call ``stop`` on the first SIGINT or SIGTERM; on the second, or after ``within_s``, end the process.

    Ending it loses nothing: what was acknowledged is in the store, and jobs do not depend on this process.
    """
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _number in signals:
            break
        sys.stderr.write("\nstopping; jobs go on running (once more: stop at once)\n")
        stop()
        with trio.move_on_after(within_s):
            async for _number in signals:
                os._exit(INTERRUPTED)
        logger.error(
            "not stopped in order within %g s, so at once; what still went on:\n%s", within_s, _stacks()
        )
        os._exit(0)


def _stacks() -> str:
    """Where every task waits, for the log."""
    return "\n".join(
        f"{task.name}\n" + "".join(traceback.StackSummary.extract(task.iter_await_frames()).format())
        for task in _tasks()
    )


def _tasks() -> Iterator[trio.lowlevel.Task]:
    root = trio.lowlevel.current_root_task()
    found = [root] if root is not None else []
    while found:
        task = found.pop()
        yield task
        found.extend(child for nursery in task.child_nurseries for child in nursery.child_tasks)
