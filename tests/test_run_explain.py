"""Stalls provoked for real: ``run explain`` names the root cause of each in its first line."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from matterstack.core.ids import BackendName
from matterstack.storage.backend_reports import definition_of, read_reports
from matterstack.storage.layout import Root
from matterstack.storage.schema import open_database
from tests.support.campaigns import Diary, write_tasks, write_workspace
from tests.support.command import PATIENCE_S, CommandLine, Running, command_line_in
from tests.support.disks import small_disk
from tests.support.explanations import await_cause, explained
from tests.support.on_terminal import on_terminal
from tests.support.polling import wait_until


def kinds(causes: Iterable[Mapping[str, Any]]) -> list[str]:
    return [cause["kind"] for cause in causes]


def serve(command_line: CommandLine, *run_ids: str) -> Running:
    return command_line.start("run", "loop", *run_ids)


def wait_for_start(diary: Diary, *tasks: str) -> None:
    wait_until(lambda: set(tasks) <= set(diary.started()), PATIENCE_S, f"the start of {tasks}")


def wait_for_job(command_line: CommandLine, run_id: str, task: str) -> None:
    """Return when the store knows that the task's job runs."""

    def runs() -> bool:
        attempts = command_line.tasks(run_id).get(task, {}).get("attempts", [])
        return any(attempt["state"] == "RUNNING" for attempt in attempts)

    wait_until(runs, PATIENCE_S, f"the job of {task}")


# ---- engines ----


def test_a_run_that_no_engine_serves(command_line: CommandLine, diary: Diary) -> None:
    write_tasks(command_line.root, "w", [diary.task("a", diary.gate()), diary.task("b", depends_on=["a"])])
    run_id = command_line.new_run("w")

    never, *none = explained(command_line, run_id)

    assert (never["kind"], never["blocks"], none) == ("no_engine", 0, [])
    assert never["action"] == f"matterstack run loop {run_id}"
    assert never["since"] == command_line.status(run_id)["created_at"]

    engine = serve(command_line)
    wait_for_job(command_line, run_id, "a")
    assert kinds(explained(command_line, run_id)) == ["job_running"]
    engine.kill()

    died = explained(command_line, run_id)[0]

    assert (died["kind"], died["blocks"]) == ("no_engine", 2)
    assert f"process {engine.process.pid}" in died["message"]


def test_a_run_whose_engine_was_stopped_with_ctrl_z(command_line: CommandLine, diary: Diary) -> None:
    write_tasks(command_line.root, "w", [diary.task("a", diary.gate())])
    run_id = command_line.new_run("w")
    engine = serve(command_line, run_id)
    wait_for_start(diary, "a")

    engine.signal(signal.SIGSTOP)
    held = await_cause(command_line, run_id, "lease_held")[0]

    assert (held["blocks"], held["action"]) == (1, f"kill -CONT {engine.process.pid}")
    assert f"process {engine.process.pid} on {os.uname().nodename}" in held["message"]
    engine.signal(signal.SIGCONT)
    assert await_cause(command_line, run_id, "job_running")[0]["blocks"] == 1


def test_a_run_that_an_engine_of_another_machine_holds(command_line: CommandLine, diary: Diary) -> None:
    write_tasks(command_line.root, "w", [diary.task("a")])
    run_id = command_line.new_run("w")
    with closing(open_database(command_line.root / ".matterstack" / "state.db")) as store:
        store.execute(
            "UPDATE runs SET lease_host = 'login2', lease_boot_id = 'another', lease_pid = 4711, "
            "lease_epoch = lease_epoch + 1"
        )

    held = explained(command_line, run_id)[0]

    assert held["kind"] == "lease_held"
    assert "process 4711 on login2" in held["message"]
    breaks = held["action"].splitlines()[-1].split()
    assert breaks[0] == "matterstack"
    command_line.ok(*breaks[1:])
    assert kinds(explained(command_line, run_id)) == ["no_engine"]


# ---- what people did, and campaigns ----


