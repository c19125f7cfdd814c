"""``run amend`` of tasks and ``run retry`` of some of them, through the command."""

from __future__ import annotations

import html
import json
import os
import pty
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.campaigns import write_tasks
from tests.support.command import COMMAND, PATIENCE_S, CommandLine

PLACE = {"resources": {"walltime_s": 2}}


def script(words: str) -> list[str]:
    return ["bash", "-c", words]


def mixed(command_line: CommandLine) -> str:
    """Tasks of which two were ended at their walltime, two lack a licence, and the others end well."""
    license_ = script("test -e $HOME_OF/license || { echo 'no license' >&2; exit 3; }; touch out")
    slow = script("sleep ${NAP:-30}; touch out")
    env = {"HOME_OF": str(command_line.root)}
    tasks: list[dict[str, Any]] = [
        *({"id": f"slow{i}", "command": slow, "outputs": ["out"], **PLACE} for i in range(2)),
        *({"id": f"lic{i}", "command": license_, "outputs": ["out"], "env": env} for i in range(2)),
        *({"id": f"good{i}", "command": ["true"]} for i in range(2)),
    ]
    write_tasks(command_line.root, "demo", tasks)
    run_id = command_line.new_run("demo")
    command_line.run("run", "loop", run_id, "--until-done")
    assert command_line.status(run_id)["status"] == "FAILED"
    return run_id


def attempts(command_line: CommandLine, run_id: str) -> dict[str, int]:
    tasks = command_line.json("run", "tasks", run_id)
    return {task["task_id"]: len(task["attempts"]) for task in tasks}


def test_only_what_timed_out_is_retried_and_with_what_was_set(command_line: CommandLine) -> None:
    run_id = mixed(command_line)
    actions = [
        cause["action"].splitlines()[-1] for cause in command_line.json("run", "explain", run_id)["causes"]
    ]
    line = f"matterstack run retry {run_id}"
    assert sorted(actions) == [
        f"{line} lic0 lic1",
        f"{line} slow0 slow1 --set resources.walltime_s=4 --yes",
    ]
    words = ["run", "retry", run_id, "--kind", "timeout", "--set", "env.NAP=0", "--why", "it naps"]
    asked = command_line.run(*words)
    assert asked.exit_code == 2
    assert "env.NAP: nothing -> '0'   (2 tasks)" in asked.stdout
    assert "say --yes" in asked.stderr
    assert command_line.run(*words, "--json").error["code"] == "usage"
    assert command_line.status(run_id)["status"] == "FAILED", "nothing was changed"

    done = command_line.run(*words, "--json", "--yes").json
    assert done["status"] == "RUNNING"
    assert done["amended"]["tasks"] == ["slow0", "slow1"]
    assert done["amended"]["differences"] == [
        {"path": "env.NAP", "old": None, "new": "0", "tasks": ["slow0", "slow1"]}
    ]
    (command_line.root / "license").touch()
    command_line.run("run", "loop", run_id, "--until-done")
    assert command_line.status(run_id)["status"] == "FAILED", "nobody named those without a licence"
    assert attempts(command_line, run_id) == {
        "slow0": 2, "slow1": 2, "lic0": 1, "lic1": 1, "good0": 1, "good1": 1,
    }  # fmt: skip

    assert command_line.run("run", "retry", run_id, "--exit-code", "4").exit_code == 3
    command_line.ok("run", "retry", run_id, "--exit-code", "3")
    command_line.ok("run", "loop", run_id, "--until-done")
    assert command_line.status(run_id)["status"] == "COMPLETED"
    assert attempts(command_line, run_id) == {
        "slow0": 2, "slow1": 2, "lic0": 2, "lic1": 2, "good0": 1, "good1": 1,
    }  # fmt: skip
    assert command_line.run("check").exit_code == 0

    folder = Path(command_line.json("run", "export-evidence", run_id)["path"])
    assert command_line.json("evidence", "verify", str(folder), "--against-store")["ok"]
    page = html.unescape((folder / "report.md").read_text())
    story = next(line for line in page.splitlines() if "amended 2 tasks (slow0, slow1)" in line)
    assert "env.NAP: nothing -> '0'" in story
    assert "it naps" in story


def test_an_amendment_reopens_nothing_and_the_next_retry_is_as_it_says(command_line: CommandLine) -> None:
    run_id = mixed(command_line)
    said = command_line.ok("run", "amend", run_id, "slow*", "--set", "env.NAP=0", "--yes")
    assert "2 tasks" in said
    assert command_line.status(run_id)["status"] == "FAILED"
    again = command_line.run("run", "amend", run_id, "slow*", "--set", "env.NAP=0", "--yes")
    assert (again.exit_code, "nothing would change" in again.stderr) == (4, True)
    (command_line.root / "license").touch()
    command_line.ok("run", "retry", run_id)
    command_line.ok("run", "loop", run_id, "--until-done")
    assert command_line.status(run_id)["status"] == "COMPLETED"
    manifest = command_line.run_folder("demo", run_id) / "tasks" / "slow0"
    assert "NAP" not in json.loads((manifest / "1" / "manifest.json").read_text())["env"]
    assert json.loads((manifest / "2" / "manifest.json").read_text())["env"]["NAP"] == "0"


