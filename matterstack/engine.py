"""The engine: the only module that wires everything.

One engine serves many runs of one root.  Several engines may share a root: each run is served by one of
them, the one that has its lease.
"""

from __future__ import annotations

import logging
import math
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from itertools import count
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

import attrs
import trio

from matterstack.actors.backend import BackendActor
from matterstack.actors.disk_room import wait_for_room
from matterstack.actors.journal import JournalActor
from matterstack.actors.mailbox import Mailbox
from matterstack.actors.planner import Planner, ProcessPlanner
from matterstack.actors.protocol import CommandReady, RunMessage
from matterstack.actors.reporting import STATISTICS_S, CommitReporter, Reporter
from matterstack.actors.run import Role, RunActor
from matterstack.actors.runtime import Runtime
from matterstack.actors.services import BackendHandle, Services
from matterstack.actors.summary import SummaryWriter
from matterstack.actors.supervisor import FOREVER, GiveUp, RestartPolicy, root_cause, supervise
from matterstack.backends.base import Backend
from matterstack.backends.registry import make_backend
from matterstack.core.errors import (
    BackendError,
    LeaseLostError,
    MailboxFullError,
    StoreError,
)
from matterstack.core.ids import BackendName, RunId, UtcTime
from matterstack.core.log_context import about_backend, about_run, log_place
from matterstack.core.model.resources import Limits
from matterstack.core.model.workflow import Workflow
from matterstack.core.model.workflow_check import check_limits
from matterstack.core.nonces import Nonces
from matterstack.core.operators import ASKED
from matterstack.core.run.apply import Touched, apply
from matterstack.core.run.decide import decide
from matterstack.core.run.facts import Fact
from matterstack.core.run.messages import Collected, Fail, Message, Settle
from matterstack.core.run.state import RunState
from matterstack.storage.backend_reports import blank_report, definition_of
from matterstack.storage.child_environment import hide_from_children
from matterstack.storage.claims import RoomInStore, Waiting, room_in_store
from matterstack.storage.commands import StoredCommand, open_commands
from matterstack.storage.commit_reports import no_commits
from matterstack.storage.crash_points import crash_point
from matterstack.storage.deletion import finish_all
from matterstack.storage.filesystems import file_system_type, is_network
from matterstack.storage.journal import make_append
from matterstack.storage.layout import Root
from matterstack.storage.leases import Lease, acquire_lease, foreign_holder, lease_holder
from matterstack.storage.openness import require_owner, settle
from matterstack.storage.read.changes import Changes, Pace, data_version
from matterstack.storage.read.runs import runs_to_serve, runs_with_jobs, secrets_of_unfinished
from matterstack.storage.root_key import read_nonces
from matterstack.storage.schema import journal_mode, open_database, reading, translated_errors
from matterstack.storage.secret_values import SecretVault
from matterstack.storage.snapshot import load_run

__all__: Final = ["Engine", "Runtime", "open_engine"]

logger: Final = logging.getLogger(__name__)

_P = ParamSpec("_P")
_T = TypeVar("_T")

SWEEP_INTERVAL_S: Final = 30.0
"""How often jobs of runs that nobody serves are looked after."""
ASK_S: Final = 60.0
"""How often answers are looked for without any sign of one."""
ASK_NETWORK_S: Final = 10.0
"""The same on a network file system, which gives no signs of what other hosts do."""
QUIET_AFTER_S: Final = 10.0
"""How long nothing must have changed until the store is looked at less often, by `QUIET_FACTOR`."""
QUIET_FACTOR: Final = 3
FATAL: Final = (StoreError, LeaseLostError)
_NUMBERS: Final = count(1)


@attrs.frozen
class _Served:
    lease: Lease
    mailbox: Mailbox[RunMessage]
    role: Role


