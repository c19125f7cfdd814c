"""Open an engine inside a trio program."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import attrs
import trio

from matterstack import engine as core
from matterstack.actors.nurseries import open_plain_nursery, plain_errors
from matterstack.core.errors import NotFoundError, UsageError
from matterstack.embed.calls import Calls, TrioCalls
from matterstack.embed.handles import Engine, require_seq
from matterstack.embed.hook import Hook, OnEvent, require_hook
from matterstack.embed.service import Service
from matterstack.storage.layout import Root, is_folder
from matterstack.storage.read.changes import Pace, StoreWatcher
from matterstack.storage.read.reader import open_reader

LOOK_ANYWAY_S: Final = 0.5
"""How soon a run that was attached is taken up."""
PACE: Final = Pace(interval_s=0.04, quiet_s=0.04)
"""How soon a host hears of an event."""


@attrs.frozen
class Parts:
    """What an engine's handle is made of."""

    service: Service
    calls: Calls


@asynccontextmanager
async def open_engine(
    root: str | Path,
    *,
    on_event: OnEvent | None = None,
    after: int | None = None,
) -> AsyncIterator[Engine]:
    """Open an engine on a root, for the trio program that this is called in; stop it at the end of the block.

    It serves the runs that it is given, and no others.  When the block is left, however that happens, it
    stops in order: jobs go on, and the next engine that is given the run finds them again.  It sets up no
    signal handlers and no logging.  Several engines may be open, on one root too.

    Args:
        root: the folder with ``workspaces/`` in it.
        on_event: called with each event of the runs that are served, each run's in order, one at a time.
            It delays nobody.  If it raises, that is logged once, and it is called with the same event again
            until it takes it.  So each event is delivered at least once while the engine is open; when that
            is closed without an error, the hook has 5 s for the rest.  To miss none over restarts, keep the
            ``seq`` of the last event and give it as ``after``.
        after: of runs that are attached, ``on_event`` is told what comes after this event; None: what is new.
            Of runs that are started it is told everything.

    Raises:
        NotFoundError: there is no ``workspaces/`` in the root.
        RefusedError: the root belongs to another user.
        StoreError: the store cannot be used, or fails while the engine is open: then the block is cancelled.
    """
    async with open_parts(root, on_event=on_event, after=after) as parts:
        yield Engine(parts.service, parts.calls)


@asynccontextmanager
async def open_parts(
    root: str | Path, *, on_event: OnEvent | None, after: int | None
) -> AsyncIterator[Parts]:
    """Open what a handle of an engine is made of; see `open_engine`."""
    where = _require_root(root)
    if on_event is not None:
        require_hook(on_event)
    keeper = _Keeper(where, None if after is None else require_seq(after), TrioCalls())
    hook: Hook | None = None
    async with open_plain_nursery() as nursery:
        nursery.start_soon(keeper.keep)
        try:
            await keeper.opened.wait()
            async with open_plain_nursery() as hooks:
                if on_event is not None:
                    hook = Hook(keeper.service, on_event)
                    hooks.start_soon(hook.serve)
                yield Parts(keeper.service, keeper.calls)
                keeper.calls.close()
                keeper.stop_serving.set()
                if hook is not None:
                    await keeper.stopped_serving.wait()
                    hook.finish()
        finally:
            keeper.calls.close()
            keeper.stop_serving.set()
            keeper.close.set()


@attrs.define(eq=False)
class _Keeper:
    """Keeps an engine in a task of its own: it stops in order when its host is cancelled all at once."""

    root: Root
    after: int | None
    calls: TrioCalls
    opened: trio.Event = attrs.field(factory=trio.Event)
    stop_serving: trio.Event = attrs.field(factory=trio.Event)
    stopped_serving: trio.Event = attrs.field(factory=trio.Event)
    close: trio.Event = attrs.field(factory=trio.Event)
    _service: Service | None = None

    @property
    def service(self) -> Service:
        """The service, once the engine has opened."""
        assert self._service is not None  # noqa: S101  `opened` was waited for
        return self._service

    async def keep(self) -> None:
        """Open, serve until it is told to stop, and answer calls until it is told to close."""
        with trio.CancelScope(shield=True):
            try:
                with plain_errors():
                    await self._keep()
            except BaseException as error:
                self.calls.close(error)
                raise

    async def _keep(self) -> None:
        runtime = core.Runtime(look_anyway_s=LOOK_ANYWAY_S)
        async with open_reader(self.root) as reader, open_plain_nursery() as nursery:
            watcher = StoreWatcher(reader.version, PACE)
            nursery.start_soon(watcher.serve)
            self._service = Service(self.root, runtime, reader, watcher, self.after)
            async with (
                core.open_engine(self.root, runtime=runtime) as engine,
                open_plain_nursery() as serving,
            ):
                serving.start_soon(engine.serve, self._service.served)
                self.opened.set()
                await self.stop_serving.wait()
                serving.cancel_scope.cancel()
            self.stopped_serving.set()
            await self.close.wait()
            nursery.cancel_scope.cancel()


def _require_root(root: object) -> Root:
    if not isinstance(root, str | Path):
        raise UsageError(f"root: must be a path, not {root!r}")
    path = Path(root).expanduser()
    if not is_folder(path / "workspaces"):
        raise NotFoundError(
            f"{path}: no folder with workspaces/ in it", hint=f"make one with: matterstack init {path}"
        )
    return Root(path.resolve())
