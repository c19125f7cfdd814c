"""``run amend --config``: shown, asked for, taken up; also by an engine that finds it after a crash."""

from __future__ import annotations

import html
import json
import os
import pty
import subprocess
from pathlib import Path
from typing import Any

import pytest

from matterstack.storage.crash_points import CRASH_VARIABLE, CRASHED
from tests.support.campaigns import Diary, write_tasks
from tests.support.command import COMMAND, PATIENCE_S, CommandLine
from tests.support.polling import wait_until
from tests.support.slurm_cluster import SlurmCluster

FAST = {
    "type": "slurm",
    "max_jobs": 10,
    "poll_interval_s": 0.3,
    "grace_period_s": 0.5,
    "command_timeout_s": 20,
}
SAID: dict[str, Any] = {"id": "a", "command": ["sh", "-c", 'echo "$SAID" > said'], "outputs": ["said"]}


def config_of(command_line: CommandLine, run_id: str, slug: str = "demo") -> dict[str, Any]:
    """The config in the run's folder."""
    made: dict[str, Any] = json.loads((command_line.run_folder(slug, run_id) / "config.json").read_text())
    return made


def said(command_line: CommandLine, run_id: str, attempt: int = 1) -> str:
    folder = command_line.run_folder("demo", run_id) / "tasks" / "a" / str(attempt)
    return (folder / "said").read_text().strip()


def prologue(words: str) -> str:
    return f'backends.local.prologue=["export SAID={words}"]'


def test_the_difference_is_shown_and_nothing_is_changed_without_a_yes(command_line: CommandLine) -> None:
    write_tasks(command_line.root, "demo", [SAID])
    run_id = command_line.new_run("demo")
    amend = ("run", "amend", run_id, "--config", "priority=4", "--config", prologue("hello"))
    shown = [
        f"the config of run {run_id}, from now on:",
        "  priority: 1 -> 4",
        '  backends.local.prologue: [] -> ["export SAID=hello"]',
    ]
    unasked = command_line.run(*amend)
    assert (unasked.exit_code, unasked.stdout.splitlines()) == (2, shown)
    assert "--yes" in unasked.stderr
    as_json = command_line.run(*amend, "--json")
    assert (as_json.exit_code, as_json.stdout, as_json.error["code"]) == (2, "", "usage")
    assert config_of(command_line, run_id)["priority"] == 1

    done = command_line.run(*amend, "--yes", "--why", "a word")
    assert done.stdout.splitlines() == [*shown, f"run {run_id} is PENDING"]
    assert config_of(command_line, run_id)["priority"] == 4
    again = command_line.run(*amend)
    assert (again.exit_code, "nothing changes" in again.stdout) == (0, True)
    unchanged = command_line.json("run", "amend", run_id, "--config", "priority=4")
    assert unchanged["amended"]["config"] == []
    command_line.ok("run", "loop", run_id, "--until-done")
    assert said(command_line, run_id) == "hello"

    folder = Path(command_line.json("run", "export-evidence", run_id)["path"])
    assert command_line.json("evidence", "verify", str(folder), "--against-store")["ok"]
    assert json.loads((folder / "config.json").read_text())["priority"] == 4
    page = html.unescape((folder / "report.md").read_text())
    assert "amended the config: priority: 1 -> 4" in page
    assert "a word" in page


def test_the_document_has_each_change_old_and_new_beside_how_the_run_stands(
    command_line: CommandLine,
) -> None:
    write_tasks(command_line.root, "demo", [SAID])
    run_id = command_line.new_run("demo")
    settings = ("--config", "priority=4", "--config", 'backends.far={"type": "local"}')
    done = command_line.json("run", "amend", run_id, *settings, "--yes")
    assert (done["run_id"], done["status"], done["amended"]["notes"]) == (run_id, "PENDING", [])
    changes = {change["path"]: change for change in done["amended"]["config"]}
    assert changes["priority"] == {"path": "priority", "old": 1, "new": 4, "is_new": False, "is_gone": False}
    far = changes["backends.far"]
    assert (far["old"], far["new"]["type"], far["is_new"]) == (None, "local", True)


