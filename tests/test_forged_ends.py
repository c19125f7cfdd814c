"""Jobs that forge the end of another task: that one runs all the same, and its end is its own.

Each is tried on a real engine, here and on a real Slurm (`tests.test_forged_ends_over_ssh`: behind ssh).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from matterstack.storage.crash_points import CRASH_VARIABLE, CRASHED
from matterstack.storage.leases import boot_id
from tests.support.command import PATIENCE_S
from tests.support.places import OnSlurm
from tests.support.polling import wait_until
from tests.support.trials import SLUG, Trial

HONEST: Final = "echo '{\"energy\": 1}' > result.json; echo mine > out.dat"
FORGED: Final = {"energy": 666}
FORGED_ID: Final[Mapping[str, str]] = {"local": f"1.0.{boot_id()[:8]}", "cluster": "999999"}
"""What names no job, and has the form of one."""


def forge(folder: Path, place: str) -> None:
    """Put into a folder all that a job leaves in its own which has ended well."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "claim").mkdir(exist_ok=True)
    (folder / "claim" / "job_id").write_text(f"{FORGED_ID[place]}\n")
    record = {
        "exit_code": 0,
        "started_at": "2026-01-02T03:04:05.000000Z",
        "ended_at": "2026-01-02T03:04:06.000000Z",
        "host": "forger",
        "job_id": FORGED_ID[place],
    }
    (folder / "exit.json").write_text(json.dumps(record))
    (folder / "result.json").write_text(json.dumps(FORGED))
    (folder / "out.dat").write_text("forged\n")
    (folder / "more.dat").write_text("forged\n")


def folder_of(trial: Trial, run: str, task: str, n: int = 1) -> Path:
    """Where an attempt works."""
    return trial.command_line.run_folder(SLUG, run) / "tasks" / task / str(n)


def task_of(trial: Trial, run: str, task: str) -> Mapping[str, Any]:
    """A task as the store has it."""
    found: Mapping[str, Any] = trial.command_line.tasks(run)[task]
    return found


def data_of(trial: Trial, run: str, task: str) -> Any:
    """What a task has handed to ``analyze``, as its last fact has it."""
    ended = [
        event["data"]
        for event in trial.command_line.events(run)
        if event["type"] in {"TaskSucceeded", "TaskFailed"} and event["data"]["task_id"] == task
    ]
    return ended[-1].get("data")


def outputs_of(trial: Trial, run: str, task: str) -> list[str]:
    """Paths of what a task is said to have left."""
    ended = [
        event["data"]
        for event in trial.command_line.events(run)
        if event["type"] in {"TaskSucceeded", "TaskFailed"} and event["data"]["task_id"] == task
    ]
    return [output["path"] for output in ended[-1].get("outputs", ())]


def crash(trial: Trial, point: str, run: str) -> None:
    """Let an engine die there."""
    died = trial.command_line.run("run", "loop", "--until-done", run, env={CRASH_VARIABLE: f"{point}:1"})
    assert died.exit_code == CRASHED, died


def assert_honest(trial: Trial, run: str, task: str = "victim") -> None:
    """The task has run, once, and what is known of it is what it did."""
    assert trial.diary.started().count(f"{run}/{task}") == 1
    assert task_of(trial, run, task)["status"] == "SUCCEEDED"
    assert data_of(trial, run, task) == {"energy": 1}
    assert outputs_of(trial, run, task) == ["out.dat"]
    folder = folder_of(trial, run, task, len(task_of(trial, run, task)["attempts"]))
    assert (folder / "out.dat").read_text() == "mine\n"


@pytest.mark.parametrize("point", ["after_prepared", "inside_staging", "after_staging", "before_submit"])
def test_the_end_that_is_planted_while_no_engine_lives_between_intent_and_submission_is_not_believed(
    trial: Trial, point: str
) -> None:
    trial.write([trial.task("victim", HONEST, outputs=["*.dat"])], max_jobs=1)
    run = trial.new_run()
    crash(trial, point, run)
    forge(folder_of(trial, run, "victim"), trial.place.name)

    trial.finish()

    assert_honest(trial, run)
    trial.assert_completed([run], ["victim"], max_jobs=1)


def test_a_job_whose_engine_died_after_its_submission_is_not_taken_for_a_forged_one(trial: Trial) -> None:
    trial.write([trial.task("victim", f"{trial.diary.gate()}; {HONEST}", outputs=["*.dat"])], max_jobs=1)
    run = trial.new_run()
    crash(trial, "after_submit", run)
    wait_until(lambda: trial.diary.started() == [f"{run}/victim"], PATIENCE_S, "its job")
    folder = folder_of(trial, run, "victim")
    (folder / "checkpoint").touch()
    trial.diary.open()

    trial.finish()

    assert_honest(trial, run)
    assert (folder / "checkpoint").exists(), "the folder of a job that works is left alone"
    assert [path.name for path in folder.parent.iterdir()] == ["1"]
    trial.assert_completed([run], ["victim"], max_jobs=1)


