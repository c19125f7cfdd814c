"""Play a scenario, and hold what happened against what was promised."""

from __future__ import annotations

import random as global_random
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, Final

import attrs
import trio
from trio.testing import MockClock

from matterstack.actors.planner import PlanningRequest
from matterstack.actors.runtime import Runtime
from matterstack.backends.simulated.cluster import SimulatedCluster, SimulatedJob
from matterstack.backends.simulated.commands import SimulatedCommands
from matterstack.control import create_run
from matterstack.core.errors import InvariantError
from matterstack.core.ids import RunId, TaskId
from matterstack.core.messages import Cancel, Pause, Request, Rerun, Resume, Retry
from matterstack.core.model import Workflow
from matterstack.core.run_state import RunState
from matterstack.core.states import ENDED_RUNS, RunStatus, TaskStatus
from matterstack.core.workflow_check import check_workflow
from matterstack.engine import open_engine
from matterstack.storage.check import check_store
from matterstack.storage.codec import CONVERTER
from matterstack.storage.commands import insert_command
from matterstack.storage.layout import Root
from matterstack.storage.schema import open_database
from matterstack.storage.snapshot import load_run
from matterstack.storage.threads import run_inline
from tests.simulation.mortal import Died, Life, mortal_engine, mortal_runtime
from tests.simulation.scenario import DAY_S, HORIZON_S, Action, Scenario, scenario

BEGINNING: Final = datetime(2026, 1, 1, tzinfo=UTC)
PATIENCE_S: Final = 60 * DAY_S
"""A run that has not ended by then never will."""
LOOK_INTERVAL_S: Final = 20.0
MEMORY_FOLDER: Final = Path("/dev/shm")  # noqa: S108  nothing is synced there, so that a day takes little time


class BrokenPromiseError(AssertionError):
    """Something happened that must never happen."""


@attrs.define
class Planner:
    """Calls the campaigns of a scenario."""

    workflows: Mapping[str, tuple[Workflow, ...]]

    async def ask(self, request: PlanningRequest) -> Any:
        """See `matterstack.actors.planner.Planner`."""
        await trio.sleep(1.0)
        number = request.state.get("iteration", 0)
        if request.action == "analyze":
            return {"iteration": number + 1}
        workflows = self.workflows[request.campaign_file.parent.name]
        if number >= len(workflows):
            return None
        earlier = {TaskId(task_id): patterns for task_id, patterns in request.earlier.items()}
        check_workflow(workflows[number], earlier, request.backends)
        return CONVERTER.unstructure(workflows[number])