@pytest.mark.parametrize(("answer", "priority"), [("n", 1), ("y", 4)])
def test_on_a_terminal_it_asks(command_line: CommandLine, answer: str, priority: int) -> None:
    write_tasks(command_line.root, "demo", [SAID])
    run_id = command_line.new_run("demo")
    here, there = pty.openpty()
    words = [str(COMMAND), "--root", str(command_line.root), "run", "amend", run_id, "--config", "priority=4"]
    asking = subprocess.Popen(
        words, stdin=there, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=command_line.environment
    )
    os.write(here, f"{answer}\n".encode())
    out, _ = asking.communicate(timeout=PATIENCE_S)
    os.close(here)
    os.close(there)
    assert b"priority: 1 -> 4" in out
    assert (asking.returncode == 0) == (answer == "y")
    assert config_of(command_line, run_id)["priority"] == priority


def test_a_wrong_path_or_value_changes_nothing_and_is_named(command_line: CommandLine) -> None:
    write_tasks(command_line.root, "demo", [SAID])
    run_id = command_line.new_run("demo")
    for setting, words in (
        ("backends.local.max_job=3", "--config: backends.local.max_job: unknown key; did you mean max_jobs?"),
        ('share="group"', "--config: share: belongs into the config.json of the root, beside workspaces/"),
        ("priority=0", "--config: priority: input should be greater than or equal to 1, not 0"),
        (
            "default_backend=cluster",
            "--config: default_backend: 'cluster' is not in backends (it has: local)",
        ),
    ):
        done = command_line.run("run", "amend", run_id, "--config", setting, "--yes")
        assert (done.exit_code, done.stderr) == (2, f"Error: {words}\n")
    assert command_line.run("run", "amend", run_id, "--config", "priority", "--yes").exit_code == 2
    assert command_line.run("run", "amend", run_id, "--yes").exit_code == 2
    nobody = command_line.run("run", "amend", "20260101T000000-abcdef", "--config", "priority=2", "--yes")
    assert nobody.exit_code == 3
    command_line.ok("run", "cancel", run_id)
    late = command_line.run("run", "amend", run_id, "--config", "priority=2", "--yes")
    assert (late.exit_code, "CANCELLED" in late.stderr) == (4, True)


def test_what_was_set_for_a_run_stays_on_top_of_the_files_of_its_workspace(command_line: CommandLine) -> None:
    folder = write_tasks(command_line.root, "demo", [SAID])
    run_id = command_line.new_run("demo", "priority=3")
    command_line.ok("run", "amend", run_id, "--config", "max_hpc_jobs_per_run=7", "--yes")
    written = json.loads((folder / "config.json").read_text())
    written["backends"]["local"]["prologue"] = ["export SAID=mended"]
    (folder / "config.json").write_text(json.dumps({**written, "priority": 2, "max_hpc_jobs_per_run": 8}))

    done = command_line.run("run", "amend", run_id, "--config-from-workspace", "--yes")
    assert done.stdout.splitlines() == [
        "set for this run alone, over the files: max_hpc_jobs_per_run: 8 -> 7",
        "set for this run alone, over the files: priority: 2 -> 3",
        f"the config of run {run_id}, from now on:",
        '  backends.local.prologue: [] -> ["export SAID=mended"]',
        f"run {run_id} is PENDING",
    ]
    both = command_line.run(
        "run", "amend", run_id, "--config-from-workspace", "--config", "priority=5", "--yes"
    )
    assert "  priority: 3 -> 5" in both.stdout
    (folder / "config.json").write_text('{"priority": 2, "bakcends": {}}')
    broken = command_line.run("run", "amend", run_id, "--config-from-workspace", "--yes")
    assert broken.exit_code == 2
    assert f"{folder / 'config.json'}: bakcends: unknown key; did you mean backends?" in broken.stderr


