"""How often a cluster is asked: few submissions, one question per interval, never two at once."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any

import attrs
import pytest
import trio

from matterstack.backends.base import Backend
from matterstack.backends.slurm.backend import SlurmBackend
from matterstack.backends.slurm.config import SlurmBackendConfig
from matterstack.backends.slurm.programs import Finished, RunCommand
from matterstack.core.ids import BackendName
from matterstack.core.model.workflow import Workflow
from matterstack.core.states import RunStatus
from matterstack.engine import Engine, open_engine
from matterstack.storage.backend_reports import read_reports
from matterstack.storage.threads import run_inline
from tests.backends.conftest import Shims, shims
from tests.backends.fake_slurm import FakeSlurm
from tests.simulated_cluster.cluster import SimulatedCluster
from tests.simulated_cluster.folder import Work
from tests.simulated_cluster.programs import SimulatedCommands
from tests.simulation.world import fresh_folder
from tests.support.campaigns import Diary, write_tasks
from tests.support.command import PATIENCE_S, CommandLine
from tests.support.engine import World, make_world, on_virtual_clock, task
from tests.support.polling import wait_until

__all__ = ["shims"]

TASKS = 1000
POLL_S = 10.0


@attrs.define
class Clerk:
    """Notes when each command was begun, and how many of a kind there were at once.

    Attributes:
        hangs: commands that give no answer until it is set.
        submitted: the command lines of all sbatch.
    """

    ask: RunCommand
    submitted: list[Sequence[str]] = attrs.field(factory=list)
    began: dict[str, list[float]] = attrs.field(factory=dict)
    at_work: Counter[str] = attrs.field(factory=Counter)
    most_at_once: Counter[str] = attrs.field(factory=Counter)
    hangs: dict[str, trio.Event] = attrs.field(factory=dict)

    async def run(
        self, argv: Sequence[str], *, timeout_s: float, inherit: int | None = None, stdin: str = ""
    ) -> Finished:
        """See `matterstack.backends.slurm.programs.run`."""
        command = argv[0]
        self.began.setdefault(command, []).append(trio.current_time())
        self.submitted += [argv] if command == "sbatch" else []
        self.at_work[command] += 1
        self.most_at_once |= self.at_work
        try:
            if command in self.hangs:
                await self.hangs[command].wait()
            return await self.ask(argv, timeout_s=timeout_s, inherit=inherit, stdin=stdin)
        finally:
            self.at_work[command] -= 1

    def counts(self) -> Mapping[str, int]:
        """How often each command was run."""
        return {command: len(times) for command, times in self.began.items()}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A root on the virtual clock."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with fresh_folder() as top:
        made = make_world(top / "root")
        yield made
        made.connection.close()


@on_virtual_clock
async def test_a_thousand_tasks_take_few_submissions_and_one_question_per_interval(world: World) -> None:
    cluster = SimulatedCluster(Random(5), world.runtime.clock, nodes=1, cpus_per_node=200)  # noqa: S311
    clerk = Clerk(SimulatedCommands(cluster).run)
    durations = Random(6)  # noqa: S311
    simulated = [{"simulate": {"duration_s": durations.uniform(20, 60)}} for _ in range(TASKS)]
    world.campaign("w", Workflow([task(f"t{i:04}", params=told) for i, told in enumerate(simulated)]))
    backend = {"poll_interval_s": POLL_S, "grace_period_s": 1.0}
    run = world.create("w", max_jobs=TASKS, max_hpc_jobs_per_run=TASKS, backend=backend)

    async with serving(world, cluster, clerk):
        await world.until_status(run, RunStatus.COMPLETED)
        await trio.sleep(2 * POLL_S)
        (report,) = read_reports(world.root)

    assert len(clerk.began["sbatch"]) <= 10
    asked = clerk.began["squeue"]
    assert len(asked) > 15
    assert min(later - earlier for earlier, later in pairwise(asked)) >= POLL_S
    assert clerk.most_at_once["squeue"] == 1
    assert {command: told.count for command, told in report.statistics.items()} == clerk.counts()
    world.check()


@on_virtual_clock
async def test_of_an_array_only_the_element_that_failed_is_submitted_again(world: World) -> None:
    def work(manifest: Mapping[str, Any], _random: Random) -> Work:
        fails = (manifest["task_id"], manifest["attempt"]) == ("t2", 1)
        return Work(duration_s=30, exit_code=7 if fails else 0)

    cluster = SimulatedCluster(Random(5), world.runtime.clock, work=work)  # noqa: S311
    clerk = Clerk(SimulatedCommands(cluster).run)
    world.campaign("w", Workflow([task(f"t{i}", retries=1, retry_on=["error"]) for i in range(5)]))
    run = world.create("w")

    async with serving(world, cluster, clerk):
        await world.until_status(run, RunStatus.COMPLETED)

    arrays = [[word for word in argv if word.startswith("--array=")] for argv in clerk.submitted]
    assert arrays == [["--array=0-4"], []]
    assert [len(task.attempts) for task in world.state(run).tasks.values()] == [1, 1, 2, 1, 1]
    world.check()


@asynccontextmanager
async def serving(world: World, cluster: SimulatedCluster, clerk: Clerk) -> AsyncIterator[None]:
    """Serve all runs, on a cluster that is asked through a clerk."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(cluster.serve)
        await trio.testing.wait_all_tasks_blocked()
        async with open_engine(
            world.root,
            runtime=world.runtime,
            planner=world.planner,
            engine_type=engine_that_asks(clerk),
        ) as engine:
            nursery.start_soon(engine.serve)
            yield
            engine.stop()
        nursery.cancel_scope.cancel()


