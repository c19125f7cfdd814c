"""The engine dies at each of the named places on the simulated cluster, too; nothing is lost or done twice.

The judge of the simulation, which knows the truth of the cluster, says so, and so does `matterstack check`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import count
from random import Random
from typing import Final

import attrs
import pytest
import trio

from matterstack.core.ids import TaskId
from matterstack.core.model.workflow import Task, Workflow
from matterstack.storage.crash_points import CRASH_POINTS, crash_point
from tests.simulated_cluster.cluster import SimulatedCluster
from tests.simulated_cluster.faults import NO_FAULTS
from tests.simulated_cluster.programs import SimulatedCommands
from tests.simulation.mortal import Died, Life, Stir, crashing, living
from tests.simulation.scenario import DAY_S, EVERY_TASK, Action, Crash, Scenario
from tests.simulation.world import BEGINNING, Outcome, World, play

PASSINGS: Final = (1, 3)
RUNS: Final = 4
CHAIN: Final = ("c0", "c1", "c2")
TASKS: Final = (*CHAIN, "loose")
MAX_JOBS: Final = 3

CANCELLING: Final = ("before_cancel", "after_cancel")
COMMITTING: Final = ("before_commit", "inside_commit", "after_commit")
SEARCHING: Final = ("after_search",)
DELETING: Final = ("before_removal",)
"""No engine passes it: see `tests/cli/test_run_delete.py`."""
OTHERS: Final = sorted(CRASH_POINTS.difference(CANCELLING, SEARCHING, DELETING))
LEAVES_NO_JOB: Final = "before_submit"
LEAVES_A_JOB: Final = "after_submit"


@attrs.define(eq=False)
class Quick(World):
    """An engine that died is started again at once."""

    async def between_lives(self, _number: int) -> None:
        """Begin the next life."""
        await trio.sleep(1)


@attrs.define(eq=False)
class Late(World):
    """An engine that died is started again when the people who asked for something have gone."""

    async def between_lives(self, _number: int) -> None:
        """Let a day pass."""
        await trio.sleep(DAY_S)


def _walk(
    crashes: Sequence[Crash],
    *,
    work_s: float = 600.0,
    actions: Sequence[Action] = (),
    world_type: type[World] = Quick,
) -> Outcome:
    """Let engines die at these places, one after the other, on a cluster where nothing else goes wrong."""

    def change(what: Scenario) -> Scenario:
        return attrs.evolve(
            what,
            engines=1,
            nodes=2,
            faults=NO_FAULTS,
            campaigns=[[Workflow(_tasks(work_s * (n + 1)))] for n in range(RUNS)],  # their ends come apart
            configs=[_CONFIG] * RUNS,
            actions=actions,
            crashes=crashes,
        )

    return play(1, change=change, world_type=world_type)


def _tasks(work_s: float) -> list[Task]:
    """Tasks one after the other, so that everything comes about several times, and one beside them."""
    before = dict(zip(CHAIN[1:], CHAIN, strict=False))
    return [
        Task(
            TaskId(name),
            command=["simulate"],
            depends_on=[TaskId(before[name])] if name in before else [],
            params={"simulate": {"duration_s": work_s}},
        )
        for name in TASKS
    ]


_CONFIG: Final = {
    "default_backend": "cluster",
    "max_hpc_jobs_per_run": 2,
    "backends": {
        "cluster": {"type": "slurm", "max_jobs": MAX_JOBS, "poll_interval_s": 10.0, "grace_period_s": 60.0}
    },
}


def _assert_all_was_done_once(outcome: Outcome, crashes: Sequence[Crash]) -> None:
    assert outcome.crashes_left == (), "it was never there so often"
    assert outcome.deaths == len(crashes)
    assert outcome.statuses == ("COMPLETED",) * RUNS
    assert Counter(outcome.worked.values()) == {1: RUNS * len(TASKS)}
    assert outcome.jobs == RUNS * len(TASKS), "no second job was ever submitted for an attempt"


@pytest.mark.parametrize("point", OTHERS)
def test_an_engine_that_dies_at_a_crash_point_loses_nothing_and_does_nothing_twice(point: str) -> None:
    crashes = [Crash(point, passing) for passing in PASSINGS]

    outcome = _walk(crashes)

    _assert_all_was_done_once(outcome, crashes)


@pytest.mark.parametrize("passing", PASSINGS)
@pytest.mark.parametrize("left", [LEAVES_A_JOB, LEAVES_NO_JOB])
@pytest.mark.parametrize("point", SEARCHING)
def test_an_engine_that_dies_when_it_has_searched_starts_no_second_job_and_forgets_none(
    point: str, left: str, passing: int
) -> None:
    # In each of its lives but the last it leaves one more attempt behind of which it does not know.
    crashes = [*(Crash(left, 1) for _ in range(passing)), Crash(point, 1), Crash(left, 1), Crash(point, 1)]

    outcome = _walk(crashes)

    _assert_all_was_done_once(outcome, crashes)


@pytest.mark.parametrize("point", CANCELLING)
def test_a_run_that_was_being_cancelled_when_the_engine_died_is_cancelled_and_leaves_no_job(
    point: str,
) -> None:
    crashes = [Crash(point, passing) for passing in PASSINGS]
    cancels = [_cancel(number, at_s=1800.0 * (number + 1)) for number in range(RUNS)]

    outcome = _walk(crashes, work_s=10 * DAY_S, actions=cancels)

    assert outcome.crashes_left == ()
    assert outcome.deaths == len(crashes)
    assert outcome.statuses == ("CANCELLED",) * RUNS
    assert set(outcome.worked.values()) == {1}


@pytest.mark.parametrize("point", CANCELLING)
def test_a_cancelling_command_that_dies_itself_leaves_a_run_that_the_next_engine_cancels(point: str) -> None:
    actions = [Action(1800.0, "crash", 0, 0.0), *(_cancel(n, at_s=3600.0 + n) for n in range(RUNS))]

    outcome = _walk([Crash(point)], work_s=10 * DAY_S, actions=actions, world_type=Late)

    assert outcome.crashes_left == ()
    assert outcome.deaths == 2, "the engine, and one of those who asked"
    assert outcome.statuses == ("CANCELLED",) * RUNS


@pytest.mark.parametrize("point", [*CANCELLING, "after_sighting", *COMMITTING])
def test_tasks_that_were_being_cancelled_when_the_engine_died_are_cancelled_and_leave_no_job(
    point: str,
) -> None:
    cancels = [_cancel(number, 1800.0 * (number + 1), "cancel_tasks") for number in range(RUNS)]
    outcome = _die_while_tasks_are_cancelled(point, cancels)

    assert outcome.crashes_left == ()
    assert outcome.deaths == 1
    assert outcome.statuses == ("COMPLETED",) * RUNS
    ended = [kind for _, _, kind, _ in outcome.history if kind in {"TaskCancelled", "TaskSucceeded"}]
    assert ended == ["TaskCancelled"] * RUNS * len(TASKS)
    assert set(outcome.worked.values()) == {1}


def _die_while_tasks_are_cancelled(point: str, cancels: Sequence[Action]) -> Outcome:
    """Let the engine die at the first passing that comes after the first of these commands."""
    for passing in count(1):
        outcome = _walk([Crash(point, passing)], work_s=10 * DAY_S, actions=cancels)
        if any(at >= cancels[0].at_s and "died" in what for at, what in outcome.diary):
            return outcome
    raise AssertionError("there is always one more passing")


def _cancel(number: int, at_s: float, kind: str = "cancel") -> Action:
    """Ask for the end of a run, or of all its tasks; a multiple of 8 would end the one who asks, too."""
    candidates = (which for which in range(number, 1 << 10, RUNS) if which % 8)
    if kind == "cancel_tasks":
        candidates = (which for which in candidates if which % 5 == EVERY_TASK)
    return Action(at_s, kind, next(candidates), 0.0)


def test_each_crash_point_is_walked() -> None:
    assert {*OTHERS, *SEARCHING, *CANCELLING, *DELETING} == CRASH_POINTS


async def test_a_life_that_has_come_to_its_end_at_a_crash_point_has_no_effect_any_more() -> None:
    cluster = SimulatedCluster(Random(1), lambda: BEGINNING)  # noqa: S311
    commands = SimulatedCommands(cluster)
    life, other = (Life(n, commands, Stir(), lambda _: None, lambda _: None) for n in ("one", "other"))

    with crashing([Crash("after_commit", 2)]) as left:
        with living(life):
            crash_point("after_commit")
            crash_point("before_commit")
        with living(other):
            crash_point("after_commit")
        assert not life.is_over, "each life is asked for its own passings"
        with living(life), pytest.raises(Died):
            crash_point("after_commit")
        crash_point("after_commit")

    assert (list(left), life.is_over, other.is_over) == ([], True, False)
    written: list[str] = []
    with pytest.raises(Died):
        await life.run_blocking(written.append, "late")
    with pytest.raises(Died):
        await life.run_command(["sbatch"], timeout_s=1)
    assert written == []
    assert commands.counts == {}