@pytest.mark.parametrize(
    ("words", "exit_code", "told"),
    [
        (["amend", "RUN", "a", "--set", "resources.waltime_s=5"], 2, "did you mean resources.walltime_s?"),
        (["amend", "RUN", "aa", "--set", "retries=5"], 3, "did you mean 'a'?"),
        (["amend", "RUN", "--set", "retries=5"], 2, "name the tasks to amend"),
        (["amend", "RUN", "a"], 2, "--set PATH=VALUE"),
        (["amend", "RUN", "a", "--set", "retries=5", "--set", "retries=6"], 2, "is given twice"),
        (["amend", "RUN", "a", "--set", "retries=5", "--about", "x"], 2, "one thing in a command"),
        (["amend", "RUN", "a", "--set", "retries=5", "--config", "priority=2"], 2, "one thing in a command"),
        (["amend", "RUN", "a", "--about", "x"], 2, "name no tasks"),
        (["amend", "RUN", "--failed", "--config", "priority=2"], 2, "name no tasks"),
        (["amend", "RUN", "good", "--set", "retries=5"], 4, "task good has SUCCEEDED"),
        (["amend", "RUN", "a", "--set", "retries=many"], 4, "must be a whole number, not 'many'"),
        (["amend", "RUN", "a", "--set", "backend=nowhere"], 4, "backend 'nowhere' is not in config.json"),
        (["amend", "RUN", "a", "--set", "resources.cpus=100000"], 4, "can never give cpus=100000"),
        (["amend", "RUN", "a", "--set", "files.x=nowhere.dat"], 4, "'x' cannot be copied from nowhere.dat"),
        (["amend", "RUN", "--kind", "timeuot", "--set", "retries=5"], 2, "did you mean 'timeout'?"),
        (["retry", "RUN", "good"], 4, "matterstack run rerun RUN good"),
        (["retry", "RUN", "--kind", "timeout"], 3, "1 error"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence_and_changes_nothing(
    command_line: CommandLine, words: list[str], exit_code: int, told: str
) -> None:
    write_tasks(
        command_line.root, "demo", [{"id": "a", "command": ["false"]}, {"id": "good", "command": ["true"]}]
    )
    run_id = command_line.new_run("demo")
    command_line.run("run", "loop", run_id, "--until-done")
    head = command_line.status(run_id)["head"]
    done = command_line.run("run", *(word.replace("RUN", run_id) for word in words), "--yes")
    assert (done.exit_code, done.stdout) == (exit_code, ""), done
    assert told.replace("RUN", run_id) in done.stderr
    assert "Traceback" not in done.stderr
    assert command_line.status(run_id)["head"] == head


def test_what_failed_in_spite_of_allow_failure_is_retried_in_a_completed_run(
    command_line: CommandLine,
) -> None:
    flag = command_line.root / "flag"
    tasks = [{"id": "a", "command": script(f"test -e {flag}"), "allow_failure": True}]
    write_tasks(command_line.root, "demo", tasks)
    run_id = command_line.new_run("demo")
    command_line.ok("run", "loop", run_id, "--until-done")
    flag.touch()
    command_line.ok("run", "retry", run_id, "a")
    command_line.ok("run", "loop", run_id, "--until-done")
    assert command_line.json("run", "tasks", run_id)[0]["status"] == "SUCCEEDED"
    assert command_line.status(run_id)["status"] == "COMPLETED"
    done = command_line.run("run", "retry", run_id)
    assert f"matterstack run rerun {run_id} TASK..." in done.stderr


def test_without_a_job_that_waits_nothing_is_submitted_anew(command_line: CommandLine) -> None:
    run_id = mixed(command_line)
    amend = ["run", "amend", run_id]

    alone = command_line.run(*amend, "slow0", "--resubmit", "--yes", "--json")
    assert (alone.exit_code, alone.error["code"]) == (4, "refused")
    assert alone.error["message"] == "none of these tasks has a job that waits in a queue"
    unnamed = command_line.run(*amend, "--resubmit", "--yes")
    assert (unnamed.exit_code, "name the tasks to amend" in unnamed.stderr) == (2, True)
    about = command_line.run(*amend, "--about", "about.toml", "--resubmit")
    assert (about.exit_code, "--resubmit is for --set and --config" in about.stderr) == (2, True)
    with_set = command_line.json(*amend, "slow0", "--set", "env.NAP=0", "--resubmit", "--yes")
    assert (with_set["amended"]["tasks"], with_set["amended"]["resubmitted"]) == (["slow0"], [])
    assert not [kind for kind in command_line.event_types(run_id) if "Resubmit" in kind]


@pytest.mark.parametrize(
    ("answer", "told", "code"), [("n", "nothing was changed", 4), ("y", "as was shown", 4)]
)
def test_who_says_yes_changes_only_what_was_shown(
    command_line: CommandLine, answer: str, told: str, code: int
) -> None:
    write_tasks(command_line.root, "demo", [{"id": "a", "command": ["false"]}])
    run_id = command_line.new_run("demo")
    command_line.run("run", "loop", run_id, "--until-done")
    amend = ["run", "amend", run_id, "a", "--set"]
    here, there = pty.openpty()
    asking = subprocess.Popen(
        [str(COMMAND), "--root", str(command_line.root), *amend, "priority=9"],
        stdin=there, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=command_line.environment,
    )  # fmt: skip
    assert asking.stdout is not None
    shown = b""
    while b"Change it?" not in shown:
        more = os.read(asking.stdout.fileno(), 4096)
        assert more, shown
        shown += more
    command_line.ok(*amend, "priority=5", "--yes")
    os.write(here, f"{answer}\n".encode())
    rest, _ = asking.communicate(timeout=PATIENCE_S)
    os.close(here)
    os.close(there)
    assert (asking.returncode, told in rest.decode()) == (code, True), rest
    changes = [e["data"]["changes"] for e in command_line.events(run_id) if e["type"] == "TaskAmended"]
    assert changes == [{"priority": {"old": 0, "new": 5}}]