@attrs.define(eq=False)
class World:
    """One root, one cluster, and engines that come and go."""

    scenario: Scenario
    root: Root
    random: Random
    cluster: SimulatedCluster
    planner: Planner
    runtime: Runtime
    connection: sqlite3.Connection
    runs: list[RunId] = attrs.field(factory=list)
    lives: list[Life | None] = attrs.field(factory=list)
    deaths: int = 0
    broken: list[str] = attrs.field(factory=list)

    # ---- playing ----

    async def play(self) -> None:
        """Let everything happen, until all runs have ended and at least a day has passed."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.cluster.serve)
            await trio.testing.wait_all_tasks_blocked()
            for number, config in enumerate(self.scenario.configs):
                self.runs.append(create_run(self.root, f"run{number}", config, self.runtime))
            self.lives = [None] * self.scenario.engines
            for number in range(self.scenario.engines):
                nursery.start_soon(self._live_again_and_again, number)
            for action in self.scenario.actions:
                await trio.sleep_until(action.at_s)
                self._do(action)
            await trio.sleep_until(HORIZON_S)
            await self._see_to_the_end()
            nursery.cancel_scope.cancel()

    async def _live_again_and_again(self, number: int) -> None:
        while True:
            life = Life(SimulatedCommands(self.cluster))
            self.lives[number] = life
            try:
                with life.scope:
                    await self._serve(life)
            except* Died:
                self.deaths += 1
            await trio.sleep(self.random.choice([0.0, 0.0, 1.0, 60.0, 3600.0]))

    async def _serve(self, life: Life) -> None:
        async with open_engine(
            self.root,
            runtime=mortal_runtime(life, self.runtime),
            planner=self.planner,
            engine_type=mortal_engine(life, self._watch),
        ) as engine:
            await engine.serve()

    async def _see_to_the_end(self) -> None:
        """Nobody acts any more but to resume what is paused; everything must come to its end."""
        deadline = trio.current_time() + PATIENCE_S
        while any(status not in ENDED_RUNS for status in self._statuses().values()):
            if trio.current_time() > deadline:
                raise BrokenPromiseError(f"never ended: {self._stuck()}")
            for run_id, status in self._statuses().items():
                if status is RunStatus.PAUSED:
                    self._command(run_id, Resume(by="sim"))
            await trio.sleep(1800)
        await trio.sleep(600)

    # ---- acting ----

    def _do(self, action: Action) -> None:
        if action.kind in {"crash", "crash_at_commit", "stop"}:
            life = self.lives[action.which % len(self.lives)]
            if life is not None and not life.is_over:
                self._end(life, action)
            return
        run_id = self.runs[action.which % len(self.runs)]
        request = self._request(run_id, action)
        if request is not None:
            self._command(run_id, request)

    def _end(self, life: Life, action: Action) -> None:
        match action.kind:
            case "crash":
                life.die()
            case "crash_at_commit":
                life.commits_left = action.which % 5 + 1
            case _:
                life.scope.cancel()

    def _request(self, run_id: RunId, action: Action) -> Request | None:
        match action.kind:
            case "pause":
                return Pause(by="sim")
            case "resume":
                return Resume(by="sim")
            case "cancel":
                return Cancel(by="sim")
            case "retry":
                return Retry(by="sim")
            case _:
                ended = self._ended_tasks(run_id)
                if not ended:
                    return None
                task_id = ended[action.which % len(ended)]
                return Rerun(by="sim", tasks=(task_id,), recursive=action.which % 2 == 0)

    def _command(self, run_id: RunId, request: Request) -> None:
        insert_command(
            self.connection, run_id, request, self.runtime.now(), f"c{self.random.getrandbits(64):x}"
        )

    # ---- watching ----

    def _watch(self, state: RunState) -> None:
        """A run was committed: what is promised of the cluster at this very moment?"""
        if state.status is RunStatus.CANCELLED and (left := list(self._jobs_of(state.run_id))):
            self.broken.append(f"{state.run_id} is CANCELLED, but has jobs {[job.job_id for job in left]}")

    def saw_submission(self, job: SimulatedJob) -> None:
        """A job came into being."""
        run_id = RunId(job.folder.parts[job.folder.parts.index("runs") + 1])
        status = self._statuses().get(run_id)
        if status is RunStatus.PAUSED or status in ENDED_RUNS:
            self.broken.append(f"job {job.job_id} was submitted while {run_id} was {status}")
        self._count_workers()

    def _count_workers(self) -> None:
        working = sum(job.is_alive and self.cluster.worked.get(job.folder) == [job.job_id]
                      for job in self.cluster.jobs.values())  # fmt: skip
        most = max(config["backends"]["cluster"]["max_jobs"] for config in self.scenario.configs)
        if working > most:
            self.broken.append(f"{working} jobs worked at once, of at most {most}")

    def _jobs_of(self, run_id: RunId) -> Iterator[SimulatedJob]:
        folder = self.root.run_folder(f"run{self.runs.index(run_id)}", run_id).path
        return (job for job in self.cluster.jobs.values() if job.is_alive and folder in job.folder.parents)

    def _statuses(self) -> dict[RunId, RunStatus]:
        rows = self.connection.execute("SELECT run_id, status FROM runs")
        return {RunId(run_id): RunStatus(status) for run_id, status in rows}

    def _ended_tasks(self, run_id: RunId) -> list[Any]:
        rows = self.connection.execute(
            "SELECT task_id FROM tasks WHERE run_id = ? AND status IN (?, ?) ORDER BY position",
            (run_id, TaskStatus.SUCCEEDED, TaskStatus.FAILED),
        )
        return [task_id for (task_id,) in rows]

    def _stuck(self) -> str:
        parts = []
        for run_id, status in self._statuses().items():
            state = load_run(self.connection, run_id)
            if status not in ENDED_RUNS and state is not None:
                live = {t: (a.job_id, a.state) for t, a in state.live.items()}
                parts.append(f"{run_id} {status} {state.phase} {dict(state.counts)} live {live}")
        return "; ".join(parts)

    # ---- judging ----

    def judge(self) -> None:
        """Hold everything that happened against what was promised.

        Raises:
            BrokenPromiseError: naming all that was broken.
        """
        self.broken += [f"{p.rule} at {p.seq} of {p.run_id}: {p.problem}" for p in check_store(self.root)]
        for folder, jobs in self.cluster.worked.items():
            if len(set(jobs)) > 1:
                self.broken.append(f"jobs {jobs} all worked in {folder.relative_to(self.root.path)}")
        for run_id in self.runs:
            left = [job.job_id for job in self._jobs_of(run_id)]
            if left:
                self.broken.append(f"jobs {left} of {run_id} were forgotten")
        if self.broken:
            raise BrokenPromiseError("\n".join(self.broken))


@attrs.frozen
class Outcome:
    """What a seed came to; the same for the same seed.

    Attributes:
        history: every event of the store: run, type, data.
    """

    virtual_s: float
    events: int
    jobs: int
    deaths: int
    statuses: tuple[str, ...]
    history: tuple[tuple[str, str, str], ...]


def play(seed: int, *, change: Callable[[Scenario], Scenario] | None = None) -> Outcome:
    """Play the scenario of a seed from its beginning to its end.

    Raises:
        BrokenPromiseError: a promise was broken.
    """
    what = scenario(seed)
    if change is not None:
        what = change(what)
    with _deterministic(seed), _fresh_folder() as folder:
        world = _make_world(what, Root(folder))
        try:
            trio.run(_play, world, clock=MockClock(autojump_threshold=0))
            world.judge()
            return _outcome(world)
        finally:
            world.connection.close()


_ended_at: dict[int, float] = {}


async def _play(world: World) -> None:
    await world.play()
    _ended_at[world.scenario.seed] = trio.current_time()


def _make_world(what: Scenario, root: Root) -> World:
    for number in range(len(what.campaigns)):
        (root.workspaces / f"run{number}").mkdir(parents=True)
        (root.workspaces / f"run{number}" / "campaign.py").touch()
    random = Random(what.seed)  # noqa: S311
    runtime = Runtime(
        clock=lambda: BEGINNING + timedelta(seconds=trio.current_time()),
        entropy=random.randbytes,
        look_interval_s=LOOK_INTERVAL_S,
        look_anyway_s=LOOK_INTERVAL_S,
        journal=run_inline,
        store=run_inline,
        files=run_inline,
    )
    cluster = SimulatedCluster(random, runtime.clock, nodes=what.nodes, faults=what.faults)
    planner = Planner({f"run{n}": tuple(workflows) for n, workflows in enumerate(what.campaigns)})
    world = World(what, root, random, cluster, planner, runtime, open_database(root.database))
    cluster.on_submission = world.saw_submission
    return world


def _outcome(world: World) -> Outcome:
    rows = world.connection.execute("SELECT run_id, type, data FROM events ORDER BY seq").fetchall()
    return Outcome(
        virtual_s=_ended_at.pop(world.scenario.seed),
        events=len(rows),
        jobs=len(world.cluster.jobs),
        deaths=world.deaths,
        statuses=tuple(status.value for status in world._statuses().values()),
        history=tuple(rows),
    )


@contextmanager
def _deterministic(seed: int) -> Iterator[None]:
    """Let the seed decide the order in which trio runs what could run at the same time."""
    core: Any = trio._core._run
    before = core._ALLOW_DETERMINISTIC_SCHEDULING
    core._ALLOW_DETERMINISTIC_SCHEDULING = True
    state = core._r.getstate()
    core._r.seed(seed)
    global_random.seed(seed)
    try:
        yield
    finally:
        core._r.setstate(state)
        core._ALLOW_DETERMINISTIC_SCHEDULING = before


@contextmanager
def _fresh_folder() -> Iterator[Path]:
    top = MEMORY_FOLDER if MEMORY_FOLDER.is_dir() else None
    folder = Path(tempfile.mkdtemp(prefix="matterstack-sim-", dir=top))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


__all__ = ["BrokenPromiseError", "InvariantError", "Outcome", "World", "play"]