@attrs.define(eq=False)
class Engine:
    """Serves runs.  Made by `open_engine`, which owns its background tasks.

    Attributes:
        number: as no other engine of this process is called.
    """

    root: Root
    runtime: Runtime
    planner: Planner
    number: str
    _writer: sqlite3.Connection
    _reader: sqlite3.Connection
    _nonces: Nonces
    _journal: JournalActor
    _summaries: SummaryWriter
    _vault: SecretVault
    _runs: trio.Nursery
    _actors: trio.Nursery
    policy: RestartPolicy = attrs.field(factory=RestartPolicy)
    _handles: dict[str, BackendHandle] = attrs.field(factory=dict)
    _at_work: dict[str, trio.CancelScope] = attrs.field(factory=dict)
    _sharers: Iterator[int] = attrs.field(factory=count)
    _served: dict[RunId, _Served] = attrs.field(factory=dict)
    _seen_elsewhere: set[RunId] = attrs.field(factory=set)

    # ---- serving ----

    async def serve(self, run_ids: Sequence[RunId] | None = None, *, until_done: bool = False) -> None:
        """Serve all runs of the root that have not ended, new ones too; or those named.

        Args:
            until_done: return when none of them is left (also not with another engine).
        """
        interval_s = self.runtime.look_interval_s
        pace = Pace(interval_s=interval_s, quiet_after_s=QUIET_AFTER_S, quiet_s=interval_s * QUIET_FACTOR)
        # A lease that became free shows in no commit, so runs are looked for without such a sign, too.
        anyway_s = self.runtime.look_anyway_s
        if run_ids is not None:
            anyway_s = min(anyway_s, SWEEP_INTERVAL_S)
        swept_at = -math.inf
        async for _ in Changes(partial(self._read, data_version), pace, at_least_every_s=anyway_s):
            for handle in self._handles.values():
                handle.seats_changed.give()
            unfinished = await wait_for_room("the engine", partial(self._look, run_ids))
            if until_done and not unfinished and not self._is_driving():
                return
            if run_ids is not None and trio.current_time() - swept_at >= SWEEP_INTERVAL_S:
                swept_at = trio.current_time()
                await wait_for_room("the engine", partial(self._sweep, run_ids))

    def _is_driving(self) -> bool:
        return any(served.role is Role.DRIVE for served in self._served.values())

    async def _look(self, run_ids: Sequence[RunId] | None) -> list[RunId]:
        """Take up runs that nobody serves, and hand over commands; returns runs that have not ended."""
        unfinished = await self._read(runs_to_serve)
        if run_ids is not None:
            unfinished = [run_id for run_id in unfinished if run_id in run_ids]
        for run_id in unfinished:
            if run_id not in self._served:
                await self._take_up(run_id, Role.DRIVE)
        await self._hand_over_commands()
        return unfinished

    async def _sweep(self, run_ids: Sequence[RunId]) -> None:
        """Look after jobs of runs that nobody serves: when they have ended, their seats are free."""
        for run_id in await self._read(runs_with_jobs):
            if run_id not in run_ids and run_id not in self._served:
                await self._take_up(run_id, Role.SWEEP)

    async def _hand_over_commands(self) -> None:
        for command in await self._read(open_commands):
            served = self._served.get(command.run_id)
            if served is not None:
                _hand_over(command, served.mailbox)

    async def carry_out_commands(self, run_id: RunId) -> bool:
        """Carry out what waits for a run that no engine serves; False when one does.

        Returns when all is answered and, after a cancel, when none of its jobs is left.
        """
        lease = await self._acquire(run_id)
        if lease is None:
            return False
        mailbox: Mailbox[RunMessage] = Mailbox(f"run {run_id}")
        self._served[run_id] = _Served(lease, mailbox, Role.COMMANDS)
        await about_run(run_id, self._serve_run, run_id, lease, mailbox, Role.COMMANDS)()
        return True

    async def _take_up(self, run_id: RunId, role: Role) -> None:
        lease = await self._acquire(run_id)
        if lease is None:
            if role is Role.DRIVE and run_id not in self._seen_elsewhere:
                self._seen_elsewhere.add(run_id)
                holder = await self._read(lease_holder, run_id)
                by = "another process" if holder is None else f"process {holder.pid} on {holder.host}"
                logger.info("run %s is served by %s: it is taken up when that lets it go", run_id, by)
            return
        self._seen_elsewhere.discard(run_id)
        crash_point("after_lease")
        mailbox: Mailbox[RunMessage] = Mailbox(f"run {run_id}")
        self._served[run_id] = _Served(lease, mailbox, role)
        self._runs.start_soon(about_run(run_id, self._serve_run, run_id, lease, mailbox, role))

    async def _acquire(self, run_id: RunId) -> Lease | None:
        def acquire() -> Lease | None:
            with translated_errors(self.root.database):
                return acquire_lease(self._writer, self.root, run_id)

        return await self.runtime.journal(acquire)

    async def _serve_run(self, run_id: RunId, lease: Lease, mailbox: Mailbox[RunMessage], role: Role) -> None:
        """Supervise the actor of a run, then let go of its lease."""
        services = self._services()

        async def start() -> None:
            # Before anything else: what was asked before this actor began is done before it submits a job.
            for command in await self._read(open_commands, run_id):
                _hand_over(command, mailbox)
            actor = RunActor(run_id=run_id, epoch=lease.epoch, services=services, mailbox=mailbox, role=role)
            await actor.serve()

        async def end_jobs(policy: RestartPolicy, give_up: GiveUp | None = None) -> None:
            name = f"run {run_id} (ending its jobs)"
            await supervise(name, start, policy=policy, fatal=FATAL, give_up=give_up)

        async def give_up(error: Exception) -> None:
            await self._fail(run_id, lease, error)
            await end_jobs(self.policy, leave_outputs)

        async def leave_outputs(error: Exception) -> None:
            await self._fail(run_id, lease, error, leave_outputs=True)
            await end_jobs(FOREVER)

        try:
            await supervise(f"run {run_id}", start, policy=self.policy, fatal=FATAL, give_up=give_up)
            await self._summaries.flush()
        finally:
            crash_point("before_release")
            mailbox.close()
            self._served.pop(run_id, None)
            with trio.move_on_after(5, shield=True):
                await self._release(lease)

    async def _fail(
        self, run_id: RunId, lease: Lease, error: Exception, *, leave_outputs: bool = False
    ) -> None:
        """Record that a run cannot be served, without its actor.

        Args:
            leave_outputs: of jobs that have ended, since its actor cannot even look at them.
        """
        state = await self._read(load_run, run_id)
        if state is None:
            return
        cause = root_cause(error)
        reason = self._vault.search().scrubbed(
            f"its actor crashed more than {self.policy.max_crashes} times in {self.policy.window_s:g} s, "
            f"the last time with {type(cause).__name__}: {cause} (traceback in {log_place()})"
        )
        at = max(self.runtime.now(), state.updated_at)  # as `RunActor` does: the clock may have been set back
        touched = Touched()
        facts: list[tuple[UtcTime, Fact]] = []
        messages: list[Message] = [Fail(reason=reason)]
        if leave_outputs:
            problem = self._vault.search().scrubbed(
                f"its outputs could not be looked at: {type(cause).__name__}: {cause}"
            )
            attempts = (state.tasks[task_id].last_attempt for task_id in state.collecting)
            messages.extend(Collected(token=a.token, problem=problem) for a in attempts if a is not None)
        messages.append(Settle())
        for message in messages:
            for fact in decide(state, message):
                apply(state, fact, at, touched)
                facts.append((at, fact))
        if facts:
            await self._journal.append(make_append(state, lease.epoch, facts, touched))
        self._summaries.note(state)

    # ---- what run actors use ----

    def _services(self) -> Services:
        return Services(
            root=self.root,
            runtime=self.runtime,
            journal=self._journal,
            reader=self._reader,
            planner=self.planner,
            nonces=self._nonces,
            vault=self._vault,
            backend=self._backend,
            retire=self._retire,
            check_resources=self._check_resources,
            changed=self._summaries.note,
        )

    def _backend(self, name: BackendName, config: Mapping[str, Any]) -> BackendHandle:
        """Start a backend once for each definition of it: runs may have frozen different ones."""
        definition = definition_of(name, config)
        key = f"{name} {definition}"
        if key not in self._handles:
            backend = self.make_backend(name, config)
            sharer = f"{os.getpid()}.{self.number}.{next(self._sharers)}"
            handle = BackendHandle(backend, Mailbox(f"backend {name}"), sharer)
            attending: dict[RunId, Mailbox[RunMessage]] = {}
            blank = blank_report(name, definition, self.number)
            fresh_s = max(min(STATISTICS_S, backend.poll_interval_s), self.runtime.report_pause_s)
            reporter = Reporter(self.root, self.runtime, blank, statistics_s=fresh_s)

            async def room(runs: Sequence[RunId], waiting: Sequence[Waiting], cap: int) -> RoomInStore:
                now = self.runtime.now()
                return await self._read(room_in_store, self.root, name, runs, waiting, cap, now)

            async def start() -> None:
                actor = BackendActor(
                    backend=backend,
                    mailbox=handle.mailbox,
                    attending=attending,
                    sharer=sharer,
                    seats_changed=handle.seats_changed,
                    room_in_store=room,
                    reporter=reporter,
                )
                await actor.serve()

            async def serve() -> None:
                with self._at_work[key]:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(reporter.serve)
                        await supervise(f"backend {name}", start, policy=FOREVER, fatal=FATAL)

            self._handles[key], self._at_work[key] = handle, trio.CancelScope()
            self._actors.start_soon(about_backend(name, serve))
        return self._handles[key]

    def _retire(self, handle: BackendHandle) -> None:
        """End a backend that no run attends: it must not go on telling of an outage that is none any more."""
        if handle.users:
            return
        for key in [key for key, one in self._handles.items() if one is handle]:
            del self._handles[key]
            self._at_work.pop(key).cancel()

    def make_backend(self, name: BackendName, config: Mapping[str, Any]) -> Backend:
        """Make the backend of a config."""
        if name == ASKED:
            return self._operators(config)
        return make_backend(name, config, self.root)

    def _operators(self, config: Mapping[str, Any]) -> Backend:
        # Not for engines that ask nobody: they start in less time without.
        from matterstack.backends.answer_watch import AnswerWatch
        from matterstack.backends.operators import OperatorBackend

        on_network = is_network(file_system_type(self.root.path))

        def host(name: BackendName) -> Backend:
            return self._backend(name, config["backends"][name]).backend

        return OperatorBackend(
            poll_interval_s=ASK_NETWORK_S if on_network else ASK_S,
            now=self.runtime.clock,
            blocking=self.runtime.files,
            hosts=host,
            watch=AnswerWatch(is_on=not on_network),
            root=self.root,
        )

    async def _check_resources(self, state: RunState, workflow: Workflow) -> None:
        limits: dict[str, Limits] = {}
        for name in {state.backend_of(task) for task in workflow.tasks} - {ASKED}:
            backend = self._backend(name, state.backend_config(name)).backend
            try:
                limits[name] = await backend.probe()
            except BackendError as error:
                logger.warning("the limits of backend %s are unknown now: %s", name, error)
        check_limits(workflow, limits, state.config["default_backend"])

    async def _read(
        self, query: Callable[Concatenate[sqlite3.Connection, _P], _T], *args: _P.args, **kwargs: _P.kwargs
    ) -> _T:
        def ask() -> _T:
            with reading(self.root.database, self._reader):
                return query(self._reader, *args, **kwargs)

        return await self.runtime.store(ask)

    async def _release(self, lease: Lease) -> None:
        try:
            await self.runtime.journal(lease.release, self._writer)
        except sqlite3.Error as error:
            # The lock is gone all the same, and the row only names a process that is about to end.
            logger.warning("run %s: its lease could not be cleared: %s", lease.run_id, error)

    def stop(self) -> None:
        """Stop serving, in order: runs, backends, journal.  Jobs go on running."""
        self._runs.cancel_scope.cancel()


