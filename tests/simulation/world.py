"""Play a scenario: one root, one cluster, and engines that come and go."""

from __future__ import annotations

import hashlib
import json
import random as global_random
import shutil
import sqlite3
import tempfile
from base64 import b64encode
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final

import attrs
import trio
from trio.testing import MockClock

from matterstack.actors.planner import CodeQuestion, PlanningRequest
from matterstack.actors.runtime import Runtime
from matterstack.core.errors import CampaignError
from matterstack.core.ids import RunId, TaskId
from matterstack.core.model.workflow import Workflow
from matterstack.core.model.workflow_check import check_workflow
from matterstack.core.run.campaign_code import UsedCode
from matterstack.core.run.messages import (
    AmendConfig,
    AmendTasks,
    Cancel,
    CancelTasks,
    Command,
    Pause,
    Replan,
    ReplanChoices,
    Rerun,
    Resume,
    Retry,
)
from matterstack.core.run.replan_steps import seen_of
from matterstack.core.states import ENDED_RUNS, OPEN_TASKS, RunStatus, TaskStatus
from matterstack.engine import Engine, open_engine
from matterstack.storage.codec import CONVERTER
from matterstack.storage.commands import command_outcome, insert_command
from matterstack.storage.layout import Root
from matterstack.storage.leases import is_held
from matterstack.storage.schema import open_database
from matterstack.storage.snapshot import load_run
from matterstack.storage.threads import run_inline
from matterstack.usecases.runs import create_run
from tests.simulated_cluster.cluster import SimulatedCluster
from tests.simulated_cluster.programs import SimulatedCommands
from tests.simulation.changes import (
    WHY,
    campaign_text,
    config_changes,
    task_changes,
    version_of,
    workflow_of,
)
from tests.simulation.judge import BrokenPromiseError, Judge
from tests.simulation.ledger import Asked
from tests.simulation.mortal import Died, Doom, Life, Stir, crashing, living, mortal_engine, mortal_runtime
from tests.simulation.scenario import AMBUSHES, DAY_S, DOOMS, EVERY_TASK, Action, Crash, Scenario, scenario

BEGINNING: Final = datetime(2026, 1, 1, tzinfo=UTC)
PATIENCE_S: Final = 5 * DAY_S
"""A run that has not ended by then never will."""
LOOK_ANYWAY_S: Final = 3600.0
REPORT_S: Final = 3600.0
"""Nobody reads what engines say of themselves."""
ANSWER_INTERVAL_S: Final = 30.0
ANSWER_PATIENCE_S: Final = 4 * 3600.0
_UNSUCCEEDED: Final = frozenset(TaskStatus) - {TaskStatus.SUCCEEDED}
MEMORY_FOLDER: Final = Path("/dev/shm")  # noqa: S108  nothing is synced there, so that a day takes little time


