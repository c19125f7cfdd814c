"""The same key twice is one run, whoever asks, also at the same time."""

from __future__ import annotations

import subprocess

import pytest

from tests.support.campaigns import write_tasks
from tests.support.command import COMMAND, PATIENCE_S, CommandLine

TRUE = [{"id": "a", "command": ["true"]}]


def folders(command_line: CommandLine, slug: str) -> list[str]:
    return sorted(path.name for path in (command_line.root / "workspaces" / slug / "runs").iterdir())


def test_the_same_key_gives_the_same_run_in_any_state(command_line: CommandLine) -> None:
    write_tasks(command_line.root, "relax", TRUE)
    first = command_line.run("run", "init", "relax", "--key", "fig 3")
    again = command_line.run("run", "init", "relax", "--key", "fig 3")
    assert first.stdout == again.stdout
    assert again.stderr == "it has this key already: no new run was made\n"
    run_id = first.stdout.strip()
    command_line.ok("run", "loop", run_id, "--until-done")
    assert command_line.json("run", "init", "relax", "--key", "fig 3") == {"run_id": run_id, "is_new": False}
    other = command_line.json("run", "init", "relax", "--key", "fig 4")
    assert other["is_new"]
    assert other["run_id"] != run_id
    assert command_line.json("run", "init", "relax")["is_new"]
    assert len(folders(command_line, "relax")) == 3


def test_other_settings_are_told_and_another_workspace_is_refused(command_line: CommandLine) -> None:
    for slug in ("relax", "bands"):
        write_tasks(command_line.root, slug, TRUE)
    run_id = command_line.ok("run", "init", "relax", "--key", "k", "--set", "params.n=5").strip()
    other = command_line.run("run", "init", "relax", "--key", "k", "--set", "params.n=6")
    assert other.stdout.strip() == run_id
    assert f"Warning: run {run_id} has the key 'k' and was made with other settings" in other.stderr
    same = command_line.run("run", "init", "relax", "--key", "k", "--set", "params.n=5")
    assert "Warning" not in same.stderr
    refused = command_line.run("run", "init", "bands", "--key", "k")
    assert (refused.exit_code, refused.stdout) == (4, "")
    assert f"the key 'k' is that of run {run_id} of workspace relax" in refused.stderr
    assert not (command_line.root / "workspaces" / "bands" / "runs").exists()


@pytest.mark.parametrize("key", ["", "two\nlines", "x" * 201, "\x1b[31m"])
def test_what_is_no_key_makes_no_run(command_line: CommandLine, key: str) -> None:
    write_tasks(command_line.root, "relax", TRUE)
    done = command_line.run("run", "init", "relax", "--key", key)
    assert (done.exit_code, "must be one line of text" in done.stderr) == (2, True), done.stderr
    done = command_line.run("run", "init", "relax", "--key", "k", "--show-script")
    assert (done.exit_code, "--show-script makes no run" in done.stderr) == (2, True)
    assert command_line.json("run", "list") == []


def test_processes_that_use_one_key_at_once_make_one_run(command_line: CommandLine) -> None:
    write_tasks(command_line.root, "relax", TRUE)
    words = [str(COMMAND), "run", "init", "relax", "--key", "one"]
    started = [
        subprocess.Popen(
            words, cwd=command_line.root, env=command_line.environment, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    said = {process.communicate(timeout=PATIENCE_S)[0].strip() for process in started}
    assert {process.returncode for process in started} == {0}
    assert said == set(folders(command_line, "relax")), "whoever came second left nothing behind"
    assert len(said) == 1
