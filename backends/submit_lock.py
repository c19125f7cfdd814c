"""The submit lock: whoever looks for a job waits until no submission is under way any more.

Each submission holds it shared, through a descriptor that its child inherits: an sbatch that outlives a
killed engine still holds it.  A search takes it alone, so that it cannot look before an orphan is done.

Measured with Slurm 22.05, an sbatch that takes 300 ms longer, and an engine that was killed and started again
at once: without this lock 27 jobs for 15 attempts, 10 of which were submitted twice; with it 15 for 15.  A
locked descriptor that a child inherited stays locked until the child ends, however its parent ended.

A turnstile in front of it keeps new submissions out while a search waits: else several engines that
submit without a pause would keep it waiting for ever.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import attrs
import trio

from matterstack.core.errors import BackendError
from matterstack.storage.modes import open_shared

RETRY_GROWTH: Final = 1.25


@attrs.frozen
class SubmitLock:
    """A lock file of one backend of one root.

    Attributes:
        retry_s: how soon it is tried again; each time a little later, up to ``retry_most_s``.
    """

    path: Path
    wait_s: float = 90.0
    retry_s: float = 0.05
    retry_most_s: float = 1.0

    @contextmanager
    def shared(self) -> Iterator[int]:
        """Hold it for a submission; gives the descriptor for the child to inherit.

        Blocks only while a search is under way, so call it in a worker thread.

        Raises:
            BackendError: this file system does not let files be locked, or not be made.
        """
        with self._opened(self.path) as descriptor:
            with self._opened(self._turnstile) as turnstile:
                self._lock(turnstile, fcntl.LOCK_SH)
                self._lock(descriptor, fcntl.LOCK_SH)
            yield descriptor

    @asynccontextmanager
    async def shared_async(self) -> AsyncIterator[int]:
        """Take the lock like `shared`, without blocking the event loop.

        Raises:
            BackendError: also when a search was still under way after ``wait_s`` seconds.
        """
        with self._opened(self.path) as descriptor:
            with self._opened(self._turnstile) as turnstile:
                await self._lock_in_time((turnstile, descriptor), fcntl.LOCK_SH, "a search for jobs")
            yield descriptor

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Hold it for a search.

        Raises:
            BackendError: as `shared`, and when a submission (or another search) was still under way after
                ``wait_s`` seconds.
        """
        with self._opened(self._turnstile) as turnstile, self._opened(self.path) as descriptor:
            await self._lock_in_time((turnstile, descriptor), fcntl.LOCK_EX, "a submission")
            yield

    @property
    def _turnstile(self) -> Path:
        return self.path.with_name(f"{self.path.name}.turn")

    async def _lock_in_time(self, descriptors: tuple[int, ...], kind: int, other: str) -> None:
        with trio.move_on_after(self.wait_s) as waited:
            for descriptor in descriptors:
                pause_s = self.retry_s
                while not self._lock(descriptor, kind | fcntl.LOCK_NB):
                    await trio.sleep(pause_s)  # nobody tells of an unlock
                    pause_s = min(self.retry_most_s, pause_s * RETRY_GROWTH)
        if waited.cancelled_caught:
            raise BackendError(f"{self.path}: {other} has been under way for {self.wait_s:.0f} s")

    def _lock(self, descriptor: int, kind: int) -> bool:
        try:
            fcntl.flock(descriptor, kind)
        except BlockingIOError:
            return False
        except OSError as error:
            raise self._unusable(error) from error
        return True

    @contextmanager
    def _opened(self, path: Path) -> Iterator[int]:
        try:
            descriptor = open_shared(path)
        except OSError as error:
            raise self._unusable(error) from error
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _unusable(self, error: OSError) -> BackendError:
        return BackendError(
            f"{self.path} cannot be locked: {error.strerror or error}",
            hint="without this lock a job could be submitted twice; see to the file system of the root",
        )
