"""An engine that is killed again and again, at any moment: every task is done, and none is done twice.

A long form of it is `benchmarks/torture.py`.
"""

import os
import shlex
import shutil
from pathlib import Path
from typing import Final

import pytest

from tests.support.command import PATIENCE_S
from tests.support.polling import wait_until
from tests.support.process import Process
from tests.support.torture import Plan, Torture
from tests.support.trials import Trial

LONG_ENOUGH: Final = 15
"""In how many looks in a row a lock that is merely taken and let go is not seen."""


def test_an_engine_that_is_killed_at_random_loses_no_task_and_does_none_twice(
    trial: Trial, tmp_path: Path
) -> None:
    plan = Plan(tasks=60, kills=8, cap=8, seed=2, longest_life_s=2.0)

    found = Torture(trial, plan, tmp_path / "torture").run()

    assert found.broken() == [], found


@pytest.mark.parametrize("trial", ["slurm"], indirect=True)
def test_an_engine_waits_for_the_submission_that_the_one_before_it_left_behind(
    trial: Trial, tmp_path: Path
) -> None:
    tasks = [f"t{i}" for i in range(3)]
    trial.write([trial.task(task) for task in tasks], max_jobs=3)
    run = trial.new_run()
    calls = _hold_submissions_at_a_gate(trial, tmp_path / "shims")
    first = trial.command_line.start("run", "loop", "--until-done")
    wait_until(calls.exists, PATIENCE_S, "a submission")
    first.kill()

    second = trial.command_line.start("run", "loop", "--until-done")
    engine = Process.of(second.process.pid)
    assert engine is not None, second.stderr
    lock = str(trial.command_line.root / ".matterstack" / "locks" / f"submit-{trial.place.name}.lock")
    seen: list[bool] = []

    def waits() -> bool:
        seen.append(lock in engine.open_files)
        return (len(seen) >= LONG_ENOUGH and all(seen[-LONG_ENOUGH:])) or _lines(calls) > 1

    wait_until(waits, PATIENCE_S, "the second engine to look for jobs")
    assert _lines(calls) == 1, "it submits before the first submission has ended"
    trial.diary.open()

    assert second.wait().exit_code == 0, second.stderr
    assert _lines(calls) == 1
    assert len(trial.place.jobs()) == len(tasks)
    trial.assert_completed([run], tasks, max_jobs=3)


def _hold_submissions_at_a_gate(trial: Trial, folder: Path) -> Path:
    """Put an sbatch into the way of engines that waits at the gate; returns the file with a line per call."""
    folder.mkdir()
    calls, shim, real = folder / "calls", folder / "sbatch", shutil.which("sbatch")
    assert real is not None, "Slurm is there, but sbatch is not"
    script = f'#!/bin/bash\necho >> {calls}\n{trial.diary.gate()}\nexec {shlex.quote(real)} "$@"\n'
    shim.write_text(script)
    shim.chmod(0o755)
    trial.command_line.wrapper = ("env", f"PATH={folder}:{os.environ['PATH']}")
    return calls


def _lines(file: Path) -> int:
    return len(file.read_text().splitlines())
