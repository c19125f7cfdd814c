"""The engine dies at each of the named places on the simulated cluster, too; nothing is lost or done twice.

The judge of the simulation, which knows the truth of the cluster, says so, and so does `matterstack check`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Final

import pytest

from matterstack.storage.crash_points import CRASH_POINTS, crash_point
from tests.simulated_cluster.cluster import SimulatedCluster
from tests.simulated_cluster.programs import SimulatedCommands
from tests.simulation.mortal import Died, Life, Stir, crashing, living
from tests.simulation.scenario import DAY_S, EVERY_TASK, Action, Crash
from tests.simulation.walk import RUNS, TASKS, Late, walk
from tests.simulation.world import BEGINNING, Outcome

PASSINGS: Final = (1, 3)

CANCELLING: Final = ("before_cancel", "after_cancel")
COMMITTING: Final = ("before_commit", "inside_commit", "after_commit")
SEARCHING: Final = ("after_search",)
DELETING: Final = ("before_removal",)
"""No engine passes it: see `tests/cli/test_run_delete.py`."""
OTHERS: Final = sorted(CRASH_POINTS.difference(CANCELLING, SEARCHING, DELETING))
LEAVES_NO_JOB: Final = "before_submit"
LEAVES_A_JOB: Final = "after_submit"


def _assert_all_was_done_once(outcome: Outcome, crashes: Sequence[Crash]) -> None:
    assert outcome.crashes_left == (), "it was never there so often"
    assert outcome.deaths == len(crashes)
    assert outcome.statuses == ("COMPLETED",) * RUNS
    assert Counter(outcome.worked.values()) == {1: RUNS * len(TASKS)}
    assert outcome.jobs == RUNS * len(TASKS), "no second job was ever submitted for an attempt"


@pytest.mark.parametrize("point", OTHERS)
def test_an_engine_that_dies_at_a_crash_point_loses_nothing_and_does_nothing_twice(point: str) -> None:
    crashes = [Crash(point, passing) for passing in PASSINGS]

    outcome = walk(crashes)

    _assert_all_was_done_once(outcome, crashes)


@pytest.mark.parametrize("passing", PASSINGS)
@pytest.mark.parametrize("left", [LEAVES_A_JOB, LEAVES_NO_JOB])
@pytest.mark.parametrize("point", SEARCHING)
def test_an_engine_that_dies_when_it_has_searched_starts_no_second_job_and_forgets_none(
    point: str, left: str, passing: int
) -> None:
    # In each of its lives but the last it leaves one more attempt behind of which it does not know.
    crashes = [*(Crash(left, 1) for _ in range(passing)), Crash(point, 1), Crash(left, 1), Crash(point, 1)]

    outcome = walk(crashes)

    _assert_all_was_done_once(outcome, crashes)


@pytest.mark.parametrize("point", CANCELLING)
def test_a_run_that_was_being_cancelled_when_the_engine_died_is_cancelled_and_leaves_no_job(
    point: str,
) -> None:
    crashes = [Crash(point, passing) for passing in PASSINGS]
    cancels = [_cancel(number, at_s=1800.0 * (number + 1)) for number in range(RUNS)]

    outcome = walk(crashes, work_s=10 * DAY_S, actions=cancels)

    assert outcome.crashes_left == ()
    assert outcome.deaths == len(crashes)
    assert outcome.statuses == ("CANCELLED",) * RUNS
    assert set(outcome.worked.values()) == {1}


@pytest.mark.parametrize("point", CANCELLING)
def test_a_cancelling_command_that_dies_itself_leaves_a_run_that_the_next_engine_cancels(point: str) -> None:
    actions = [Action(1800.0, "crash", 0, 0.0), *(_cancel(n, at_s=3600.0 + n) for n in range(RUNS))]

    outcome = walk([Crash(point)], work_s=10 * DAY_S, actions=actions, world_type=Late)

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
    return walk([Crash(point, 1, cancels[0].at_s)], work_s=10 * DAY_S, actions=cancels)


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
