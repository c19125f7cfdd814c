"""Two engine processes on one root, of which one is killed: the other one goes on with all that is left."""

from pathlib import Path
from typing import Final

from tests.support.command import PATIENCE_S, Running
from tests.support.polling import wait_until
from tests.support.torture import Plan, Torture
from tests.support.trials import SLUG, Lease, Trial

RUNS: Final = 20
SEATS: Final = 4
TASKS: Final = ("quick", "waits")


def _serve(trial: Trial) -> Running:
    return trial.command_line.start("run", "loop", "--until-done")


def _held_by(leases: dict[str, Lease], engine: Running) -> set[str]:
    return {run_id for run_id, lease in leases.items() if lease.pid == engine.process.pid}


def test_when_one_of_two_engines_is_killed_the_other_one_completes_all_runs(local_trial: Trial) -> None:
    trial = local_trial
    # Of each run the last task waits, so that no run has ended when the engine dies.
    tasks = [trial.task("quick"), trial.task("waits", trial.diary.gate(), depends_on=["quick"])]
    trial.write(tasks, max_jobs=SEATS)
    runs = [trial.new_run() for _ in range(RUNS // 4)]
    first = _serve(trial)
    wait_until(lambda: _held_by(trial.leases(), first) == set(runs), PATIENCE_S, "the first engine")
    second = _serve(trial)
    runs += [trial.new_run() for _ in range(RUNS - len(runs))]  # for whoever is first

    def all_are_held() -> bool:
        return _held_by(trial.leases(), first) | _held_by(trial.leases(), second) == set(runs)

    wait_until(all_are_held, PATIENCE_S, "the engines to share the runs")
    wait_until(lambda: trial.place.live() == SEATS, PATIENCE_S, "all seats to be taken")
    before = trial.leases()

    first.kill()
    trial.diary.open()
    done = second.wait()

    assert done.exit_code == 0, done.stderr
    trial.assert_completed(runs, TASKS, max_jobs=SEATS)
    bereft = _held_by(before, first)
    assert bereft >= set(runs[: RUNS // 4])
    # An epoch for each holder: nobody but the dead one's heir ever took a run away from anybody.
    assert {run_id: lease.epoch for run_id, lease in before.items()} == dict.fromkeys(runs, 1)
    after = {run_id: lease.epoch for run_id, lease in trial.leases().items()}
    assert after == {run_id: 2 if run_id in bereft else 1 for run_id in runs}
    assert {lease.pid for lease in trial.leases().values()} == {None}


def test_caps_hold_over_two_engines_that_are_killed_in_turns(trial: Trial, tmp_path: Path) -> None:
    plan = Plan(tasks=24, runs=6, engines=2, kills=6, cap=SEATS, seed=5, longest_life_s=2.0)

    found = Torture(trial, plan, tmp_path / "torture").run()

    assert found.broken() == [], found
    assert found.holders > 1


def test_runs_of_two_engines_are_amended_and_each_takes_up_its_own(local_trial: Trial) -> None:
    trial = local_trial
    gate = trial.diary.gate()
    tasks = [
        trial.task("works", gate),
        trial.task("waits", 'echo "$GIVEN $SITE" > out', depends_on=["works"], outputs=["out"]),
    ]
    trial.write(tasks, max_jobs=SEATS)
    runs = [trial.new_run() for _ in range(2)]
    engines = [trial.command_line.start("run", "loop", "--until-done", run_id) for run_id in runs]

    def each_has_its_own() -> bool:
        leases = trial.leases()
        return all(_held_by(leases, engine) == {run} for engine, run in zip(engines, runs, strict=True))

    wait_until(each_has_its_own, PATIENCE_S, "an engine for each run")
    wait_until(lambda: len(trial.diary.started()) == 2, PATIENCE_S, "both jobs")

    for run_id in runs:
        amend = ("run", "amend", run_id, "--yes")
        trial.command_line.ok(*amend, "waits", "--set", f"env.GIVEN={run_id}")
        trial.command_line.ok(*amend, "--config", f'backends.local.prologue=["export SITE={run_id}"]')
        trial.command_line.ok(*amend, "--config", "backends.local.max_jobs=1")
    trial.diary.open()

    assert [engine.wait().exit_code for engine in engines] == [0, 0]
    for run_id in runs:
        out = trial.command_line.run_folder(SLUG, run_id) / "tasks" / "waits" / "1" / "out"
        assert out.read_text() == f"{run_id} {run_id}\n"
        assert [len(task["attempts"]) for task in trial.command_line.tasks(run_id).values()] == [1, 1]
    assert trial.most_live_in_the_store(runs) == 2, "no job was ended when the cap came down"