def test_what_a_job_plants_in_the_place_of_anothers_first_folder_is_set_aside_and_told(trial: Trial) -> None:
    place = trial.place.name
    forger = trial.task("forger", f"mkdir ../../victim; cp -r {trial.diary.folder}/forged ../../victim/1")
    victim = trial.task("victim", HONEST, outputs=["*.dat"], depends_on=["forger"])
    forge(trial.diary.folder / "forged", place)
    trial.write([forger, victim], max_jobs=1)
    run = trial.new_run()

    trial.finish()

    assert_honest(trial, run)
    kept = folder_of(trial, run, "victim").with_name("1~set-aside-1")
    assert json.loads((kept / "result.json").read_text()) == FORGED, "nothing is lost"
    accepted = [e["data"] for e in trial.command_line.events(run) if e["type"] == "JobAccepted"]
    assert [one.get("set_aside") for one in accepted] == [[], ["tasks/victim/1~set-aside-1"]]
    trial.assert_completed([run], ["forger", "victim"], max_jobs=1)


def test_what_an_attempt_plants_for_the_next_one_is_not_the_next_ones(trial: Trial) -> None:
    """It fails, and leaves an end, a result and outputs for the second attempt, which fails as well."""
    forge(trial.diary.folder / "forged", trial.place.name)
    line = f"[ $MATTERSTACK_ATTEMPT = 2 ] || cp -r {trial.diary.folder}/forged ../2; exit 4"
    trial.write([trial.task("victim", line, outputs=["out.dat"], retries=1)], max_jobs=1)
    run = trial.new_run()

    trial.finish(expected=1)

    task = task_of(trial, run, "victim")
    assert (task["status"], [a["exit_code"] for a in task["attempts"]]) == ("FAILED", [4, 4])
    assert data_of(trial, run, "victim") is None
    assert outputs_of(trial, run, "victim") == []


def _a_link(path: Path, outside: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(outside)


def _a_file(path: Path, _outside: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("in the way\n")


@pytest.mark.parametrize("what", [_a_link, _a_file])
@pytest.mark.parametrize("level", ["attempt", "task", "tasks"])
def test_what_lies_in_the_place_of_a_folder_is_set_aside_whatever_it_is(
    local_trial: Trial, level: str, what: Callable[[Path, Path], None], tmp_path: Path
) -> None:
    trial = local_trial
    trial.write([trial.task("victim", HONEST, outputs=["*.dat"])], max_jobs=1)
    run = trial.new_run()
    outside = tmp_path / "outside"
    (outside / "victim" / "1").mkdir(parents=True)
    (outside / "1").mkdir()
    folder = folder_of(trial, run, "victim")
    path = {"attempt": folder, "task": folder.parent, "tasks": folder.parents[1]}[level]
    what(path, {"attempt": outside / "1", "task": outside / "victim", "tasks": outside}[level])

    trial.finish()

    assert_honest(trial, run)
    assert os.path.lexists(path.with_name(f"{path.name}~set-aside-1"))
    assert sorted(p.name for p in outside.rglob("*")) == ["1", "1", "victim"], "nothing is written there"


def test_what_is_planted_while_a_job_waits_in_the_queue_is_not_its_own(trial: Trial) -> None:
    """On Slurm the jobs are held, as one array; here is no queue, so the engine dies before it submits."""
    names = ["t0", "victim", "t2"]
    tasks = [trial.task(name, HONEST, outputs=["*.dat"]) for name in names]
    if trial.place.name == "local":
        trial.write(tasks, max_jobs=3)
        run = trial.new_run()
        crash(trial, "before_submit", run)
        forge(folder_of(trial, run, "victim"), "local")
        trial.finish()
    else:
        for task in tasks:
            task["resources"] = {**task["resources"], "extra": {"hold": ""}}
        trial.write(tasks, max_jobs=3)
        run = trial.new_run()
        engine = trial.command_line.start("run", "loop", "--until-done")
        wait_until(
            lambda: [a["job_id"] is not None for a in trial.attempts([run])] == [True] * 3,
            PATIENCE_S,
            "three jobs",
        )
        jobs = {name: task_of(trial, run, name)["attempts"][0]["job_id"] for name in names}
        assert len({job_id.partition("_")[0] for job_id in jobs.values()}) == 1, "they are one array"
        folder = folder_of(trial, run, "victim")
        forge(folder, "cluster")
        # As one who has read which job it is.
        (folder / "claim" / "job_id").write_text(f"{jobs['victim']}\n")
        record = json.loads((folder / "exit.json").read_text())
        (folder / "exit.json").write_text(json.dumps({**record, "job_id": jobs["victim"]}))
        assert isinstance(trial.place, OnSlurm)
        trial.place.cluster.run("scontrol", "release", jobs["victim"].partition("_")[0])
        assert engine.wait().exit_code == 0, engine.stderr

    for name in names:
        assert_honest(trial, run, name)
    ends = {task_of(trial, run, name)["attempts"][0]["reason"]: name for name in names}
    told = [reason for reason in ends if "set aside" in reason]
    assert [ends[reason] for reason in told] == ["victim"]
    log = (folder_of(trial, run, "victim") / "scheduler.log").read_text()
    for name in ("claim", "exit.json", "result.json", "out.dat", "more.dat"):
        assert f": {name} lay in " in log
    trial.assert_completed([run], names, max_jobs=3)
