"""A run whose tasks fail alike is held by its engine before all of them are red, and every face says why."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from tests.support.campaigns import write_tasks
from tests.support.command import PATIENCE_S, CommandLine
from tests.support.explanations import explained
from tests.support.polling import wait_until

MANY = 300


def campaign(root: Path, command: str, count: int = 30, **fields: Any) -> None:
    """Tasks that are independent of each other, and do the same."""
    tasks = [{"id": f"t{n:03}", "command": ["sh", "-c", command], **fields} for n in range(count)]
    write_tasks(root, "w", tasks, max_jobs=4)


def program(folder: Path, *lines: str) -> Path:
    """A program of the cluster, which somebody may break and mend."""
    path = folder / "program"
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o755)
    return path


def red(command_line: CommandLine, run_id: str) -> int:
    return int(command_line.status(run_id)["tasks"]["FAILED"])


def test_three_hundred_tasks_with_a_broken_program_are_held_and_all_succeed_when_it_is_mended(
    command_line: CommandLine, tmp_path: Path
) -> None:
    broken = program(tmp_path, "echo 'error: licence expired' >&2", "exit 9")
    campaign(command_line.root, str(broken), MANY)
    run_id = command_line.new_run("w")

    left = command_line.run("run", "loop", "--until-done", run_id)

    assert left.exit_code == 1, left.stderr
    assert 10 <= red(command_line, run_id) <= 10 + 4
    assert f"held by the engine: matterstack run explain {run_id}" in left.stdout, "as the progress says it"
    assert "1. the engine holds the run, since 1" in left.stdout, "as explain says it"
    assert left.stdout.count("exit code 9") == 1, "it is said once"
    assert left.stdout.count("licence expired") == 1
    assert f"matterstack run resume {run_id}" in left.stdout

    program(tmp_path, "exit 0")
    retried = command_line.ok("run", "retry", run_id)
    assert retried.endswith(f"\nit goes on when it is let go: matterstack run resume {run_id}\n")
    command_line.ok("run", "resume", run_id)
    command_line.ok("run", "loop", "--until-done", run_id)

    status = command_line.status(run_id)
    assert (status["status"], status["tasks"]["SUCCEEDED"]) == ("COMPLETED", MANY)
    assert command_line.event_types(run_id).count("RunPaused") == 1


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (
            "python3 -c 'import vasp' 2>&1 | tail -n 1 >&2; exit 1",
            "exit code 1, the last line \"ModuleNotFoundError: No module named 'vasp'\"",
        ),
        (
            "cat /proc/self/stat > /dev/full",
            "exit code 1, the last line 'cat: write error: No space left on device'",
        ),
        ("echo 'licence expired' >&2; exit 9", "exit code 9, the last line 'licence expired'"),
        ("exec no-such-program", "exit code 127, the last line 'sh: 1: exec: no-such-program: not found'"),
    ],
    ids=["module", "disk", "licence", "program"],
)
def test_what_fails_at_once_everywhere_holds_the_run_and_says_why(
    command_line: CommandLine, line: str, reason: str
) -> None:
    campaign(command_line.root, line)

    left = command_line.run("run", "start", "w", "--json")

    assert left.exit_code == 1
    run = json.loads(left.stdout)
    assert run["status"] == "PAUSED"
    assert run["status_reason"].startswith("paused by the engine: 1")
    assert reason in run["status_reason"]
    assert f"matterstack run resume {run['run_id']}" in left.stderr
    assert red(command_line, run["run_id"]) <= 10 + 4


def test_an_output_that_is_missing_everywhere_holds_the_run(command_line: CommandLine) -> None:
    campaign(command_line.root, "true", outputs=["energy.json"])

    left = command_line.run("run", "start", "w")

    assert left.exit_code == 1
    assert "energy.json" in left.stdout
    assert "Everything that was done is in" not in left.stdout


def test_a_failing_prologue_holds_the_run(command_line: CommandLine) -> None:
    campaign(command_line.root, "true")
    prologue = ["set -e", "module load no/such/module"]

    left = command_line.run("run", "start", "w", "--set", f"backends.local.prologue={json.dumps(prologue)}")

    assert left.exit_code == 1
    assert left.stdout.count("the engine holds the run") == 1, left.stdout + left.stderr
    assert "prologue line 2 failed with 127: module load no/such/module" in left.stdout


def test_what_is_advised_after_a_failing_prologue_brings_the_run_to_its_end(
    command_line: CommandLine,
) -> None:
    campaign(command_line.root, "true")
    file = command_line.root / "workspaces" / "w" / "config.json"
    config = json.loads(file.read_text())
    broken = {**config["backends"]["local"], "prologue": ["module load no/such/module"]}
    file.write_text(json.dumps({**config, "backends": {"local": broken}}))
    command_line.run("run", "start", "w")
    run_id = command_line.json("run", "list")[0]["run_id"]

    held = next(cause for cause in explained(command_line, run_id) if cause["kind"] == "held")

    file.write_text(json.dumps(config))
    commands = [line for line in held["action"].splitlines() if not line.startswith("#")]
    assert commands[1:] == [
        f"matterstack run amend {run_id} --config-from-workspace --yes",
        f"matterstack run retry {run_id}",
        f"matterstack run resume {run_id}",
    ]
    for command in commands:
        command_line.ok(*command.split()[1:])
    command_line.ok("run", "loop", "--until-done", run_id)
    assert command_line.status(run_id)["status"] == "COMPLETED"


def test_failures_that_are_expected_do_not_hold_the_run(command_line: CommandLine) -> None:
    campaign(command_line.root, "exit 3", allow_failure=True)

    command_line.ok("run", "start", "w")


def test_a_run_that_is_not_to_be_held_goes_on_to_its_end(command_line: CommandLine) -> None:
    campaign(command_line.root, "exit 3", count=15)

    left = command_line.run("run", "start", "w", "--json", "--set", "hold_after_alike=0")

    assert (left.exit_code, json.loads(left.stdout)["tasks"]["FAILED"]) == (1, 15)


def test_the_advised_amendment_reaches_those_too_that_have_not_begun(command_line: CommandLine) -> None:
    campaign(command_line.root, "exit 3", count=40)
    command_line.run("run", "start", "w")
    run_id = command_line.json("run", "list")[0]["run_id"]
    cause = next(cause for cause in explained(command_line, run_id) if cause["kind"] == "held")
    ending = "--set PATH=VALUE"
    (line,) = (line for line in cause["action"].splitlines() if line.endswith(ending))

    words = shlex.split(line.removeprefix("# matterstack ").removesuffix(ending))
    amended = command_line.json(*words, "--set", 'command=["true"]', "--yes")["amended"]

    assert amended["tasks"] == [f"t{number:03}" for number in range(40)]


def test_explain_names_the_failures_and_the_commands_that_help(command_line: CommandLine) -> None:
    campaign(command_line.root, "exit 3")
    command_line.run("run", "start", "w")
    run_id = command_line.json("run", "list")[0]["run_id"]

    cause = next(cause for cause in explained(command_line, run_id) if cause["kind"] == "held")

    assert cause["needs_person"]
    assert cause["message"].startswith("the engine holds the run, since 1")
    assert "exit code 3" in cause["message"]
    assert cause["blocks"] > 10
    assert f"# matterstack run amend {run_id} --config-from-workspace --yes" in cause["action"].splitlines()
    commands = [line for line in cause["action"].splitlines() if not line.startswith("#")]
    assert commands[1:] == [f"matterstack run retry {run_id}", f"matterstack run resume {run_id}"]
    command_line.ok(*commands[0].split()[1:])


def test_an_engine_that_serves_another_run_too_goes_on_with_that(
    command_line: CommandLine, tmp_path: Path
) -> None:
    campaign(command_line.root, "exit 3")
    gate = tmp_path / "gate"
    write_tasks(
        command_line.root,
        "other",
        [{"id": "a", "command": ["sh", "-c", f"until [ -e {gate} ]; do sleep 0.05; done"]}],
        max_jobs=6,
    )
    runs = [command_line.new_run("w"), command_line.new_run("other")]
    engine = command_line.start("run", "loop", "--until-done", *runs)
    wait_until(lambda: command_line.status(runs[0])["status"] == "PAUSED", PATIENCE_S, "a run that is held")
    assert engine.process.poll() is None
    gate.touch()

    left = engine.wait()

    assert left.exit_code == 1
    assert command_line.status(runs[1])["status"] == "COMPLETED"
    assert f"matterstack run resume {runs[0]}" in left.stdout


def test_a_run_that_a_person_paused_is_waited_for(command_line: CommandLine, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    campaign(command_line.root, f"until [ -e {gate} ]; do sleep 0.05; done", count=6)
    run_id = command_line.new_run("w")
    engine = command_line.start("run", "loop", "--until-done", run_id)
    wait_until(lambda: command_line.status(run_id)["tasks"]["ACTIVE"] == 4, PATIENCE_S, "jobs")
    command_line.ok("run", "pause", run_id)
    gate.touch()
    wait_until(lambda: command_line.status(run_id)["tasks"]["SUCCEEDED"] == 4, PATIENCE_S, "their ends")
    assert engine.process.poll() is None

    command_line.ok("run", "resume", run_id)

    assert engine.wait().exit_code == 0


def test_the_evidence_of_a_run_that_was_held_tells_of_it_and_is_whole(command_line: CommandLine) -> None:
    campaign(command_line.root, "exit 3")
    command_line.run("run", "start", "w")
    run_id = command_line.json("run", "list")[0]["run_id"]

    made = command_line.json("run", "export-evidence", run_id)

    report = (Path(made["path"]) / "report.md").read_text()
    assert "paused" in report
    assert "tasks failed alike within seconds of their start" in report
    assert command_line.json("evidence", "verify", made["path"])["ok"]
    assert command_line.json("check")["ok"]


@pytest.mark.usefixtures("slurm_env")
def test_on_slurm_a_broken_prologue_holds_the_run_and_names_the_nodes(
    command_line: CommandLine, tmp_path: Path
) -> None:
    modules = program(tmp_path, "echo 'no module vasp/6.5' >&2", "return 1")
    tasks = [{"id": f"t{n:03}", "command": ["true"], "resources": {"memory_mib": 10}} for n in range(60)]
    folder = write_tasks(command_line.root, "w", tasks)
    cluster = {"type": "slurm", "poll_interval_s": 0.3, "max_jobs": 12, "prologue": [f". {modules}"]}
    config = {
        "default_backend": "cluster",
        "max_hpc_jobs_per_run": 12,
        "hold_after_alike": 10,
        "backends": {"cluster": cluster},
    }
    (folder / "config.json").write_text(json.dumps(config))
    run_id = command_line.new_run("w")

    left = command_line.run("run", "loop", "--until-done", run_id)

    assert left.exit_code == 1, left.stdout + left.stderr
    assert 10 <= red(command_line, run_id) <= 10 + 12
    assert left.stdout.count("no module vasp/6.5") == 2, "the reason, and the last words"
    assert "on node" in left.stdout

    (paused,) = (e["data"] for e in command_line.events(run_id) if e["type"] == "RunPaused")
    assert paused["alike"]["nodes"]
    program(tmp_path, ":")
    command_line.ok("run", "retry", run_id)
    command_line.ok("run", "resume", run_id)
    command_line.ok("run", "loop", "--until-done", run_id)
    assert command_line.status(run_id)["tasks"]["SUCCEEDED"] == len(tasks)