def test_a_paused_run(command_line: CommandLine, diary: Diary) -> None:
    tasks = [diary.task("a", diary.gate()), diary.task("b", depends_on=["a"]), diary.task("c")]
    write_tasks(command_line.root, "w", tasks, max_jobs=1)
    run_id = command_line.new_run("w")
    serve(command_line, run_id)
    wait_for_start(diary, "a")

    command_line.ok("run", "pause", run_id, "--reason", "the beam is down")
    pause, running = explained(command_line, run_id)

    assert (pause["kind"], pause["blocks"], running["kind"]) == ("paused", 2, "job_running")
    paused_at = next(e["at"] for e in command_line.events(run_id) if e["type"] == "RunPaused")
    assert pause["since"] == paused_at
    assert ": the beam is down" in pause["message"]
    resume = pause["action"].split()
    assert resume[0] == "matterstack"
    command_line.ok(*resume[1:])
    assert "paused" not in kinds(explained(command_line, run_id))


def test_a_task_that_waits_for_another_try(command_line: CommandLine, diary: Diary) -> None:
    write_tasks(command_line.root, "w", [diary.task("a", f"{diary.gate()}; exit 4", retries=2)])
    run_id = command_line.new_run("w")
    serve(command_line, run_id)
    wait_for_start(diary, "a")
    command_line.ok("run", "pause", run_id)
    diary.open()
    wait_until(lambda: command_line.tasks(run_id)["a"]["status"] == "READY", PATIENCE_S, "the end of the job")

    pause, retry = explained(command_line, run_id)

    assert (pause["kind"], retry["kind"], retry["blocks"]) == ("paused", "retry_waiting", 1)
    assert retry["message"] == "task a waits for try 2 of 3 after error: its job ended with exit code 4"
    assert retry["since"] == command_line.tasks(run_id)["a"]["attempts"][0]["ended_at"]


def test_another_try_that_waits_for_its_turn_is_the_first_thing_to_be_told(
    command_line: CommandLine, diary: Diary
) -> None:
    mine = [diary.task("a", f"{diary.gate('first')}; exit 4", retries=1)]
    write_tasks(command_line.root, "mine", mine, max_jobs=1)
    write_tasks(command_line.root, "other", [diary.task("b", diary.gate("second"))], max_jobs=1)
    run_id = command_line.new_run("mine")
    serve(command_line)
    wait_for_start(diary, "a")
    other = command_line.new_run("other")
    wait_until(lambda: command_line.status(other)["tasks"]["READY"] == 1, PATIENCE_S, "the other run")
    await_cause(command_line, other, "backend_cap")
    diary.open("first")
    wait_for_start(diary, "b")

    retry, cap = await_cause(command_line, run_id, "retry_waiting")

    assert (retry["blocks"], cap["kind"], cap["blocks"]) == (1, "backend_cap", 1)
    assert retry["message"] == "task a waits for try 2 of 2 after error: its job ended with exit code 4"


def test_a_task_that_failed_with_others_behind_it(command_line: CommandLine, diary: Diary) -> None:
    tasks = [
        diary.task("bad", "exit 3"),
        diary.task("next", depends_on=["bad"]),
        diary.task("last", depends_on=["next"]),
        diary.task("good", diary.gate()),
    ]
    write_tasks(command_line.root, "w", tasks)
    run_id = command_line.new_run("w")
    engine = serve(command_line, run_id)

    wait_for_job(command_line, run_id, "good")
    failed, running = await_cause(command_line, run_id, "task_failed")

    assert (failed["message"], failed["blocks"]) == ("task bad failed: its job ended with exit code 3", 2)
    assert running["kind"] == "job_running"
    diary.open()
    wait_until(lambda: command_line.status(run_id)["status"] == "FAILED", PATIENCE_S)
    assert [(c["kind"], c["blocks"]) for c in explained(command_line, run_id)] == [("task_failed", 2)]
    look, again = (line.split() for line in failed["action"].splitlines())
    command_line.ok(*look[1:])
    command_line.ok(*again[1:])
    assert "RunReopened" in command_line.event_types(run_id)
    engine.kill()


