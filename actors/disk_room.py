"""A full disk is waited out: nothing new is begun meanwhile, and nothing is lost."""

from __future__ import annotations

import errno
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import trio

from matterstack.core.errors import DiskFullError

logger: Final = logging.getLogger(__name__)

LOOK_AGAIN_S: Final = 5.0

_T = TypeVar("_T")


async def wait_for_room(what: str, write: Callable[[], Awaitable[_T]]) -> _T:
    """Write; when the disk is full, say so once and try again until there is room.

    Args:
        what: what is not done meanwhile, for people.
        write: may be repeated after it failed.
    """
    is_waiting = False
    while True:
        try:
            result = await write()
        except (DiskFullError, OSError) as error:
            if isinstance(error, OSError) and error.errno not in {errno.ENOSPC, errno.EDQUOT}:
                raise
            if not is_waiting:
                logger.warning("%s waits until there is room: %s", what, error)
            is_waiting = True
            await trio.sleep(LOOK_AGAIN_S)
        else:
            if is_waiting:
                logger.warning("%s goes on: there is room again", what)
            return result
