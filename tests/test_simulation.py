"""Whole engines on a simulated cluster, for virtual days full of faults: every promise holds.

`make soak SEEDS=1000` plays more of them.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from typing import Final

import pytest

from tests.simulation.scenario import DAY_S
from tests.simulation.soak import replay_line
from tests.simulation.world import BrokenPromiseError, Outcome, play

SEEDS: Final = 30
GROUP: Final = 15


@pytest.mark.parametrize("first", range(0, SEEDS, GROUP))
def test_promises_hold_over_virtual_days_of_faults_and_crashes(first: int) -> None:
    outcomes: list[Outcome] = []
    for seed in range(first, first + GROUP):
        try:
            outcomes.append(play(seed))
        except BrokenPromiseError as error:
            pytest.fail(f"seed {seed}: {error}\nreplay it: {replay_line(seed)}")

    assert all(outcome.virtual_s >= DAY_S for outcome in outcomes)
    assert sum(outcome.deaths for outcome in outcomes) >= GROUP, (
        "engines must have died in the middle of work"
    )
    assert sum(outcome.jobs for outcome in outcomes) >= 5 * GROUP
    assert {"COMPLETED", "FAILED"} <= {status for outcome in outcomes for status in outcome.statuses}


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("seed", [3])
def test_a_seed_is_the_same_again_also_in_another_process(seed: int) -> None:
    program = f"from tests.test_simulation import digest, play; print(digest(play({seed})))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )

    first, again = play(seed), play(seed)

    assert first == again
    assert done.stdout.strip() == digest(first)
    assert first != play(seed + 1)


@pytest.mark.usefixtures("processes")
def test_a_replay_tells_all_that_happened() -> None:
    outcome = play(5)

    done = subprocess.run(
        [sys.executable, "-m", "tests.simulation", "5"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "seed 5: all promises held" in done.stdout
    assert all(f"{run} {kind} {data}" in done.stdout for _at, run, kind, data in outcome.history)


def digest(outcome: Outcome) -> str:
    """One word for everything that happened."""
    return hashlib.sha256(repr((outcome.history, outcome.diary)).encode()).hexdigest()
