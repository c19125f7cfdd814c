"""The submit lock: whoever looks for a job waits until no submission is under way any more.

Each submission holds it shared, through a descriptor that its child inherits: an sbatch that outlives a
killed engine still holds it.  A search takes it alone, so that it cannot look before an orphan is done.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import attrs
import trio

from matterstack.core.errors import BackendError


@attrs.frozen
class SubmitLock:
    """A lock file of one backend of one root."""

    path: Path
    wait_s: float = 90.0
    retry_s: float = 0.05

    @contextmanager
    def shared(self) -> Iterator[int]:
        """Hold it for a submission; gives the descriptor for the child to inherit.

        Blocks only while a search is under way, so call it in a worker thread.
        """
        descriptor = self._open()
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            yield descriptor
        finally:
            os.close(descriptor)

    @asynccontextmanager
    async def shared_async(self) -> AsyncIterator[int]:
        """Like `shared`, without blocking.

        Raises:
            BackendError: a search was still under way after ``wait_s`` seconds.
        """
        async with self._held(fcntl.LOCK_SH, "a search for jobs") as descriptor:
            yield descriptor

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Hold it for a search.

        Raises:
            BackendError: a submission was still under way after ``wait_s`` seconds.
        """
        async with self._held(fcntl.LOCK_EX, "a submission"):
            yield

    @asynccontextmanager
    async def _held(self, kind: int, other: str) -> AsyncIterator[int]:
        descriptor = self._open()
        try:
            with trio.move_on_after(self.wait_s) as waited:
                while not _try_lock(descriptor, kind):  # noqa: ASYNC110  the kernel announces no unlock
                    await trio.sleep(self.retry_s)
            if waited.cancelled_caught:
                raise BackendError(f"{self.path}: {other} has been under way for {self.wait_s:.0f} s")
            yield descriptor
        finally:
            os.close(descriptor)

    def _open(self) -> int:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
