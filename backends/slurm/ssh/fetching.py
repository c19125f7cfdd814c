"""What jobs left behind comes home in the background: a large output must keep no job from being seen."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeAlias

import attrs
import trio

from matterstack.core.errors import BackendError

PATIENCE_S: Final = 5.0
"""How long a poll waits for it."""
LOGS_EVERY_S: Final = 10.0
TRANSFERS_AT_ONCE: Final = 2
GIVE_UP_S: Final = 5.0
"""How long something may still come for which nobody waits: a run is being cancelled."""

Fetch: TypeAlias = Callable[[Sequence[Path]], Awaitable[None]]


@attrs.define(eq=False)
class _Transfer:
    """One copy of the things of several folders; ``error`` is None once all has come home."""

    error: BackendError | None = attrs.field(factory=lambda: BackendError("a copy was interrupted"))
    done: trio.Event = attrs.field(factory=trio.Event)
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)


@attrs.define
class OutputFetcher:
    """Decides when what is fetched.  Without `serve` all is fetched at once.

    What it remembers is lost in a crash without harm: what came home already is not copied again.
    """

    _fetch: Fetch
    _fetch_logs: Fetch
    _fetch_records: Fetch
    _background: trio.Nursery | None = None
    _coming: dict[Path, _Transfer] = attrs.field(factory=dict)
    _unwanted: set[Path] = attrs.field(factory=set)
    _deadlines: dict[Path, float] = attrs.field(factory=dict)
    _running: frozenset[Path] = frozenset()
    _watched: trio.Event = attrs.field(factory=trio.Event)
    _logs: trio.Lock = attrs.field(factory=trio.Lock)
    _at_once: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(TRANSFERS_AT_ONCE))

    async def serve(self) -> None:
        """Fetch until cancelled; logs of running jobs too, now and then."""
        try:
            async with trio.open_nursery() as self._background:
                await self._serve_logs()
        finally:
            self._background = None

    def watch(self, folders: Iterable[Path]) -> None:
        """These are the folders of running jobs; of no others are the logs fetched from now on."""
        self._running = frozenset(folders)
        if self._running:
            self._watched.set()

    def give_up(self, folders: Iterable[Path]) -> None:
        """Of these fetch no more than how their jobs ended, unless the rest comes in a moment."""
        self._unwanted.update(folders)

    async def pull(self, folders: Sequence[Path]) -> frozenset[Path]:
        """Fetch the things of jobs that have ended; returns the folders that have all of them now.

        Those of the others are on their way: ask again.

        Raises:
            BackendError: some cannot be fetched.
        """
        now = trio.current_time()
        for folder in self._unwanted.intersection(folders):
            self._deadlines.setdefault(folder, now + GIVE_UP_S)
        late = [folder for folder in folders if self._deadlines.get(folder, math.inf) <= now]
        if late:
            await self._settle_for_records(late)
        rest = [folder for folder in folders if folder not in late]
        return frozenset(late) | await self._pull(rest) if rest else frozenset(late)

    async def _settle_for_records(self, folders: Sequence[Path]) -> None:
        for folder in folders:
            if (transfer := self._coming.get(folder)) is not None:
                transfer.scope.cancel()
                await transfer.done.wait()
                # What was to come with it is asked for again.
                self._coming = {f: other for f, other in self._coming.items() if other is not transfer}
        await self._fetch_records(folders)
        self._forget(folders)

    def _forget(self, folders: Iterable[Path]) -> None:
        for folder in folders:
            self._unwanted.discard(folder)
            self._deadlines.pop(folder, None)

    async def _pull(self, folders: Sequence[Path]) -> frozenset[Path]:
        new = [folder for folder in folders if folder not in self._coming]
        if new:
            transfer = _Transfer()
            self._coming.update(dict.fromkeys(new, transfer))
            if self._background is not None:
                self._background.start_soon(self._carry_out, new, transfer)
            else:
                await self._carry_out(new, transfer)
        transfers = {self._coming[folder] for folder in folders}
        deadline = min((self._deadlines.get(folder, math.inf) for folder in folders), default=math.inf)
        patience_s = PATIENCE_S if self._background is not None else math.inf
        with trio.move_on_at(min(deadline, trio.current_time() + patience_s)):
            for transfer in transfers:
                await transfer.done.wait()
        ended = {folder: self._coming[folder] for folder in folders if self._coming[folder].done.is_set()}
        for folder in ended:
            del self._coming[folder]
        self._forget(ended)
        for transfer in ended.values():
            if transfer.error is not None:
                raise transfer.error
        return frozenset(ended)

    async def _carry_out(self, folders: Sequence[Path], transfer: _Transfer) -> None:
        try:
            with transfer.scope:
                await self._try_to(folders, transfer)
        finally:
            transfer.done.set()

    async def _try_to(self, folders: Sequence[Path], transfer: _Transfer) -> None:
        try:
            async with self._at_once:
                # An older copy of a log that arrived later would cut off what a newer one has added.
                async with self._logs:
                    self._running -= frozenset(folders)
                await self._fetch(folders)
            transfer.error = None
        except BackendError as error:
            transfer.error = error

    async def _serve_logs(self) -> None:
        while True:
            await self._watched.wait()
            self._watched = trio.Event()
            async with self._logs:
                if running := [folder for folder in self._running if folder not in self._coming]:
                    # That they do not come does no harm: the next poll says what is out.
                    with suppress(BackendError):
                        await self._fetch_logs(running)
            await trio.sleep(LOGS_EVERY_S)
