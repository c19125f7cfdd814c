"""Signals of a serving command: the first one stops in order, the second one at once."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Final

import trio

INTERRUPTED: Final = 130


async def stop_on_signals(stop: Callable[[], None]) -> None:
    """Call ``stop`` on the first SIGINT or SIGTERM; on the second, end the process.

    Ending it loses nothing: what was acknowledged is in the store, and jobs do not depend on this process.
    """
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        first = True
        async for _number in signals:
            if not first:
                os._exit(INTERRUPTED)
            first = False
            sys.stderr.write("\nstopping; jobs go on running (once more: stop at once)\n")
            stop()
