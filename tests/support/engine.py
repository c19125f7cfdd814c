"""A root whose engines run on the virtual clock, with campaigns that are Python functions."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeAlias, TypeVar

import attrs
import pytest
import trio
from trio.abc import Instrument
from trio.testing import MockClock

from matterstack.actors.planner import PlanningRequest
from matterstack.actors.runtime import Runtime
from matterstack.actors.supervisor import RestartPolicy
from matterstack.backends.base import Backend
from matterstack.backends.operators import OperatorBackend
from matterstack.core.errors import CampaignError
from matterstack.core.ids import BackendName, RunId, TaskId, UtcTime, utc_moment
from matterstack.core.model.workflow import Task, Workflow
from matterstack.core.model.workflow_check import check_workflow
from matterstack.core.operators import ASKED
from matterstack.core.run import facts as f
from matterstack.core.run.facts import Event
from matterstack.core.run.messages import Cancel, Command, Pause, Resume, Retry
from matterstack.core.run.state import RunState
from matterstack.core.states import ENDED_RUNS, RunStatus
from matterstack.engine import Engine, open_engine
from matterstack.storage.codec import CONVERTER
from matterstack.storage.commands import command_outcome, insert_command
from matterstack.storage.layout import Root
from matterstack.storage.read.events import facts_of
from matterstack.storage.schema import open_database
from matterstack.storage.snapshot import load_run
from matterstack.storage.threads import RunBlocking, run_inline
from matterstack.usecases.runs import create_run
from tests.support.fake_backend import FakeBackend, FakeCluster
from tests.support.history import all_events, assert_history

_P = ParamSpec("_P")
_T = TypeVar("_T")

BEGINNING: Final = datetime(2026, 1, 1, tzinfo=UTC)
FIRST_LOOK_S: Final = 0.01
LONGEST_LOOK_S: Final = 0.5

Results: TypeAlias = Mapping[str, Any]
State: TypeAlias = Mapping[str, Any]


@attrs.define
class FakeCampaign:
    """A campaign in this process: ``plan`` for each iteration in turn, then None.

    Attributes:
        plan_s, analyze_s: seconds that it thinks.
        fault: raised by ``plan`` as what a broken campaign raises.
        crashes: raised by ``plan``, each once, as what no planner may raise: the run's actor crashes.
    """

    workflows: Sequence[Workflow]
    analyze: Callable[[State, Results], State] = lambda state, _results: state
    plan_s: float = 0.0
    analyze_s: float = 0.0
    fault: str | None = None
    analysis_fault: str | None = None
    crashes: list[Exception] = attrs.field(factory=list)
    seen: list[Results] = attrs.field(factory=list)


@attrs.define
class FakePlanner:
    """Calls campaigns by the name of their workspace."""

    campaigns: dict[str, FakeCampaign] = attrs.field(factory=dict)
    asked: list[tuple[str, str]] = attrs.field(factory=list)

    async def ask(self, request: PlanningRequest) -> Any:
        """See `matterstack.actors.planner.Planner`."""
        slug = request.campaign_file.parent.name
        campaign = self.campaigns[slug]
        self.asked.append((slug, request.action))
        if request.action == "analyze":
            await trio.sleep(campaign.analyze_s)
            if campaign.analysis_fault is not None:
                raise CampaignError(campaign.analysis_fault)
            number = request.state.get("iteration", 0) + 1
            return {**campaign.analyze(request.state, request.results), "iteration": number}
        await trio.sleep(campaign.plan_s)
        campaign.seen.append(request.results)
        if campaign.crashes:
            raise campaign.crashes.pop(0)
        if campaign.fault is not None:
            raise CampaignError(campaign.fault)
        number = request.state.get("iteration", 0)
        if number >= len(campaign.workflows):
            return None
        workflow = campaign.workflows[number]
        earlier = {TaskId(task_id): patterns for task_id, patterns in request.earlier.items()}
        check_workflow(workflow, earlier, request.backends)
        return CONVERTER.unstructure(workflow)


def task(name: str, **options: Any) -> Task:
    """A task that a fake cluster can run."""
    return Task(TaskId(name), command=["true"], **options)


def flat(count: int, name: str = "t", **options: Any) -> Workflow:
    """A workflow of independent tasks."""
    return Workflow([task(f"{name}{i:04}", **options) for i in range(count)])


@attrs.frozen
class _After:
    before: Callable[[str, Sequence[object]], Awaitable[None]]
    run: RunBlocking

    async def __call__(self, call: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        await self.before(getattr(call, "__name__", ""), args)
        return await self.run(call, *args, **kwargs)


@attrs.define
class World:
    """One root, one cluster, one planner, and any number of engines."""

    root: Root
    runtime: Runtime
    cluster: FakeCluster
    planner: FakePlanner
    connection: sqlite3.Connection

    # ---- making ----

    def campaign(self, slug: str, *workflows: Workflow, **options: Any) -> FakeCampaign:
        """Make a workspace, or give one another campaign."""
        folder = self.root.workspaces / slug
        folder.mkdir(exist_ok=True)
        (folder / "campaign.py").write_text("# planned by the test\n")
        campaign = FakeCampaign(workflows, **options)
        self.planner.campaigns[slug] = campaign
        return campaign

    def create(self, slug: str, *, max_jobs: int = 100, backend: Any = (), **config: Any) -> RunId:
        """Make a PENDING run; ``backend`` are further keys of the backend's config."""
        fake = {"type": "slurm", "max_jobs": max_jobs, "poll_interval_s": 1.0, "grace_period_s": 0.0}
        overrides = {
            "max_hpc_jobs_per_run": 100,
            "default_backend": "fake",
            "backends": {"fake": {**fake, **dict(backend)}},
            **config,
        }
        return create_run(self.root, slug, overrides, self.runtime)

    # ---- serving ----

    @asynccontextmanager
    async def engine(self, policy: RestartPolicy | None = None) -> AsyncIterator[Engine]:
        """Open an engine; nothing is served yet."""
        kind = _engine_type(self.cluster)
        async with open_engine(
            self.root, runtime=self.runtime, planner=self.planner, engine_type=kind, policy=policy
        ) as engine:
            yield engine

    @asynccontextmanager
    async def serving(self, policy: RestartPolicy | None = None) -> AsyncIterator[Engine]:
        """Serve all runs in the background until the end of the block."""
        async with self.engine(policy) as engine, trio.open_nursery() as nursery:
            nursery.start_soon(engine.serve)
            yield engine
            engine.stop()
            nursery.cancel_scope.cancel()

    async def serve_until_done(self, *run_ids: RunId, policy: RestartPolicy | None = None) -> None:
        """Serve runs until none is left, for at most a virtual day."""
        with trio.fail_after(86400):
            async with self.engine(policy) as engine:
                await engine.serve(run_ids or None, until_done=True)

    def before_files(self, before: Callable[[str, Sequence[object]], Awaitable[None]]) -> None:
        """Let something happen before each call on files, in engines that are opened from now on.

        ``before`` is given the name of the function that is called, and its arguments.
        """
        self.runtime = attrs.evolve(self.runtime, files=_After(before, self.runtime.files))

    def slow_files(self, function: str, takes_s: float) -> trio.Event:
        """Let one kind of call on files take so long; the event is set when the first one has begun."""
        begun = trio.Event()

        async def wait(name: str, _arguments: object) -> None:
            if name == function:
                begun.set()
                await trio.sleep(takes_s)

        self.before_files(wait)
        return begun

    def before_journal(self, before: Callable[[str, Sequence[object]], Awaitable[None]]) -> None:
        """The same for each call on the connection that writes."""
        self.runtime = attrs.evolve(self.runtime, journal=_After(before, self.runtime.journal))

    # ---- asking ----

    def command(self, run_id: RunId, request: Command) -> str:
        """Put a command into the durable mailbox, as another process would; returns its id."""
        return insert_command(self.connection, run_id, request, self.runtime.now()).id

    async def outcome(self, command_id: str) -> dict[str, Any]:
        """Wait for the outcome of a command."""
        await self.until(lambda: command_outcome(self.connection, command_id) is not None, "an outcome")
        outcome = command_outcome(self.connection, command_id)
        assert outcome is not None
        return outcome

    async def ask(self, run_id: RunId, request: Command) -> dict[str, Any]:
        """Command, and wait for the outcome."""
        return await self.outcome(self.command(run_id, request))

    async def pause(self, run_id: RunId) -> None:
        """Pause, acknowledged."""
        assert await self.ask(run_id, Pause(by="eva")) == {"ok": True}

    async def resume(self, run_id: RunId) -> None:
        """Resume, acknowledged."""
        assert await self.ask(run_id, Resume(by="eva")) == {"ok": True}

    async def cancel(self, run_id: RunId) -> None:
        """Cancel, acknowledged (its jobs may still be ending)."""
        assert await self.ask(run_id, Cancel(by="eva")) == {"ok": True}

    async def retry(self, run_id: RunId, *tasks: TaskId) -> None:
        """Retry, acknowledged."""
        assert await self.ask(run_id, Retry(by="eva", tasks=tasks)) == {"ok": True}

    # ---- looking ----

    async def until(self, predicate: Callable[[], object], what: str, within_s: float = 86400) -> None:
        """Let virtual time pass until something is so."""
        deadline = trio.current_time() + within_s
        delay_s = FIRST_LOOK_S
        while not predicate():
            assert trio.current_time() < deadline, f"waited {within_s:g} virtual seconds in vain for {what}"
            await trio.sleep(min(delay_s, deadline - trio.current_time()))
            delay_s = min(LONGEST_LOOK_S, delay_s * 1.2)

    async def until_status(self, run_id: RunId, status: RunStatus, within_s: float = 86400) -> None:
        """Let virtual time pass until a run stands so."""
        await self.until(lambda: self.status(run_id) is status, f"{run_id} to be {status}", within_s)

    async def until_ended(self, *run_ids: RunId, within_s: float = 86400) -> None:
        """Let virtual time pass until runs have ended."""
        for run_id in run_ids:
            ended = partial(lambda r: self.status(r) in ENDED_RUNS, run_id)
            await self.until(ended, f"the end of {run_id}", within_s)

    def state(self, run_id: RunId) -> RunState:
        """A run as the store has it."""
        state = load_run(self.connection, run_id)
        assert state is not None
        return state

    def status(self, run_id: RunId) -> RunStatus:
        """Where a run stands."""
        row = self.connection.execute("SELECT status FROM runs WHERE run_id = ?", (run_id,)).fetchone()
        return RunStatus(row[0])

    def facts(self, run_id: RunId, *kinds: type[f.Fact]) -> list[Any]:
        """The facts of a run, the oldest first; only those kinds, where some are given."""
        facts = [event.fact for event in facts_of(self.connection, run_id)]
        return [fact for fact in facts if not kinds or isinstance(fact, kinds)]

    def seconds(self, at: UtcTime) -> float:
        """A time of day as virtual time."""
        return (utc_moment(at) - BEGINNING).total_seconds()

    def event_count(self) -> int:
        """How many events the store has."""
        return int(self.connection.execute("SELECT count(*) FROM events").fetchone()[0])

    def events(self) -> list[Event]:
        """Every event of the store."""
        return all_events(self.root)

    def check(self) -> None:
        """What must hold at the end of every test: in the store, and in the cluster."""
        assert_history(self.root)
        assert self.cluster.tokens_with_two_jobs() == []