def _hand_over(command: StoredCommand, mailbox: Mailbox[RunMessage]) -> None:
    with suppress(MailboxFullError):  # then it stays in the store, and is handed over at the next look
        mailbox.tell(CommandReady(command), control=True)


def _require_one_host(root: Root, reader: sqlite3.Connection) -> None:
    """Say how the store is kept; locks of network file systems do not keep hosts apart."""
    file_system = file_system_type(root.database)
    mode = journal_mode(file_system)
    logger.info(
        "%s: journal mode %s, synchronous %s: %s", root.database, mode.journal, mode.synchronous, mode.why
    )
    holder = foreign_holder(reader) if is_network(file_system) else None
    if holder is not None:
        raise StoreError(
            f"{root.database} lies on a network file system, and process {holder.pid} of host {holder.host} "
            "uses it",
            hint="stop the engine there first; if that host is dead, free each of its runs with: "
            "matterstack check --break-lease RUN_ID",
        )


def _require_own(root: Root, serves: bool) -> None:
    """Let only its owner serve a root, and close what of it is open to others."""
    if serves:
        require_owner(root)
    for sentence in settle(root):
        logger.warning("%s", sentence)


def _asked(root: Root, reader: sqlite3.Connection, query: Callable[[sqlite3.Connection], _T]) -> _T:
    with reading(root.database, reader):
        return query(reader)


