"""Ask a run for something, from any face: an engine carries it out, or this process where there is none."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import attrs
import trio

from matterstack.actors.nurseries import plain_errors
from matterstack.actors.runtime import Runtime
from matterstack.core.errors import InvariantError, RefusedError, StoreError, UsageError, error_of
from matterstack.core.ids import RunId
from matterstack.core.json_rules import json_problem
from matterstack.core.run.messages import AmendConfig, AmendTasks, Cancel, CancelTasks, Command
from matterstack.storage.commands import StoredCommand, command_outcome, insert_command, withdraw_command
from matterstack.storage.layout import Root
from matterstack.storage.leases import Holder, intruders, is_held, lease_holder, this_process
from matterstack.storage.openness import is_own, owner_of
from matterstack.storage.read.changes import Changes, data_version
from matterstack.storage.read.runs import require_run
from matterstack.storage.schema import open_database, translated_errors
from matterstack.storage.snapshot import load_run

ENGINE_INTERVAL_S: Final = 0.3
"""How often it is looked whether the engine that is to carry out a command still lives."""
PATIENCE_S: Final = 3.0


@attrs.frozen
class Outcome:
    """What became of a command.  ``by_engine``: an engine in another process carried it out."""

    by_engine: bool


async def send_command(
    root: Root,
    run_id: RunId,
    command: Command,
    runtime: Runtime | None = None,
    on_wait: Callable[[Holder], None] | None = None,
) -> Outcome:
    """Make a command durable, and wait until it is carried out.

    The engine that holds the run does it.  If there is none, this process takes the run's lease for as
    long as it takes; for a cancel, that is until none of its jobs is left, or of the tasks that are meant.

    Args:
        on_wait: told once, after a few seconds, whom this waits for.  A process of another machine may have
            died with it: nobody can tell from here, so that may be for ever (see `break_lease`).

    Raises:
        UsageError: a text or a list of the command is none, or cannot be kept.
        NotFoundError: no such run or task.
        RefusedError: not possible in the run's state; names it.
        StoreError: nobody can carry it out now; nothing of it is left.
    """
    _require_storable(command)
    runtime = runtime or Runtime()
    connection = await runtime.store(open_database, root.database)
    try:
        stored = await runtime.store(_insert, connection, root, run_id, command, runtime)
        sent = _SentCommand(root, run_id, runtime, connection, stored)
        patience = trio.current_time() + PATIENCE_S
        version = partial(runtime.store, _version, connection, root)
        # That the engine has died shows in no commit, so it is looked for without such a sign, too.
        async for _ in Changes(version, at_least_every_s=ENGINE_INTERVAL_S):
            if await sent.is_carried_out():
                return Outcome(by_engine=True)
            is_served, holder = await sent.server()
            if not is_served:
                if await sent.carry_out() and await sent.is_carried_out():
                    return Outcome(by_engine=False)
            elif holder is not None and on_wait is not None and trio.current_time() >= patience:
                on_wait(holder)
                on_wait = None
        raise InvariantError("changes of the store have no end")
    finally:
        with trio.CancelScope(shield=True):
            await runtime.store(connection.close)


@attrs.frozen
class _SentCommand:
    """A command in the store, as its sender sees it."""

    root: Root
    run_id: RunId
    runtime: Runtime
    connection: sqlite3.Connection
    stored: StoredCommand

    async def is_carried_out(self) -> bool:
        outcome = await self.runtime.store(_outcome, self.connection, self.root, self.stored)
        if outcome is None:
            return False
        _raise_refusal(outcome)
        return True

    async def server(self) -> tuple[bool, Holder | None]:
        try:
            return await self.runtime.store(_server, self.connection, self.root, self.run_id)
        except StoreError:
            await self._withdraw()
            raise

    async def carry_out(self) -> bool:
        """Do it in this process; False when somebody else does it after all."""
        from matterstack.engine import open_engine  # half the time of a command would go into it

        asked = (self.run_id, self.stored.command)
        try:
            with plain_errors():  # an engine has nurseries, and this is called by other programs
                await self.runtime.store(_require_mine, self.connection, self.root, *asked)
                own = Runtime(clock=self.runtime.clock)
                async with open_engine(self.root, runtime=own, serves=False) as engine:
                    return await engine.carry_out_commands(self.run_id)
        except Exception:
            # It must not be carried out later by whoever comes, when nobody thinks of it any more.
            if await self._withdraw():
                raise
            return False

    async def _withdraw(self) -> bool:
        return await self.runtime.store(_withdraw, self.connection, self.root, self.stored)


def _require_storable(command: Command) -> None:
    """Host programs and terminals may give anything."""
    given = attrs.asdict(command)
    for name in ("by", "reason"):
        if not isinstance(given.get(name, ""), str):
            raise UsageError(f"{name}: must be text, not {given[name]!r}")
    tasks = given.get("tasks", ())
    if not all(isinstance(task, str) for task in tasks):
        raise UsageError(f"tasks: must be task ids, not {list(tasks)!r}"[:500])
    if problem := json_problem(given):
        raise UsageError(f"the command cannot be kept as JSON: {problem}")


def _version(connection: sqlite3.Connection, root: Root) -> int:
    with translated_errors(root.database):
        return data_version(connection)


def _insert(
    connection: sqlite3.Connection, root: Root, run_id: RunId, command: Command, runtime: Runtime
) -> StoredCommand:
    with translated_errors(root.database):
        require_run(connection, run_id)
        return insert_command(connection, run_id, command, runtime.now())


def _server(connection: sqlite3.Connection, root: Root, run_id: RunId) -> tuple[bool, Holder | None]:
    """Whether the run is served, and by whom; one of this machine that has died does not serve."""
    with translated_errors(root.database):
        holder = lease_holder(connection, run_id)
        if seized := intruders(root, run_id, holder):
            raise StoreError(
                f"run {run_id} cannot be taken up: {seized[0]} holds its lock, and is no engine",
                hint=f"whose process it is, or root, ends it: kill {seized[0].pid}",
            )
        elsewhere = holder is not None and not holder.is_on(this_process())
        return elsewhere or is_held(root, run_id), holder


def _require_mine(connection: sqlite3.Connection, root: Root, run_id: RunId, command: Command) -> None:
    """Refuse what needs an engine of the root's owner: jobs of another user cannot be ended, or found.

    Raises:
        RefusedError: this is somebody else, and no engine serves the run.
    """
    if is_own(root.private):
        return
    with translated_errors(root.database):
        state = load_run(connection, run_id)
    if state is None or not state.live:
        return
    if (
        isinstance(command, Cancel | CancelTasks)
        or state.ending is not None
        or state.being_cancelled
        or state.resubmitting
        or (isinstance(command, AmendTasks | AmendConfig) and command.resubmit)
        or any(attempt.job_id is None for attempt in state.live.values())
    ):
        owner = owner_of(root)
        raise RefusedError(
            f"no engine serves run {run_id}, and its jobs are {owner}'s: nobody else can end them",
            hint=f"have {owner} run it first: matterstack run loop {run_id}",
        )


def _outcome(connection: sqlite3.Connection, root: Root, command: StoredCommand) -> Mapping[str, Any] | None:
    with translated_errors(root.database):
        return command_outcome(connection, command.id)


def _withdraw(connection: sqlite3.Connection, root: Root, command: StoredCommand) -> bool:
    with translated_errors(root.database):
        return withdraw_command(connection, command.id)


def _raise_refusal(outcome: Mapping[str, Any]) -> None:
    if not outcome["ok"]:
        raise error_of(outcome)
