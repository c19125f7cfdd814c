"""The engine dies at each of the named places, at the first passing and at a later one; nothing is lost.

What must be true after a restart is in `tests.support.trials.Trial.assert_completed`.
"""

import ast
import fcntl
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

import matterstack.actors
import matterstack.backends
from matterstack.storage.crash_points import CRASH_POINTS, CRASH_VARIABLE, CRASHED
from tests.support.command import PATIENCE_S, CommandLine, Running
from tests.support.polling import wait_until
from tests.support.trials import Trial

PASSINGS: Final = (1, 3)
PASSING_AT: Final = {"local": 3, "cluster": 1}
"""Each point is walked once here and once on Slurm, and both passings of it on the simulated cluster."""
MAX_JOBS: Final = 4
CHAIN: Final = ("c0", "c1", "c2")
TASKS: Final = (*CHAIN, "loose")

CANCELLING: Final = ("before_cancel", "after_cancel")
SEARCHING: Final = ("after_search",)
ONCE_PER_RUN: Final = ("after_lease", "before_release")
DELETING: Final = ("before_removal",)
"""No engine passes it: see `tests/cli/test_run_delete.py`."""
OTHERS: Final = sorted(CRASH_POINTS.difference(CANCELLING, SEARCHING, DELETING))
TOGETHER: Final = 6
"""At so many points engines die in one trial; the runs of the dead ones go on under the next."""


def _write_chain(trial: Trial) -> None:
    """Tasks one after the other, so that everything comes about several times, and one beside them."""
    before: dict[str, Sequence[str]] = dict(zip(CHAIN[1:], ([task] for task in CHAIN), strict=False))
    tasks = [trial.task(task, depends_on=before.get(task, [])) for task in TASKS]
    trial.write(tasks, max_jobs=MAX_JOBS)


def _crash(trial: Trial, point: str, passing: int, *run_ids: str) -> None:
    """Let an engine die there."""
    armed = {CRASH_VARIABLE: f"{point}:{passing}"}
    died = trial.command_line.run("run", "loop", "--until-done", *run_ids, env=armed)
    assert died.exit_code == CRASHED, f"{point} was not passed {passing} times: {died}"


@pytest.mark.parametrize("first", range(0, len(OTHERS), TOGETHER))
def test_engines_that_die_one_after_the_other_lose_nothing_and_do_nothing_twice(
    trial: Trial, first: int
) -> None:
    _write_chain(trial)
    runs: list[str] = []
    for point in OTHERS[first : first + TOGETHER]:
        passing = PASSING_AT[trial.place.name]
        runs += [trial.new_run() for _ in range(passing if point in ONCE_PER_RUN else 1)]
        _crash(trial, point, passing)

    trial.finish()

    trial.assert_completed(runs, TASKS, max_jobs=MAX_JOBS)


def test_an_engine_that_dies_when_it_has_found_a_job_that_nobody_knew_of_does_not_start_it_twice(
    trial: Trial,
) -> None:
    _write_chain(trial)
    run = trial.new_run()
    _crash(trial, "after_submit", 1)
    _crash(trial, "after_search", 1)

    trial.finish()

    trial.assert_completed([run], TASKS, max_jobs=MAX_JOBS)


def test_an_engine_that_dies_when_it_has_found_no_job_of_what_it_prepared_starts_one_of_each(
    trial: Trial,
) -> None:
    _write_chain(trial)
    seats = max(PASSINGS) * MAX_JOBS
    runs = [trial.new_run(f"backends.{trial.place.name}.max_jobs={seats}") for _ in range(max(PASSINGS))]
    with _no_submission_can_begin(trial):
        engine = trial.command_line.start("run", "loop")
        wait_until(lambda: all(trial.attempts([run]) for run in runs), PATIENCE_S, "attempts of all runs")
        engine.kill()
    assert trial.place.jobs() == []
    _crash(trial, "after_search", max(PASSINGS))

    trial.finish()

    trial.assert_completed(runs, TASKS, max_jobs=seats)


@contextmanager
def _no_submission_can_begin(trial: Trial) -> Iterator[None]:
    """Hold the submit lock, as a search does."""
    lock = trial.command_line.root / ".matterstack" / "locks" / f"submit-{trial.place.name}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.mark.parametrize("point", CANCELLING)
def test_a_run_that_was_being_cancelled_when_the_engine_died_is_cancelled_and_leaves_no_job(
    trial: Trial, point: str
) -> None:
    # At the first passing, on real jobs; `tests.test_simulation_crash_points` has both passings.
    command_line = trial.command_line
    trial.write([trial.task("waits", trial.diary.gate())], max_jobs=1)
    run = trial.new_run()
    command_line.wrapper = ("env", f"{CRASH_VARIABLE}={point}:1")
    armed = command_line.start("run", "loop", run)
    command_line.wrapper = ()
    _wait_for_jobs(trial, 1)
    asked = command_line.start("run", "cancel", run)
    _wait_for_cancel_or_crash(trial, run, armed)
    assert armed.wait().exit_code == CRASHED, f"{point} was not passed"

    # It ends with 1, as its run did not complete; who asked for its end is told so.
    command_line.run("run", "loop", "--until-done", run)
    assert asked.wait().exit_code == 0

    assert command_line.status(run)["status"] == "CANCELLED"
    assert trial.diary.started() == [f"{run}/waits"]
    assert trial.diary.ended() == []
    trial.assert_nothing_is_left([run], max_jobs=1)


