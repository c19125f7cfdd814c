"""A config file that is none is refused at once, whatever lies in its place."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.support.command import CommandLine

CAMPAIGN = """
from matterstack import Task, Workflow


class OneTask:
    def plan(self, state, results):
        return None if results else Workflow([Task("a", command=["true"])])

    def analyze(self, state, results):
        return {}


def get_campaign():
    return OneTask()
"""


@pytest.fixture
def places(command_line: CommandLine) -> dict[str, Path]:
    workspace = command_line.root / "workspaces" / "w"
    workspace.mkdir()
    (workspace / "campaign.py").write_text(CAMPAIGN)
    return {
        "workspace": workspace / "config.json",
        "root": command_line.root / "config.json",
    }


@pytest.mark.parametrize("place", ["workspace", "root"])
def test_nobody_waits_for_the_writer_of_a_fifo(
    place: str, places: dict[str, Path], command_line: CommandLine
) -> None:
    path = places[place]
    os.mkfifo(path)
    done = command_line.run("run", "init", "w")
    assert done.exit_code == 2
    assert f"{path}: cannot be read: is no regular file" in done.stderr


@pytest.mark.parametrize("place", ["workspace", "root"])
def test_an_endless_file_is_not_read(place: str, places: dict[str, Path], command_line: CommandLine) -> None:
    path = places[place]
    path.touch()
    os.truncate(path, 8 << 40)
    done = command_line.run("run", "init", "w")
    assert done.exit_code == 2
    assert f"{path}: not valid JSON: the file is larger than 16 MiB" in done.stderr


def test_a_link_to_a_config_is_followed(places: dict[str, Path], command_line: CommandLine) -> None:
    path = places["workspace"]
    elsewhere = command_line.root / "elsewhere.json"
    elsewhere.write_text('{"priority": 3}')
    path.symlink_to(elsewhere)
    run_id = command_line.ok("run", "init", "w").strip()
    frozen = command_line.root / "workspaces" / "w" / "runs" / run_id / "config.json"
    assert json.loads(frozen.read_text())["priority"] == 3
