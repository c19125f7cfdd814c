"""A world that stands still between the steps of somebody outside of trio."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Final, TypeVar

import attrs
import trio
from outcome import Outcome as Ended
from trio.testing import MockClock

from matterstack.storage.layout import Root
from tests.simulation.scenario import Scenario
from tests.simulation.world import World, deterministic, fresh_folder, make_world

_T = TypeVar("_T")

MOST_TICKS: Final = 1_000_000
"""Turns of the scheduler within one step, after which it counts as one without an end."""


@attrs.define(eq=False)
class StagedWorld(World):
    """Engines that have died stay dead until `restart`."""

    _restarts: dict[int, trio.Event] = attrs.field(factory=dict)

    async def between_lives(self, number: int) -> None:
        """Wait to be started again."""
        self._restarts[number] = trio.Event()
        await self._restarts[number].wait()
        del self._restarts[number]

    @property
    def dead(self) -> list[int]:
        """Numbers of the engines that can be started again."""
        return sorted(self._restarts)

    def restart(self, number: int) -> None:
        """Start an engine again."""
        self._restarts[number].set()


class Stage:
    """Runs a world step by step: virtual time passes only inside of `step`.

    Trio runs as a guest of a loop that this class turns by hand.
    """

    def __init__(self, what: Scenario) -> None:
        self._stack = ExitStack()
        self._stack.enter_context(deterministic(what.seed))
        folder = self._stack.enter_context(fresh_folder())
        world = make_world(what, Root(folder), StagedWorld)
        assert isinstance(world, StagedWorld)
        self.world = world
        self._stack.callback(world.connection.close)
        self._turns: deque[Callable[[], object]] = deque()
        self._to_do: deque[Callable[[], Awaitable[object]]] = deque()
        self._called = trio.Event()
        self._end: Ended[None] | None = None
        trio.lowlevel.start_guest_run(
            self._main,
            run_sync_soon_threadsafe=self._turns.append,
            done_callback=self._note_end,
            clock=MockClock(autojump_threshold=0),
        )

    async def _main(self) -> None:
        async with trio.open_nursery() as nursery:
            await self.world.begin(nursery)
            while True:
                while not self._to_do:
                    self._called = trio.Event()
                    await self._called.wait()
                await self._to_do.popleft()()

    def _note_end(self, end: Ended[None]) -> None:
        self._end = end

    def step(self, what: Callable[[], Awaitable[_T]]) -> _T:
        """Let this happen, with all that happens meanwhile."""
        results: list[_T] = []

        async def do() -> None:
            results.append(await what())

        self._to_do.append(do)
        self._called.set()
        self._turn_until(lambda: bool(results))
        return results[0]

    def close(self) -> None:
        """End everything at once."""
        try:
            if self._end is None:
                self._to_do.append(self._leave)
                self._called.set()
                self._turn_until(lambda: self._end is not None)
        finally:
            self._stack.close()

    async def _leave(self) -> None:
        raise _LeftErrorError

    def _turn_until(self, is_enough: Callable[[], bool]) -> None:
        for _ in range(MOST_TICKS):
            if self._end is not None or is_enough():
                break
            self._turns.popleft()()
        else:
            raise AssertionError(f"no end after {MOST_TICKS} turns")
        if self._end is not None:
            try:
                self._end.unwrap()
            except* _LeftErrorError:
                pass


class _LeftErrorError(Exception):
    """The stage is left."""
