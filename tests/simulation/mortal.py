"""An engine that can die as by `kill -9`, in the middle of a trio program that goes on."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, ParamSpec, TypeVar

import attrs
import pytest
import trio

from matterstack.actors.runtime import Runtime
from matterstack.backends.base import Backend
from matterstack.backends.slurm.backend import SlurmBackend
from matterstack.backends.slurm.config import SlurmBackendConfig
from matterstack.backends.slurm.programs import Finished
from matterstack.core.errors import MatterStackError
from matterstack.core.ids import BackendName, RunId
from matterstack.engine import Engine
from matterstack.storage import crash_points
from matterstack.storage.journal import Append, commit
from matterstack.storage.leases import Lease
from matterstack.storage.read.changes import data_version
from tests.simulated_cluster.programs import SimulatedCommands
from tests.simulation.scenario import Crash

_P = ParamSpec("_P")
_T = TypeVar("_T")


SLOW_S: Final = 1.0


class Died(BaseException):
    """What a dead engine meets instead of its store and its files."""


@attrs.define
class Stir:
    """Tells engines that there may be something new for them, so that they need not look in vain."""

    count: int = 0
    _told: trio.Event = attrs.field(factory=trio.Event)

    def tell(self) -> None:
        """Something was written, or a lease is free."""
        self.count += 1
        told, self._told = self._told, trio.Event()
        told.set()

    async def wait_beyond(self, count: int) -> int:
        """Return as soon as it was told more often than that: how often that is."""
        while self.count <= count:
            await self._told.wait()
        return self.count


@attrs.define
class Doom:
    """What ends a life.

    Attributes:
        event: ``commit`` (it is durable, nobody knows), ``call`` (any of the store or files has been done),
            or the name of a command.
        count: it is the so-manieth of them.
        delay_s: after a command was started, the end comes so much later.
        is_clean: the engine is stopped, not killed.
    """

    event: str
    count: int = 1
    delay_s: float = 0.0
    is_clean: bool = False

    def has_come(self, event: str) -> bool:
        """Count what happens; whether this is the one."""
        self.count -= event == self.event
        return event == self.event and self.count == 0


@attrs.define(eq=False)
class Life:
    """One life of an engine.

    Attributes:
        name: for the diary.
        commands: its own: no other engine runs commands through them.
        stir: told after each commit, and when its leases are free.
        watch: called with whatever was committed.
        hear: called with each command that it runs.
        scope: what is cancelled when it dies.
        passings: how often it passed each crash point that was armed.
        died_at: the crash point that was its last.
    """

    name: str
    commands: SimulatedCommands
    stir: Stir
    watch: Callable[[Append], None]
    hear: Callable[[Sequence[str]], None]
    doom: Doom | None = None
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    is_over: bool = False
    seen: int = -1
    leases: dict[RunId, Lease] = attrs.field(factory=dict)
    passings: Counter[str] = attrs.field(factory=Counter)
    died_at: str = ""

    def die(self) -> None:
        """From here on nothing that it does has an effect, and its locks are free."""
        if self.is_over:
            return
        self.is_over = True
        self.commands.client_is_dead = True  # what it has started goes on
        self.scope.cancel()
        for lease in self.leases.values():
            os.close(lease._descriptor)
        self.leases.clear()
        self.stir.tell()

    def end(self, *, is_clean: bool) -> None:
        """Die, or be asked to stop."""
        if is_clean:
            self.scope.cancel()
        else:
            self.die()

    # ---- what its engine uses ----

    async def run_blocking(self, call: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """The store and the files of this engine."""
        await trio.lowlevel.checkpoint()
        if self.is_over and getattr(call, "__name__", "") != "close":
            raise Died
        result = call(*args, **kwargs)
        owner = getattr(call, "__self__", None)
        if isinstance(owner, Lease):
            self.leases.pop(owner.run_id, None)  # it was given back
            self.stir.tell()
        self._die_if_doomed("call", result)
        return result

    async def run_journal(self, call: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """The journal and the leases of this engine."""
        try:
            result = await self.run_blocking(call, *args, **kwargs)
        finally:
            if call is commit:
                self.stir.tell()  # whoever died in it may have made it durable
        if isinstance(result, Lease):
            self.stir.tell()
        if call is commit:
            appends: Any = args[2]
            outcomes: Any = result
            for append, outcome in zip(appends, outcomes, strict=True):
                if not isinstance(outcome, MatterStackError):
                    self.watch(append)
            self._die_if_doomed("commit", result)
        return result

    def _die_if_doomed(self, event: str, result: object) -> None:
        if self.doom is not None and self.doom.has_come(event):
            if isinstance(result, Lease):
                os.close(result._descriptor)
            self.die()
            raise Died

    async def run_command(
        self, argv: Sequence[str], *, timeout_s: float, inherit: int | None = None, stdin: str = ""
    ) -> Finished:
        """Slurm's commands for this engine."""
        if self.is_over:
            raise Died
        self.hear(argv)
        if self.doom is not None and self.doom.has_come(argv[0]):
            # One that lives on for seconds is killed over a command that takes long.
            self.commands.next_is_slow = argv[0] == "sbatch" and self.doom.delay_s >= SLOW_S
            self.commands.cluster.nursery.start_soon(self._end_later, self.doom)
        return await self.commands.run(argv, timeout_s=timeout_s, inherit=inherit, stdin=stdin)

    async def _end_later(self, doom: Doom) -> None:
        await trio.sleep(doom.delay_s)
        self.end(is_clean=doom.is_clean)