def test_a_campaign_that_cannot_plan(command_line: CommandLine) -> None:
    broken = "def get_campaign():\n    raise RuntimeError('no pseudopotential for Lv')\n"
    write_workspace(command_line.root, "w", broken)
    run_id = command_line.new_run("w")
    command_line.run("run", "loop", "--until-done", run_id)

    failed = explained(command_line, run_id)[0]

    assert failed["kind"] == "planning_failed"
    assert "no pseudopotential for Lv" in failed["message"]
    assert failed["action"].endswith(f"matterstack run retry {run_id}")
    assert Path(failed["action"].splitlines()[0].removeprefix("tail ")).is_file()


@pytest.mark.parametrize(("method", "kind"), [("plan", "planning"), ("analyze", "analysis")])
def test_a_campaign_that_thinks(command_line: CommandLine, diary: Diary, method: str, kind: str) -> None:
    campaign = f"""
    import time
    from pathlib import Path
    from matterstack import Task, Workflow

    def think(method):
        if method == {method!r}:
            Path({str(diary.folder)!r}, "thinking").touch()
            while not Path({str(diary.folder)!r}, "gate").exists():
                time.sleep(0.05)

    class Slow:
        def plan(self, state, results):
            think("plan")
            return None if state else Workflow([Task("a", command=["true"])])

        def analyze(self, state, results):
            think("analyze")
            return {{"done": True}}

    def get_campaign():
        return Slow()
    """
    write_workspace(command_line.root, "w", campaign)
    run_id = command_line.new_run("w")
    engine = serve(command_line, run_id)
    wait_until((diary.folder / "thinking").exists, PATIENCE_S, "the campaign")

    thinking = explained(command_line, run_id)

    assert kinds(thinking) == [kind]
    assert "iteration 1" in thinking[0]["message"]
    diary.open()
    wait_until(lambda: command_line.status(run_id)["status"] == "COMPLETED", PATIENCE_S)
    assert kinds(explained(command_line, run_id)) == ["completed"]
    engine.kill()


def test_a_cancelled_run(command_line: CommandLine) -> None:
    write_tasks(command_line.root, "w", [])
    run_id = command_line.new_run("w")
    command_line.ok("run", "cancel", run_id, "--reason", "wrong element")

    (cancelled,) = explained(command_line, run_id)

    assert cancelled["kind"] == "cancelled"
    assert ": wrong element" in cancelled["message"]


# ---- caps ----


def test_the_cap_of_the_run(command_line: CommandLine, diary: Diary) -> None:
    write_tasks(command_line.root, "w", [diary.task(n, diary.gate()) for n in "abc"], max_jobs=5, cap=2)
    run_id = command_line.new_run("w")
    serve(command_line, run_id)
    wait_for_start(diary, "a", "b")

    cap = await_cause(command_line, run_id, "run_cap")[0]

    assert (cap["blocks"], cap["since"] is not None) == (1, True)
    assert "no more than 2 at once (max_hpc_jobs_per_run)" in cap["message"]


def test_what_an_engine_reports_is_found_by_the_definition_that_the_run_has_frozen(
    command_line: CommandLine, diary: Diary
) -> None:
    folder = write_tasks(command_line.root, "w", [diary.task("a", diary.gate())])
    backend = {"type": "local", "max_jobs": 2, "prologue": ["export A=b"]}
    (folder / "config.json").write_text(json.dumps({"backends": {"local": backend}}))
    run_id = command_line.new_run("w")
    serve(command_line, run_id)
    wait_for_start(diary, "a")

    frozen = json.loads((command_line.run_folder("w", run_id) / "config.json").read_text())
    reports = read_reports(Root(command_line.root))

    assert [r.definition for r in reports] == [
        definition_of(BackendName("local"), frozen["backends"]["local"])
    ]