def test_who_retries_is_told_what_was_mended_and_does_not_reach_the_run(command_line: CommandLine) -> None:
    folder = write_tasks(command_line.root, "demo", [{"id": "a", "command": ["false"]}])
    run_id = command_line.new_run("demo", "priority=3")
    command_line.run("run", "loop", "--until-done", run_id)
    assert "note: " not in command_line.ok("run", "retry", run_id)
    command_line.run("run", "loop", "--until-done", run_id)
    config, campaign = folder / "config.json", folder / "campaign.py"
    written = json.loads(config.read_text())
    written["backends"]["local"]["prologue"] = ["export SAID=mended"]
    config.write_text(json.dumps({**written, "priority": 2}))
    campaign.write_text(campaign.read_text() + "\n# mended\n")

    told = command_line.ok("run", "retry", run_id)

    of_config, of_campaign = (line for line in told.splitlines() if line.startswith("note: "))
    assert of_config.startswith(
        "note: the config files say something else now (backends.local.prologue), and"
    )
    assert of_config.endswith(f": matterstack run amend {run_id} --config-from-workspace")
    assert of_campaign.startswith("note: campaign.py changed since it planned, and")
    assert of_campaign.endswith(f": matterstack run replan {run_id}")
    command_line.ok("run", "amend", run_id, "--config-from-workspace", "--yes")
    command_line.run("run", "loop", "--until-done", run_id)
    config.write_text("{")
    told = command_line.ok("run", "retry", run_id)
    assert told.count("note: ") == 1, "config that is broken is not for a retry to tell"


@pytest.mark.parametrize("point", ["before_commit", "after_commit"])
def test_an_amendment_whose_process_dies_is_carried_out_by_the_next_engine(
    command_line: CommandLine, point: str
) -> None:
    write_tasks(command_line.root, "demo", [SAID])
    run_id = command_line.new_run("demo")
    amend = ("run", "amend", run_id, "--config", prologue("survived"), "--yes")
    died = command_line.run(*amend, env={CRASH_VARIABLE: f"{point}:1"})
    assert died.exit_code == CRASHED
    if point == "before_commit":  # after it, the file may say what the store says
        assert config_of(command_line, run_id)["backends"]["local"]["prologue"] == []

    command_line.ok("run", "loop", run_id, "--until-done")
    assert said(command_line, run_id) == "survived"
    assert config_of(command_line, run_id)["backends"]["local"]["prologue"] == ["export SAID=survived"]
    events = [json.loads(line) for line in command_line.run("run", "events", run_id).stdout.splitlines()]
    assert [event["type"] for event in events].count("ConfigAmended") == 1


def test_a_living_engine_takes_an_amendment_up_and_its_jobs_go_on(
    command_line: CommandLine, diary: Diary
) -> None:
    tasks = [diary.task(name, diary.gate()) for name in ("a", "b", "c")]
    write_tasks(command_line.root, "demo", tasks, max_jobs=1)
    run_id = command_line.new_run("demo")
    engine = command_line.start("run", "loop", run_id, "--until-done")
    wait_until(lambda: diary.started() == ["a"], PATIENCE_S, "the first task")
    command_line.ok(
        "run", "amend", run_id, "--config", "backends.local.max_jobs=3", "--config", prologue("x"), "--yes"
    )
    wait_until(lambda: sorted(diary.started()) == ["a", "b", "c"], PATIENCE_S, "all tasks")
    diary.open()
    assert engine.wait().exit_code == 0
    listed = command_line.tasks(run_id)
    assert [len(listed[name]["attempts"]) for name in ("a", "b", "c")] == [1, 1, 1]
    script = command_line.run_folder("demo", run_id) / "tasks" / "c" / "1" / "job.sh"
    assert "export SAID=x" in script.read_text()