@asynccontextmanager
async def open_engine(
    root: Root,
    *,
    runtime: Runtime | None = None,
    planner: Planner | None = None,
    engine_type: type[Engine] = Engine,
    policy: RestartPolicy | None = None,
    serves: bool = True,
) -> AsyncIterator[Engine]:
    """Open the store and start an engine's background actors; stop them in order at the end.

    Args:
        serves: False where it is only to carry out commands: in a shared root others than its owner may.

    Raises:
        RefusedError: it is to serve runs, and the root belongs to somebody else.
        StoreError: the store cannot be opened, or fails while the engine runs; or it lies on a network file
            system, and an engine of another host uses it.
    """
    runtime = runtime or Runtime()
    await runtime.store(_require_own, root, serves)
    writer = await runtime.journal(open_database, root.database)
    reader = await runtime.store(open_database, root.database)
    try:
        await runtime.store(_asked, root, reader, partial(_require_one_host, root))
        if serves:
            for problem in await runtime.journal(finish_all, writer, root):
                logger.warning("%s", problem)
        number = str(next(_NUMBERS))
        vault = SecretVault(root)
        # Before anything is started: jobs of other runs must not find them in their environment either.
        hide_from_children(await runtime.store(_asked, root, reader, secrets_of_unfinished))
        commits = CommitReporter(root, runtime, no_commits(number))
        journal = JournalActor(writer, root.database, runtime, commits.note)
        summaries = SummaryWriter(root, runtime, reader)
        async with trio.open_nursery() as journal_nursery:
            journal_nursery.start_soon(journal.serve)
            async with trio.open_nursery() as actors:
                actors.start_soon(summaries.serve)
                actors.start_soon(commits.serve)
                async with trio.open_nursery() as runs:
                    yield engine_type(
                        root=root,
                        runtime=runtime,
                        planner=planner or ProcessPlanner(runtime),
                        number=number,
                        writer=writer,
                        reader=reader,
                        nonces=await runtime.store(_asked, root, reader, read_nonces),
                        journal=journal,
                        summaries=summaries,
                        vault=vault,
                        runs=runs,
                        actors=actors,
                        policy=policy or RestartPolicy(),
                    )
                    runs.cancel_scope.cancel()
                actors.cancel_scope.cancel()
            journal_nursery.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True):
            await runtime.store(reader.close)
            await runtime.journal(writer.close)
