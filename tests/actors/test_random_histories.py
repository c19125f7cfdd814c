"""Everything at once, at random times: whatever happens, the rules of a history hold and all runs end.

The seed fixes what is done and when; the order in which trio runs tasks that are due at the same moment
differs from time to time, on purpose.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Awaitable, Callable

import attrs
import pytest
import trio

from matterstack.actors.supervisor import RestartPolicy
from matterstack.backends.base import PreparedAttempt
from matterstack.core.ids import RunId, TaskId
from matterstack.core.model.workflow import Workflow
from matterstack.core.run import facts as f
from matterstack.core.run.messages import AmendTasks, Cancel, CancelTasks, Pause, Resume
from matterstack.core.run.state import TaskState
from matterstack.core.states import ENDED_RUNS, RunStatus
from tests.support.engine import World, flat, task
from tests.support.fake_backend import Behaviour

PATIENT = RestartPolicy(max_crashes=None, max_delay_s=2)
CAP = 5


@attrs.define
class Mischief:
    """Does to engines and cluster what real life does."""

    world: World
    runs: list[RunId]
    random: random.Random
    cancelled: set[RunId] = attrs.field(factory=set)
    ended: set[tuple[RunId, str]] = attrs.field(factory=set)
    first_submissions: set[str] = attrs.field(factory=set)

    def behave(self, attempt: PreparedAttempt) -> Behaviour:
        """The same for the same attempt, except that an unclear submission is clear the second time."""
        dice = random.Random(zlib.crc32(f"{attempt.task_id}/{attempt.n}".encode()))  # noqa: S311
        unclear = dice.random() < 0.15 and attempt.token not in self.first_submissions
        self.first_submissions.add(attempt.token)
        arrives = dice.random() < 0.5
        return Behaviour(
            queue_s=dice.uniform(0, 2),
            duration_s=dice.uniform(0.1, 6),
            exit_code=int(attempt.n == 1 and dice.random() < 0.2),
            vanishes=attempt.n == 1 and dice.random() < 0.1,
            reply_lost=unclear and arrives,
            never_arrives=unclear and not arrives,
        )

    async def crash_backend(self) -> None:
        """A bug in one of the operations of the backend."""
        operation = self.random.choice(["poll", "submit", "find", "cancel"])
        self.world.cluster.faults.setdefault(operation, []).append(RuntimeError(f"a bug in {operation}"))
        await trio.lowlevel.checkpoint()

    async def crash_run(self) -> None:
        """A bug while an attempt is prepared."""
        name = f"script of t{self.random.randrange(12):04}"
        self.world.cluster.faults.setdefault(name, []).append(RuntimeError(f"a bug in the {name}"))
        await trio.lowlevel.checkpoint()

    async def outage(self) -> None:
        """The cluster is down for a while."""
        self.world.cluster.outage = "no route to host"
        await trio.sleep(self.random.uniform(0.5, 20))
        self.world.cluster.outage = None

    async def slow_down(self) -> None:
        """Submissions take another time from now on."""
        self.world.cluster.submit_s = self.random.choice([0, 0.2, 3])
        self.world.cluster.reply_s = self.random.choice([0, 0.2, 3])
        await trio.lowlevel.checkpoint()

    async def pause_for_a_while(self) -> None:
        """Pause, see that nothing is submitted, resume."""
        run = self.random.choice(self.runs)
        outcome = await self.world.ask(run, Pause(by="eva"))
        if outcome["ok"]:
            await trio.sleep(self.random.uniform(0, 5))
            await self.world.ask(run, Resume(by="eva"))

    async def cancel_one(self) -> None:
        """Cancel a run; not the first one, so that something is left to complete."""
        run = self.random.choice(self.runs[1:])
        if len(self.cancelled) < 2 and self.world.status(run) not in ENDED_RUNS:
            self.cancelled.add(run)
            self.world.command(run, Cancel(by="eva"))
        await trio.lowlevel.checkpoint()

    async def cancel_tasks(self) -> None:
        """End some tasks of a run, which goes on."""
        run = self.random.choice(self.runs)
        names = [f"t{self.random.randrange(12):04}", f"c{self.random.randrange(4)}"]
        names = names[: self.random.randint(1, 2)]
        self.ended.update((run, name) for name in names)
        self.world.command(run, CancelTasks(by="eva", tasks=tuple(names)))
        await trio.lowlevel.checkpoint()

    async def resubmit(self) -> None:
        """Have some jobs that wait submitted anew; refused where none does."""
        names = [TaskId(f"t{self.random.randrange(12):04}") for _ in range(4)]
        changes = self.random.choice([{}, {"env.X": str(self.random.random())}])
        command = AmendTasks(by="eva", tasks=names, changes=changes, resubmit=True)
        self.world.command(self.random.choice(self.runs), command)
        await trio.lowlevel.checkpoint()

    async def go_on(self) -> None:
        """Do something every few seconds until cancelled."""
        deeds: list[Callable[[], Awaitable[None]]] = [
            *[self.crash_backend] * 3, *[self.crash_run] * 2, self.outage, self.slow_down,
            *[self.pause_for_a_while] * 2, self.cancel_one, self.cancel_tasks, self.resubmit,
        ]  # fmt: skip
        while True:
            await trio.sleep(self.random.uniform(0, 4))
            await self.random.choice(deeds)()


def _was_named(task: TaskState) -> bool:
    """Whether a person cancelled the task, and not only what it depends on."""
    return task.cancellation is not None and task.cancellation.because is None


def submissions_while_paused(world: World, run: RunId) -> list[float]:
    """Times at which jobs of a run reached the cluster while it was paused."""
    began: float | None = None
    pauses: list[tuple[float, float]] = []
    for event in (event for event in world.events() if event.run_id == run):
        if isinstance(event.fact, f.RunPaused):
            began = world.seconds(event.at)
        elif began is not None and isinstance(event.fact, f.RunResumed | f.RunCancelRequested):
            pauses.append((began, world.seconds(event.at)))
            began = None
    jobs = [job.submitted_at for job in world.cluster.jobs if job.run_id == run]
    # Times of day are rounded to microseconds, virtual time is not.
    return [at for at in jobs if any(start + 1e-5 < at < end - 1e-5 for start, end in pauses)]


@pytest.mark.parametrize("seed", range(10))
async def test_whatever_happens_the_rules_hold_and_every_run_ends(world: World, seed: int) -> None:
    chain = Workflow([task(f"c{i}", depends_on=[f"c{i - 1}"] if i else [], retries=3) for i in range(4)])
    world.campaign("w", flat(12, retries=3), chain)
    grace_period_s = [0.0, 3.0][seed % 2]
    runs = [
        world.create("w", max_jobs=CAP, max_hpc_jobs_per_run=3, backend={"grace_period_s": grace_period_s})
        for _ in range(4)
    ]
    mischief = Mischief(world, runs, random.Random(seed))  # noqa: S311
    world.cluster.behave = mischief.behave
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mischief.go_on)
        for _ in range(6):
            async with world.serving(PATIENT):
                await trio.sleep(mischief.random.uniform(0.5, 25))
        async with world.serving(PATIENT):
            await trio.sleep(30)
            nursery.cancel_scope.cancel()
    world.cluster.outage = None
    world.cluster.faults.clear()
    async with world.serving(PATIENT):
        for run in runs:
            if world.status(run) is RunStatus.PAUSED:
                await world.ask(run, Resume(by="eva"))
        await world.until_ended(*runs, within_s=2000)
    for run in runs:
        expected = (
            {RunStatus.CANCELLED, RunStatus.COMPLETED} if run in mischief.cancelled else {RunStatus.COMPLETED}
        )
        assert world.status(run) in expected
        assert submissions_while_paused(world, run) == []
        by_name = {t for t, task in world.state(run).tasks.items() if _was_named(task)}
        assert by_name <= {name for other, name in mischief.ended if other == run}
    assert world.cluster.live() == []
    assert world.cluster.most_live <= CAP
    world.check()