def _wait_for_jobs(trial: Trial, count: int) -> None:
    wait_until(lambda: len(trial.diary.started()) == count, PATIENCE_S, f"{count} jobs")


def _wait_for_cancel_or_crash(trial: Trial, run_id: str, engine: Running) -> None:
    def is_over() -> bool:
        return engine.process.poll() is not None or trial.command_line.status(run_id)["status"] == "CANCELLED"

    wait_until(is_over, PATIENCE_S, "the end of the run or of the engine")


@pytest.mark.parametrize("point", CANCELLING)
def test_a_cancelling_command_that_dies_itself_leaves_a_run_that_the_next_engine_cancels(
    trial: Trial, point: str
) -> None:
    trial.write([trial.task("waits", trial.diary.gate())], max_jobs=1)
    run = trial.new_run()
    engine = trial.command_line.start("run", "loop", run)
    _wait_for_jobs(trial, 1)
    engine.kill()
    assert trial.place.live() == 1

    died = trial.command_line.run("run", "cancel", run, env={CRASH_VARIABLE: point})

    assert died.exit_code == CRASHED
    trial.finish(expected=1)
    assert trial.command_line.status(run)["status"] == "CANCELLED"
    trial.assert_nothing_is_left([run], max_jobs=1)


@pytest.mark.parametrize("point", ["inside_commit", "after_commit"])
def test_an_amending_command_that_dies_itself_leaves_an_amendment_that_is_made_once(
    local_trial: Trial, point: str
) -> None:
    trial = local_trial
    waits = trial.task("waits", trial.diary.gate())
    trial.write([waits, trial.task("then", depends_on=["waits"])], max_jobs=1)
    run = trial.new_run()
    engine = trial.command_line.start("run", "loop", run)
    _wait_for_jobs(trial, 1)
    engine.kill()
    words = ("run", "amend", run, "*", "--set", "env.LONGER=1", "--yes")

    died = trial.command_line.run(*words, env={CRASH_VARIABLE: point})

    assert died.exit_code == CRASHED
    trial.diary.open()
    trial.finish()
    trial.assert_completed([run], ["waits", "then"], max_jobs=1)
    events = trial.command_line.events(run)
    amended = [event["data"]["task_id"] for event in events if event["type"] == "TaskAmended"]
    assert amended == ["waits", "then"]
    prepared = [event["data"]["version"] for event in events if event["type"] == "AttemptPrepared"]
    assert prepared == [1, 2], "what was live went on as it was"


# ---- the points themselves ----


def _called() -> Iterator[tuple[str, object]]:
    """Where `crash_point` is called, and with what."""
    packages = (matterstack, matterstack.actors, matterstack.backends)  # two of them behind a symlink
    folders = [Path(str(package.__file__)).parent for package in packages]
    for source in sorted(source for folder in folders for source in folder.rglob("*.py")):
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, ast.Call) and _name(node.func) == "crash_point":
                argument = node.args[0] if len(node.args) == 1 else None
                yield (
                    f"{source}:{node.lineno}",
                    argument.value if isinstance(argument, ast.Constant) else None,
                )


def _name(function: ast.expr) -> str:
    return function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")


def test_each_crash_point_is_passed_somewhere_in_the_source_and_no_other_name_is() -> None:
    places: dict[object, list[str]] = defaultdict(list)
    for where, name in _called():
        places[name].append(where)

    assert CRASH_POINTS - places.keys() == set(), "nothing ever dies there"
    assert {name: where for name, where in places.items() if name not in CRASH_POINTS} == {}


def test_each_crash_point_is_walked() -> None:
    assert {*OTHERS, *SEARCHING, *CANCELLING, *DELETING} == CRASH_POINTS
    assert CRASH_POINTS.issuperset((*SEARCHING, *CANCELLING, *ONCE_PER_RUN))


@pytest.mark.parametrize(
    ("armed", "complaint"),
    [
        ("after_lunch", "there is no crash point 'after_lunch'"),
        (":2", "there is no crash point ''"),
        ("after_submit:0", "'0' is no number of a passing (1 is the first)"),
        ("after_submit:twice", "'twice' is no number of a passing (1 is the first)"),
    ],
)
def test_what_arms_no_crash_point_is_refused(command_line: CommandLine, armed: str, complaint: str) -> None:
    refused = command_line.run("run", "loop", "--until-done", env={CRASH_VARIABLE: armed})

    assert refused.exit_code == 2
    assert refused.stderr.startswith(f"Error: {CRASH_VARIABLE}={armed}: {complaint}")


def test_an_engine_without_an_armed_crash_point_passes_all_of_them(local_trial: Trial) -> None:
    _write_chain(local_trial)
    run = local_trial.new_run()

    done = local_trial.command_line.run("run", "loop", "--until-done", env={CRASH_VARIABLE: ""})

    assert done.exit_code == 0, done.stderr
    local_trial.assert_completed([run], TASKS, max_jobs=MAX_JOBS)