_LIVING: Final[ContextVar[Life]] = ContextVar("living")


@contextmanager
def living(life: Life) -> Iterator[None]:
    """All that is begun in here is a part of this life."""
    token = _LIVING.set(life)
    try:
        yield
    finally:
        _LIVING.reset(token)


@contextmanager
def crashing(crashes: Sequence[Crash]) -> Iterator[deque[Crash]]:
    """Let lives end at crash points, one after the other; gives those that are still to come."""
    left = deque(crashes)

    def arm() -> None:
        patch.setattr(crash_points, "_armed", left[0].point if left else "")

    def pass_armed() -> None:
        life = _LIVING.get(None)
        if life is None:
            return
        if life.is_over:
            raise Died  # what a living program would do on its way out, a dead one does not
        crash = left[0]
        if trio.current_time() < crash.after_s:
            return
        life.passings[crash.point] += 1
        if life.passings[crash.point] >= crash.passing:
            left.popleft()
            arm()
            life.died_at = crash.point
            life.die()
            raise Died

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crash_points, "_pass", pass_armed)
        arm()
        yield left


def mortal_engine(life: Life) -> type[Engine]:
    """A type of engines that live this life."""

    class MortalEngine(Engine):
        async def _acquire(self, run_id: RunId) -> Lease | None:
            lease = await super()._acquire(run_id)
            if lease is not None:
                life.leases[run_id] = lease
            return lease

        async def _read(self, query: Callable[..., _T], *args: Any, **kwargs: Any) -> _T:
            if query is data_version:
                # Virtual days would have many looks in vain.
                with trio.move_on_after(self.runtime.look_anyway_s):
                    life.seen = await life.stir.wait_beyond(life.seen)
            return await super()._read(query, *args, **kwargs)

        def make_backend(self, name: BackendName, config: Mapping[str, Any]) -> Backend:
            return SlurmBackend(
                name,
                SlurmBackendConfig.model_validate(dict(config)),
                self.root.locks / f"submit-{name}.lock",
                run=life.run_command,
                blocking=life.run_blocking,
            )

    return MortalEngine


def mortal_runtime(life: Life, runtime: Runtime) -> Runtime:
    """The world of an engine that lives this life."""
    return attrs.evolve(runtime, journal=life.run_journal, store=life.run_blocking, files=life.run_blocking)