def test_tasks_that_wait_are_held_against_the_partition_that_comes(
    command_line: CommandLine, slurm_env: SlurmCluster
) -> None:
    resources = {"memory_mib": 20, "walltime_s": 120}
    tasks = [
        {"id": "fails", "command": ["false"], "resources": resources},
        {"id": "waits", "command": ["true"], "resources": resources, "depends_on": ["fails"]},
    ]
    folder = write_tasks(command_line.root, "demo", tasks)
    config = {
        "default_backend": "cluster",
        "backends": {"cluster": FAST, "other": {**FAST, "partition": "short"}},
    }
    (folder / "config.json").write_text(json.dumps(config))
    run_id = command_line.new_run("demo")
    amend = ("run", "amend", run_id, "--yes", "--config")
    limit = "walltime_s=120, but a job in partition short gets at most 60"

    assert command_line.run(*amend, "backends.cluster.partition=short").exit_code == 0, (
        "nothing is planned yet"
    )
    command_line.ok(*amend, "backends.cluster.partition=main")
    command_line.run("run", "loop", "--until-done", run_id)
    assert command_line.status(run_id)["status"] == "FAILED"
    failed = command_line.run(*amend, "backends.cluster.partition=short")
    assert (failed.exit_code, failed.stderr) == (0, "")
    assert (
        f"warning: if it is retried: task 'fails': resources: backend cluster can never give {limit}"
        in failed.stdout
    )
    command_line.ok(*amend, "backends.cluster.partition=main")
    command_line.ok("run", "retry", run_id)

    for setting, name in (
        ("backends.cluster.partition=short", "cluster"),
        ("default_backend=other", "other"),
    ):
        refused = command_line.run(*amend, setting)
        assert (refused.exit_code, refused.stdout) == (4, "")
        assert f"task 'fails': resources: backend {name} can never give {limit} (and 1 more" in refused.stderr
    assert config_of(command_line, run_id)["backends"]["cluster"]["partition"] == "main"
    slurm_env.kill_controller()
    assert "could not be checked" in command_line.ok(*amend, "backends.cluster.partition=low")
    assert "could not be checked" not in command_line.ok(*amend, prologue("x").replace("local", "cluster"))


def test_on_slurm_a_prologue_with_a_typo_is_mended_in_the_workspace(
    command_line: CommandLine, slurm_env: SlurmCluster
) -> None:
    assert slurm_env.output("sinfo")
    code = command_line.root / "bin" / "mycode"
    code.parent.mkdir()
    code.write_text("#!/bin/sh\necho ok > out.txt\n")
    code.chmod(0o755)
    tasks = [
        {"id": f"t{n}", "command": ["mycode"], "outputs": ["out.txt"], "resources": {"memory_mib": 20}}
        for n in range(2)
    ]
    folder = write_tasks(command_line.root, "demo", tasks)

    def write(line: str) -> None:
        cluster = {**FAST, "prologue": [line]}
        text = json.dumps({"default_backend": "cluster", "backends": {"cluster": cluster}})
        (folder / "config.json").write_text(text)

    write("module load mycode/1.O")
    run_id = command_line.new_run("demo")
    assert command_line.run("run", "loop", run_id, "--until-done").exit_code == 1
    write(f"export PATH={code.parent}:$PATH")
    done = command_line.run("run", "amend", run_id, "--config-from-workspace", "--yes")
    assert f'["module load mycode/1.O"] -> ["export PATH={code.parent}:$PATH"]' in done.stdout
    assert f"run {run_id} is FAILED" in done.stdout, "an amendment alone reopens nothing"
    assert done.stdout.endswith(f"is tried again: matterstack run retry {run_id}\n")

    command_line.ok("run", "retry", run_id)
    command_line.ok("run", "loop", run_id, "--until-done")
    listed = command_line.tasks(run_id)
    assert [(t["status"], len(t["attempts"])) for t in listed.values()] == [("SUCCEEDED", 2)] * 2
    script = command_line.run_folder("demo", run_id) / "tasks" / "t0" / "2" / "job.sh"
    assert f"export PATH={code.parent}:$PATH" in script.read_text()