def _engine_type(cluster: FakeCluster) -> type[Engine]:
    class FakeClusterEngine(Engine):
        def make_backend(self, name: BackendName, config: Mapping[str, Any]) -> Backend:
            if name == ASKED:
                asking = super().make_backend(name, config)
                assert isinstance(asking, OperatorBackend)
                asking.watch.is_on = False  # its thread knows no virtual clock
                return asking
            intervals = (config["poll_interval_s"], config["grace_period_s"])
            return FakeBackend(name, cluster, *intervals, batch_limit=cluster.batch_limit)

    return FakeClusterEngine


def _run_on_virtual_clock(
    test: Callable[[], Awaitable[Any]], *, clock: object = None, instruments: Sequence[Instrument] = ()
) -> Any:
    if clock is not None:
        raise TypeError("this test brings a clock of its own")
    return trio.run(test, clock=MockClock(autojump_threshold=0), instruments=instruments)


on_virtual_clock: Final = pytest.mark.trio(run=_run_on_virtual_clock)
"""Marks tests that take hours in no time."""


def make_world(path: Path) -> World:
    """Make a root without workspaces; whoever calls closes its ``connection``."""
    root = Root(path)
    root.workspaces.mkdir(parents=True)
    runtime = Runtime(
        clock=lambda: BEGINNING + timedelta(seconds=trio.current_time()),
        journal=run_inline,
        store=run_inline,
        files=run_inline,
    )
    return World(root, runtime, FakeCluster(), FakePlanner(), open_database(root.database))