@attrs.define
class Planner:
    """Calls the campaigns of a scenario, in the version that stands in the workspace.

    Attributes:
        planned: the tasks of each plan by their id, by workspace, iteration and hash of ``campaign.py``.
    """

    workflows: Mapping[str, Sequence[Workflow]]
    planned: dict[tuple[str, int, str], Mapping[str, Any]] = attrs.field(factory=dict)

    async def ask(self, request: PlanningRequest) -> Any:
        """See `matterstack.actors.planner.Planner`."""
        text = request.campaign_file.read_bytes()
        if request.code is not None:
            self._tell_used(request.code, text, hashlib.sha256(text).hexdigest())
        await trio.sleep(1.0)
        number = request.state.get("iteration", 0)
        if request.action == "analyze":
            return {"iteration": number + 1}
        slug = request.campaign_file.parent.name
        workflows = self.workflows[slug]
        if number >= len(workflows):
            return None
        earlier = {TaskId(task_id): patterns for task_id, patterns in request.earlier.items()}
        return CONVERTER.unstructure(self.plan(slug, text, number + 1, earlier, request.backends))

    def plan(
        self,
        slug: str,
        text: bytes,
        iteration: int,
        earlier: Mapping[TaskId, Sequence[str]],
        backends: Collection[str],
    ) -> Workflow:
        """What this text of a campaign plans.

        Raises:
            CampaignError: it has a mistake.
        """
        first = self.workflows[slug][iteration - 1]
        workflow = workflow_of(version_of(text), first, f"{slug}, iteration {iteration}")
        check_workflow(workflow, earlier, backends)
        digest = hashlib.sha256(text).hexdigest()
        tasks = json.loads(json.dumps(CONVERTER.unstructure(workflow)))["tasks"]
        self.planned[slug, iteration, digest] = {task["id"]: task for task in tasks}
        return workflow

    def _tell_used(self, code: CodeQuestion, text: bytes, digest: str) -> None:
        """As the process that a campaign is called in does: which files it used, and what is new of them."""
        known = code.known.files.get("campaign.py")
        content = None if known == digest else b64encode(text).decode()
        code.found = {"campaign.py": {"sha256": digest, "content": content, "is_added": known is None}}
        if code.is_pinned and known not in {None, digest}:
            raise CampaignError("campaign.py is not what the run was last planned with")


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
    stir: Stir = attrs.field(factory=Stir)
    runs: list[RunId] = attrs.field(factory=list)
    lives: list[Life] = attrs.field(factory=list)
    deaths: int = 0
    judge: Judge = attrs.field(init=False)
    _ambushes: list[str] = attrs.field(factory=list)
    _asking: int = 0
    _changes: int = 0
    _nursery: trio.Nursery = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.judge = Judge(self.scenario, self.root, self.cluster, self.connection, self.planner.planned)
        self.cluster.on_submission = self.judge.saw_submission
        self.cluster.on_work = self.judge.saw_work
        self.cluster.on_fault = self.judge.note

    # ---- playing ----

    async def play(self) -> None:
        """Let everything happen, until all runs have ended and at least a day has passed."""
        async with trio.open_nursery() as nursery:
            await self.begin(nursery)
            for action in self.scenario.actions:
                await trio.sleep_until(action.at_s)
                self.do(action)
            await self.see_to_the_end()
            await trio.sleep_until(DAY_S)
            self.judge.note("the end")
            nursery.cancel_scope.cancel()

    async def begin(self, nursery: trio.Nursery) -> None:
        """Start the cluster, the runs and the engines."""
        self._nursery = nursery
        nursery.start_soon(self.cluster.serve)
        await trio.testing.wait_all_tasks_blocked()
        for number, config in enumerate(self.scenario.configs):
            self.runs.append(create_run(self.root, f"run{number}", config, self.runtime))
        self.lives = [self._new_life(f"engine {n}") for n in range(self.scenario.engines)]
        for number in range(self.scenario.engines):
            nursery.start_soon(self._live_again_and_again, number)

    async def between_lives(self, _number: int) -> None:
        """Nobody is there until somebody starts the engine again."""
        await trio.sleep(self.random.choice([0.0, 0.0, 1.0, 60.0, 3600.0]))

    def _new_life(self, name: str) -> Life:
        return Life(name, SimulatedCommands(self.cluster), self.stir, self.judge.saw_commit, self._hear)

    async def _live_again_and_again(self, number: int) -> None:
        while True:
            await self._live(self.lives[number], Engine.serve)
            await self.between_lives(number)
            self.lives[number] = self._new_life(f"engine {number}")

    async def _live(self, life: Life, serve: Callable[[Engine], Any]) -> None:
        try:
            with life.scope, living(life):
                async with open_engine(
                    self.root,
                    runtime=mortal_runtime(life, self.runtime),
                    planner=self.planner,
                    engine_type=mortal_engine(life),
                ) as engine:
                    await serve(engine)
        except* Died:
            life.die()
        if life.is_over:
            self.deaths += 1
            self.judge.note(f"{life.name} died" + (f" at {life.died_at}" if life.died_at else ""))
        elif life.scope.cancelled_caught:
            self.judge.note(f"{life.name} stopped")

    async def see_to_the_end(self) -> None:
        """Nobody acts any more but to resume what is paused; everything must come to its end."""
        deadline = trio.current_time() + PATIENCE_S
        while self._asking or any(s not in ENDED_RUNS for s in self.judge.statuses().values()):
            if trio.current_time() > deadline:
                self.judge.blame(f"never ended: {self.judge.stuck()}")
                return
            for run_id, status in self.judge.statuses().items():
                if status is RunStatus.PAUSED:
                    self.ask(run_id, Resume(by="sim"))
            await trio.sleep(1800)
        await trio.sleep(600)

    # ---- acting ----

    def do(self, action: Action) -> None:
        """Let a person or fate act."""
        if action.kind in DOOMS:
            self.doom(action)
            return
        if action.kind in AMBUSHES:
            self._ambushes.append(action.kind)
            return
        run_id = self.runs[action.which % len(self.runs)]
        if action.kind == "edit_campaign":
            self._edit_campaign(run_id, action)
            return
        # Now and then two people look at the same thing, and both change it.
        people = 2 if action.kind == "amend_config" and action.which % 3 == 0 else 1
        for request in [self._request(run_id, action) for _ in range(people)]:
            if request is not None:
                self._asking += 1
                self._nursery.start_soon(self._ask_after, action, run_id, request)

    async def _ask_after(self, action: Action, run_id: RunId, request: Command) -> None:
        """Ask as soon as the person has thought about it."""
        if isinstance(request, AmendTasks | AmendConfig | Retry | Replan):
            await trio.sleep(action.delay_s)
        self.ask(run_id, request, is_doomed=action.which % 8 == 0)
        self._asking -= 1

    def _edit_campaign(self, run_id: RunId, action: Action) -> None:
        """Write another version of ``campaign.py``, or the first one again."""
        path = self.root.workspaces / f"run{self.runs.index(run_id)}" / "campaign.py"
        version = 0 if action.which % 7 == 0 else self._next_change()
        path.write_bytes(campaign_text(version) if version else b"")
        self.judge.note(f"campaign of {run_id} is version {version}")

    def _next_change(self) -> int:
        self._changes += 1
        return self._changes

    def doom(self, action: Action) -> None:
        """End an engine, now or at the next occasion."""
        life = self.lives[action.which % len(self.lives)]
        how, _, event = action.kind.partition("_")
        self.judge.note(f"{action.kind} {life.name}")
        if event:
            count = 1 if event.startswith("in_") else action.which % 5 + 1
            is_clean = how == "stop"
            life.doom = Doom(event.partition("_")[2], count, action.delay_s, is_clean=is_clean)
        else:
            life.end(is_clean=how == "stop")

    def _hear(self, argv: Sequence[str]) -> None:
        """An engine runs a command."""
        if argv[0] == "sbatch" and self._ambushes:
            run_id = next(run_id for run_id in self.runs if any(run_id in word for word in argv))
            kind = self._ambushes.pop().removesuffix("_in_sbatch")
            request = self._request(run_id, Action(0, kind, self._changes, 0))
            if request is not None:
                self.ask(run_id, request)

    def _request(self, run_id: RunId, action: Action) -> Command | None:
        match action.kind:
            case "pause":
                return Pause(by="sim")
            case "resume":
                return Resume(by="sim")
            case "cancel":
                return Cancel(by="sim")
            case "cancel_tasks":
                left = self._tasks(run_id, *OPEN_TASKS)
                if not left:
                    return None
                one = left[action.which % len(left)]
                return CancelTasks(by="sim", tasks=("*",) if action.which % 5 == EVERY_TASK else (one,))
            case "retry":
                return Retry(by="sim")
            case "amend":
                return self._amendment(run_id, action.which)
            case "amend_config":
                return self._config_amendment(run_id)
            case "resubmit":
                return self._resubmission(run_id, action.which)
            case "replan":
                return self._replan(run_id, action.which)
            case "retry_amended":
                return self._amended_retry(run_id, action.which)
            case _:
                ended = self._tasks(run_id, TaskStatus.SUCCEEDED, TaskStatus.FAILED)
                if not ended:
                    return None
                task_id = ended[action.which % len(ended)]
                return Rerun(by="sim", tasks=(task_id,), recursive=action.which % 2 == 0)

    def _amendment(self, run_id: RunId, which: int) -> Command | None:
        """Some tasks that have not succeeded, and now and then one that has."""
        tasks = self._tasks(run_id, *TaskStatus) if which % 9 == 0 else self._tasks(run_id, *_UNSUCCEEDED)
        if not tasks:
            return None
        first = which % len(tasks)
        chosen = tasks if which % 3 == 0 else tasks[first : first + 1 + which % 2]
        number = self._next_change()
        return AmendTasks(
            by="sim",
            tasks=chosen,
            named=chosen[:1] if which % 4 == 0 else (),
            changes=task_changes(number),
            reason=WHY.format(number),
        )

    def _resubmission(self, run_id: RunId, which: int) -> Command | None:
        """What waits in the queue is to be submitted as it is amended, or just anew."""
        tasks = self._tasks(run_id, TaskStatus.ACTIVE, TaskStatus.READY)
        number = self._next_change()
        changes = task_changes(number) if which % 4 else {}
        return (
            AmendTasks(by="sim", tasks=tasks, changes=changes, reason=WHY.format(number), resubmit=True)
            if tasks
            else None
        )

    def _replan(self, run_id: RunId, which: int) -> Command | None:
        """Ask the campaign, perhaps mended a moment ago, for the iteration in hand once more."""
        if which % 4:
            self._edit_campaign(run_id, Action(0, "edit_campaign", which // 4, 0))
        state = load_run(self.connection, run_id)
        if state is None or not state.iteration:
            return None
        slug = f"run{self.runs.index(run_id)}"
        text = (self.root.workspaces / slug / "campaign.py").read_bytes()
        earlier = {
            t: task.task.outputs for t, task in state.tasks.items() if task.iteration < state.iteration
        }
        try:
            workflow = self.planner.plan(slug, text, state.iteration, earlier, state.config["backends"])
        except CampaignError as error:
            self.judge.note(f"campaign of {run_id}: {error}")
            return None
        bits = self._next_change()
        return Replan(
            by="sim",
            iteration=state.iteration,
            workflow=workflow,
            basis=seen_of(state),
            code=UsedCode(files={"campaign.py": hashlib.sha256(text).hexdigest()}),
            choices=ReplanChoices(
                redo_changed=which % 3 == 0, cancel_gone=which % 5 < 3, yes_plan=which % 7 < 3
            ),
            reason=WHY.format(bits),
        )

    def _amended_retry(self, run_id: RunId, which: int) -> Command | None:
        ended = self._tasks(run_id, TaskStatus.FAILED, TaskStatus.CANCELLED)
        number = self._next_change()
        named = [ended[which % len(ended)]] if ended and which % 2 else []
        self.judge.named.update((run_id, task_id) for task_id in named)
        return Retry(by="sim", tasks=named, changes=task_changes(number), reason=WHY.format(number))

    def _config_amendment(self, run_id: RunId) -> Command:
        (text,) = self.connection.execute("SELECT config FROM runs WHERE run_id = ?", (run_id,)).fetchone()
        number, before = self._next_change(), json.loads(text)
        config = config_changes(number, before)
        resubmit = number % 3 == 0
        return AmendConfig(
            by="sim", before=before, config=config, reason=WHY.format(number), resubmit=resubmit
        )

    def _tasks(self, run_id: RunId, *statuses: TaskStatus) -> list[TaskId]:
        rows = self.connection.execute(
            "SELECT task_id, status FROM tasks WHERE run_id = ? ORDER BY position", (run_id,)
        )
        return [TaskId(task_id) for task_id, status in rows if status in statuses]

    def ask(self, run_id: RunId, request: Command, *, is_doomed: bool = False) -> str:
        """Ask a run for something, as a person does from another process; returns the command's id."""
        command_id = f"c{self.random.getrandbits(64):x}"
        self.judge.note(f"{type(request).__name__} {run_id}")
        if isinstance(request, Rerun):
            self.judge.named.update((run_id, task_id) for task_id in request.tasks)
        if reason := getattr(request, "reason", ""):
            self.judge.ledger.asked[reason] = Asked(run_id, request, command_id)
        insert_command(self.connection, run_id, request, self.runtime.now(), command_id)
        self.stir.tell()
        self._asking += 1
        self._nursery.start_soon(partial(self._wait_for_answer, run_id, command_id, is_doomed=is_doomed))
        return command_id

    async def _wait_for_answer(self, run_id: RunId, command_id: str, *, is_doomed: bool) -> None:
        """Where no engine serves the run, the one who asks does what was asked for."""
        with trio.move_on_after(ANSWER_PATIENCE_S):
            while command_outcome(self.connection, command_id) is None:
                if not is_held(self.root, run_id):
                    life = self._new_life(f"{command_id} for {run_id}")
                    life.doom = Doom("call", self.random.randint(1, 30)) if is_doomed else None
                    await self._live(life, lambda engine: engine.carry_out_commands(run_id))
                    if life.is_over:
                        break
                await trio.sleep(ANSWER_INTERVAL_S)
        self._asking -= 1
        self.judge.note(f"{command_id} {command_outcome(self.connection, command_id)}")


@attrs.frozen
class Outcome:
    """What a seed came to; the same for the same seed.

    Attributes:
        history: every event of the store: time, run, type, data.
        diary: what happened outside of it: virtual time, and what.
        worked: how often work began in each folder, by its path below that of the workspaces.
        crashes_left: crash points at which no engine died, as it was never there so often.
    """

    virtual_s: float
    jobs: int
    deaths: int
    statuses: tuple[str, ...]
    worked: Mapping[str, int]
    crashes_left: tuple[Crash, ...]
    history: tuple[tuple[str, str, str, str], ...]
    diary: tuple[tuple[float, str], ...]


def play(
    seed: int,
    *,
    change: Callable[[Scenario], Scenario] | None = None,
    watch: Callable[[Outcome], None] | None = None,
    world_type: type[World] = World,
) -> Outcome:
    """Play the scenario of a seed from its beginning to its end.

    Args:
        watch: called with the outcome also when it is bad.

    Raises:
        BrokenPromiseError: a promise was broken.
    """
    what = scenario(seed) if change is None else change(scenario(seed))
    with deterministic(seed), fresh_folder() as folder, crashing(what.crashes) as crashes:
        world = make_world(what, Root(folder), world_type)
        clock = MockClock(autojump_threshold=0)
        try:
            trio.run(world.play, clock=clock)
            world.judge.judge()
            return _outcome(world, crashes)
        finally:
            if watch is not None:
                watch(_outcome(world, crashes))
            world.connection.close()


def make_world(what: Scenario, root: Root, world_type: type[World] = World) -> World:
    """Make the world of a scenario; whoever calls closes its ``connection``."""
    for number in range(len(what.campaigns)):
        (root.workspaces / f"run{number}").mkdir(parents=True)
        (root.workspaces / f"run{number}" / "campaign.py").touch()
    random = Random(what.seed)  # noqa: S311
    runtime = Runtime(
        clock=lambda: BEGINNING + timedelta(seconds=trio.current_time()),
        entropy=random.randbytes,
        look_interval_s=0.005,
        look_anyway_s=LOOK_ANYWAY_S,
        heartbeat_s=REPORT_S,
        report_pause_s=REPORT_S,
        journal=run_inline,
        store=run_inline,
        files=run_inline,
    )
    cluster = SimulatedCluster(random, runtime.clock, nodes=what.nodes, faults=what.faults)
    planner = Planner({f"run{n}": workflows for n, workflows in enumerate(what.campaigns)})
    connection = open_database(root.database)
    # Drawn by the database itself, and the history has hashes of what is made from it.
    connection.execute("UPDATE root_key SET key = ?", (f"{what.seed:064x}",))
    return world_type(what, root, random, cluster, planner, runtime, connection)


def _outcome(world: World, crashes: Iterable[Crash]) -> Outcome:
    rows = world.connection.execute("SELECT at, run_id, type, data FROM events ORDER BY seq").fetchall()
    return Outcome(
        virtual_s=world.judge.diary[-1][0],
        jobs=len(world.cluster.jobs),
        deaths=world.deaths,
        statuses=tuple(status.value for status in world.judge.statuses().values()),
        worked={
            str(folder.relative_to(world.root.workspaces)): len(workers)
            for folder, workers in world.cluster.worked.items()
        },
        crashes_left=tuple(crashes),
        history=tuple(rows),
        diary=tuple(world.judge.diary),
    )


@contextmanager
def deterministic(seed: int) -> Iterator[None]:
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
def fresh_folder() -> Iterator[Path]:
    """An empty folder, in memory where there is such a place."""
    top = MEMORY_FOLDER if MEMORY_FOLDER.is_dir() else None
    folder = Path(tempfile.mkdtemp(prefix="matterstack-sim-", dir=top))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


__all__ = ["BrokenPromiseError", "Outcome", "World", "play"]
