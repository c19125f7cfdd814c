"""An engine that can die as by `kill -9`, in the middle of a trio program that goes on."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

import attrs
import trio

from matterstack.actors.runtime import Runtime
from matterstack.actors.services import Services
from matterstack.backends.base import Backend
from matterstack.backends.simulated.commands import SimulatedCommands
from matterstack.backends.slurm.backend import SlurmBackend
from matterstack.core.config import SlurmBackendConfig
from matterstack.core.ids import BackendName, RunId
from matterstack.core.run_state import RunState
from matterstack.engine import Engine
from matterstack.storage.journal import commit
from matterstack.storage.leases import Lease

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Died(BaseException):
    """What a dead engine meets instead of its store and its files."""


@attrs.define(eq=False)
class Life:
    """One life of an engine.

    Attributes:
        commands: its own: no other engine runs commands through them.
        commits_left: it dies right after so many commits; None: of something else.
        scope: what is cancelled when it dies.
    """

    commands: SimulatedCommands
    commits_left: int | None = None
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    is_over: bool = False
    leases: dict[RunId, Lease] = attrs.field(factory=dict)

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

    async def run_blocking(self, call: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """The store, the journal and the files of this engine."""
        await trio.lowlevel.checkpoint()
        if self.is_over and getattr(call, "__name__", "") != "close":
            raise Died
        result = call(*args, **kwargs)
        # The engine's name for it is `commit` of the journal; readers pass other functions.
        if getattr(call, "__wrapped__", call) is commit and self.commits_left is not None:
            self.commits_left -= 1
            if self.commits_left <= 0:
                self.die()
                raise Died
        return result


def mortal_engine(life: Life, watch: Callable[[RunState], None]) -> type[Engine]:
    """A type of engines that live this life.

    Args:
        watch: called after each commit of a run.
    """

    class MortalEngine(Engine):
        async def _acquire(self, run_id: RunId) -> Lease | None:
            lease = await super()._acquire(run_id)
            if lease is not None:
                life.leases[run_id] = lease
            return lease

        async def _release(self, lease: Lease) -> None:
            life.leases.pop(lease.run_id, None)
            await super()._release(lease)

        def _services(self) -> Services:
            services = super()._services()

            def changed(state: RunState) -> None:
                watch(state)
                services.changed(state)

            return attrs.evolve(services, changed=changed)

        def make_backend(self, name: BackendName, config: Mapping[str, Any]) -> Backend:
            return SlurmBackend(
                name,
                SlurmBackendConfig.model_validate(dict(config)),
                self.root.locks / f"submit-{name}.lock",
                run=life.commands.run,
                blocking=life.run_blocking,
            )

    return MortalEngine


def mortal_runtime(life: Life, runtime: Runtime) -> Runtime:
    """The world of an engine that lives this life."""
    return attrs.evolve(runtime, journal=life.run_blocking, store=life.run_blocking, files=life.run_blocking)