def test_the_cap_of_the_backend_whose_seats_another_engines_run_has(
    command_line: CommandLine, diary: Diary
) -> None:
    noted = {**diary.task("$MATTERSTACK_RUN_ID", diary.gate()), "id": "a"}
    write_tasks(command_line.root, "w", [noted], max_jobs=1)
    first, second = command_line.new_run("w"), command_line.new_run("w")
    holder = serve(command_line, first)
    wait_for_start(diary, first)
    serve(command_line, second)
    wait_until(lambda: command_line.status(second)["tasks"]["READY"] == 1, PATIENCE_S, "the second run")

    cap = await_cause(command_line, second, "backend_cap")[0]

    assert (cap["blocks"], cap["needs_person"]) == (1, False)
    assert f"1 by run {first} (process {holder.process.pid} on {os.uname().nodename})" in cap["message"]
    assert "the only seat of backend local (max_jobs) is taken" in cap["message"]


# ---- the disk ----


@pytest.mark.usefixtures("processes")
def test_a_full_disk_with_and_without_an_engine(tmp_path: Path, diary: Diary) -> None:
    with command_line_in(tmp_path) as command_line, small_disk(command_line.root, "4m") as disk:
        command_line.wrapper = disk.wrapper
        write_tasks(disk.path, "w", [diary.task("a", diary.gate())])
        root = command_line.root

        def causes() -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = command_line.run(
                "run", "explain", run_id, "--json", root=root
            ).json["causes"]
            return found

        run_id = command_line.run("run", "init", "w", root=root).stdout.strip()
        disk.fill()
        assert kinds(causes()) == ["disk_full", "no_engine"]
        disk.make_room()
        engine = command_line.start("--root", str(root), "run", "loop", run_id)
        wait_for_start(diary, "a")
        disk.fill()

        full = causes()[0]

        assert (full["kind"], full["blocks"], full["needs_person"]) == ("disk_full", 1, True)
        assert full["action"] == f"df -h {root}"
        disk.make_room()
        assert "disk_full" not in kinds(causes())
        engine.kill()
        command_line.shut_down()


# ---- for people ----


def test_people_are_told_the_same_in_lines_that_fit_their_terminal(
    command_line: CommandLine, diary: Diary
) -> None:
    tasks = [diary.task("bad", "exit 3"), *(diary.task(f"behind-{n}", depends_on=["bad"]) for n in range(3))]
    write_tasks(command_line.root, "w", tasks)
    run_id = command_line.new_run("w")
    command_line.run("run", "loop", "--until-done", run_id)

    plain = command_line.ok("run", "explain", run_id).splitlines()
    shown = _on_terminal(command_line, 80, "run", "explain", run_id)

    assert plain[0] == f"{run_id} w FAILED, 4 of 4 tasks have ended"
    assert plain[2] == "1. task bad failed: its job ended with exit code 3"
    assert plain[3].endswith("3 tasks wait for it")
    assert plain[-1] == f"     matterstack run retry {run_id} bad"
    assert _words(plain) == _words(shown)
    commands = [line for line in shown if line.startswith("     matterstack ")]
    assert len(commands) == 2
    assert all(len(line) <= 80 for line in shown if line not in commands)


def _words(lines: Iterable[str]) -> list[str]:
    """All words, however they are spread over lines; but for how long ago something was."""
    return re.sub(r"\([0-9]+ s\)", "", " ".join(lines)).split()


def _on_terminal(command_line: CommandLine, columns: int, *arguments: str) -> list[str]:
    done = on_terminal(command_line, *arguments, COLUMNS=str(columns))
    assert done.exit_code == 0, done.stdout
    return done.stdout.splitlines()


def test_a_run_that_is_not_there_is_an_error(command_line: CommandLine) -> None:
    write_tasks(command_line.root, "w", [])
    command_line.new_run("w")

    done = command_line.run("run", "explain", "20260101T000000-abcdef", "--json")

    assert (done.exit_code, done.error["code"]) == (3, "not_found")
