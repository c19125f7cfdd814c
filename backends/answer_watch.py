"""Notice at once that something was put into a folder: inotify(7) on local disks."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Final

import attrs
import trio
from watchfiles import Change, awatch

from matterstack.storage.operator_files import ACKNOWLEDGEMENT, RESPONSE

logger: Final = logging.getLogger(__name__)

GATHER_MS: Final = 100
"""How long a sign of change may wait for others, and how often the watching thread wakes up."""
NO_TIMEOUT: Final = 0
RESTART_S: Final = 0.05
"""Questions that are asked together are watched together."""
TRY_AGAIN_S: Final = 60.0


@attrs.define
class AnswerWatch:
    """Watches folders; whoever waits is told of each change at least once.

    A folder in which a change is missed (because inotify has no watches left, or the file system is one of a
    network) is seen at the next poll: this only makes things faster.
    """

    is_on: bool = True
    _folders: frozenset[Path] = frozenset()
    _news: trio.Event = attrs.field(factory=trio.Event)
    _others: trio.Event = attrs.field(factory=trio.Event)

    def only(self, folders: Collection[Path]) -> None:
        """Watch these from now on, and no others."""
        if self.is_on and self._folders != folders:
            self._folders = frozenset(folders)
            self._others.set()

    def also(self, folder: Path) -> None:
        """Watch this folder as well, from now on."""
        self.only(self._folders | {folder})

    def stir(self) -> None:
        """Wake up whoever waits for a change."""
        self._news.set()

    async def wait_change(self) -> None:
        """Return when something has changed since the last call."""
        await self._news.wait()
        self._news = trio.Event()

    async def serve(self) -> None:
        """Watch all folders until cancelled."""
        while True:
            self._others, stop = trio.Event(), trio.Event()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch, self._folders, stop)
                try:
                    await self._others.wait()
                    await trio.sleep(RESTART_S)
                finally:
                    stop.set()  # the watching thread hears of nothing else
                    nursery.cancel_scope.cancel()

    async def _watch(self, folders: Iterable[Path], stop: trio.Event) -> None:
        there = [folder for folder in folders if folder.is_dir()]
        if not there:
            return
        while True:
            try:
                await self._tell_changes(there, stop)
            except OSError as error:
                logger.warning("answers are only looked for now and then: %s", error)
                await trio.sleep(TRY_AGAIN_S)

    async def _tell_changes(self, folders: Iterable[Path], stop: trio.Event) -> None:
        # What came before anybody watched is in no change.  This is called as soon as something else may run,
        # and by then the watching has begun.
        trio.lowlevel.current_trio_token().run_sync_soon(self.stir)
        # Not recursive: it would follow links that somebody put there, to anywhere.
        async for _ in awatch(
            *folders,
            watch_filter=_is_answer,
            debounce=GATHER_MS,
            step=GATHER_MS,
            rust_timeout=NO_TIMEOUT,
            stop_event=stop,
            recursive=False,
        ):
            self.stir()


def _is_answer(_change: Change, path: str) -> bool:
    return path.endswith((f"/{RESPONSE}", f"/{ACKNOWLEDGEMENT}"))