def engine_that_asks(clerk: Clerk) -> type[Engine]:
    """An engine whose clusters are asked through a clerk."""

    class AskingEngine(Engine):
        def make_backend(self, name: BackendName, config: Mapping[str, Any]) -> Backend:
            parsed = SlurmBackendConfig.model_validate(dict(config))
            return SlurmBackend(name, parsed, self.root.locks / "submit", run=clerk.run, blocking=run_inline)

    return AskingEngine


@on_virtual_clock
@pytest.mark.parametrize("command", ["squeue", "sacct"])
async def test_a_question_that_hangs_is_the_only_one_of_its_kind(tmp_path: Path, command: str) -> None:
    fake = FakeSlurm(tmp_path)
    clerk = Clerk(fake.run, hangs={command: trio.Event()})
    config = SlurmBackendConfig.model_validate({"type": "slurm", "command_timeout_s": 3600.0})
    lock = tmp_path / "locks" / "submit"
    backend = SlurmBackend(BackendName("cluster"), config, lock, run=clerk.run, blocking=run_inline)
    job, lost = fake.job("7", "a"), fake.attempt("b")

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(backend.poll, [job])
            nursery.start_soon(backend.find, [lost])
        await trio.sleep(600)
        assert clerk.at_work[command] == 1, "it hangs, and nobody asks again"
        clerk.hangs[command].set()

    assert clerk.most_at_once[command] == 1
    assert len(clerk.began[command]) == 6, "afterwards each has got its answer"


@pytest.mark.usefixtures("slurm_env")
def test_a_hundred_tasks_on_the_real_cluster_are_one_array_and_status_tells_how_often_was_asked(
    command_line: CommandLine, diary: Diary, shims: Shims
) -> None:
    small = {"memory_mib": 20}
    tasks = [diary.task(f"t{i}", resources=small) for i in range(99)]
    folder = write_tasks(
        command_line.root, "campaign", [*tasks, diary.task("last", diary.gate(), resources=small)]
    )
    interval_s = 0.5
    config = {
        "max_hpc_jobs_per_run": 100,
        "default_backend": "cluster",
        "backends": {"cluster": {"type": "slurm", "poll_interval_s": interval_s}},
    }
    (folder / "config.json").write_text(json.dumps(config))
    run_id = command_line.new_run("campaign")
    for command in ("sbatch", "squeue", "sacct"):
        shims.add(command)

    begun = monotonic()
    engine = command_line.start("run", "loop", "--until-done", run_id)
    wait_until(lambda: len(diary.ended()) == 99, PATIENCE_S, "the end of all jobs but one")

    def told() -> list[int]:
        backends = command_line.run("run", "status", run_id, "--json").json["backends"]
        statistics = backends.get("cluster", {}).get("statistics", {})
        return [statistics.get(command, {"count": 0})["count"] for command in ("sbatch", "squeue")]

    wait_until(
        lambda: told() == [shims.calls("sbatch"), shims.calls("squeue")], PATIENCE_S, "the same counts"
    )
    diary.open()
    assert engine.wait().exit_code == 0, engine.stderr
    took_s = monotonic() - begun

    assert shims.calls("sbatch") == 1
    assert 3 <= shims.calls("squeue") <= took_s / interval_s + 1
    assert shims.calls("sacct") == 0
    assert Counter(diary.started()) == Counter(["last", *(f"t{i}" for i in range(99))])
