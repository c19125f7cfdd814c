"""What a user may not read is named, with an exit code that says so, by every command that needs it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.campaigns import write_tasks
from tests.support.command import CommandLine
from tests.support.faces import AN_ORDINARY_USER


@pytest.fixture
def run_id(command_line: CommandLine) -> str:
    """A run that has ended, looked at by somebody who is not root."""
    write_tasks(command_line.root, "w", [{"id": "a", "command": ["echo", "hello"]}])
    command_line.ok("run", "start", "w")
    command_line.wrapper = AN_ORDINARY_USER if os.geteuid() == 0 else []
    return str(command_line.json("run", "list")[0]["run_id"])


def test_what_may_not_be_read_is_named(command_line: CommandLine, run_id: str) -> None:
    folder = command_line.run_folder("w", run_id)
    log = folder / "tasks" / "a" / "1" / "stdout.log"
    logs, check, init = ("run", "logs", run_id, "a"), ("check",), ("run", "init", "w")
    asked: list[tuple[Path, tuple[str, ...], int, Path]] = [
        (log, logs, 5, log),
        (folder / "tasks", logs, 5, log),
        (folder, logs, 5, log),
        (folder.parent, check, 1, folder),
        (folder.parents[1], check, 1, folder),
        (folder.parents[1], init, 5, folder.parents[1] / "campaign.py"),
        (folder.parents[2], init, 5, folder.parents[1]),
        (folder.parent, init, 5, folder.parent),
    ]
    for closed, command, exit_code, named in asked:
        mode = closed.stat().st_mode
        closed.chmod(0)
        done = command_line.run(*command, "--json")
        closed.chmod(mode)
        said = done.stdout + done.stderr
        assert done.exit_code == exit_code, (closed, command, said)
        assert "should not have happened" not in said
        assert str(named) in said, (closed, command, said)
        assert "Permission denied" in said


def test_without_a_working_directory_the_root_must_be_named(
    command_line: CommandLine, run_id: str, tmp_path: Path
) -> None:
    gone = tmp_path / "gone"
    shell = f"mkdir {gone} && cd {gone} && rmdir {gone} && exec "
    command_line.wrapper = ["sh", "-c", f'{shell} "$@"', "sh"]
    lost = command_line.run("run", "list", "--json")
    assert (lost.exit_code, lost.error["hint"]) == (3, "give --root DIR")
    named = command_line.run("run", "list", "--json", root=command_line.root)
    assert [run["run_id"] for run in named.json] == [run_id]
