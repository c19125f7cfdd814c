"""An engine that is killed again and again, at any moment: every task is done, and none is done twice.

A long form of it is `benchmarks/torture.py`.
"""

from pathlib import Path

from tests.support.torture import Plan, Torture
from tests.support.trials import Trial


def test_an_engine_that_is_killed_at_random_loses_no_task_and_does_none_twice(
    trial: Trial, tmp_path: Path
) -> None:
    plan = Plan(tasks=60, kills=8, cap=8, seed=2, longest_life_s=2.0)

    found = Torture(trial, plan, tmp_path / "torture").run()

    assert found.broken() == [], found
