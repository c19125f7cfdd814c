"""The modules of the catalyst workspace, and whole runs of it, for its tests."""

import hashlib
import json
import os
import pwd
import shutil
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pytest

from tests.support.campaign_e2e import Life, begun, lived
from tests.support.command import PATIENCE_S, CommandLine, Running
from tests.support.polling import wait_until
from tests.support.workspace_modules import load

WORKSPACE: Final = Path(__file__).parents[1] / "workspaces" / "catalyst_human_in_loop"
SLUG: Final = "catalyst_human_in_loop"


def module(name: str) -> ModuleType:
    """A module of the workspace."""
    return load(WORKSPACE)[name]


PUBLISHED: Final = json.loads((WORKSPACE / "published.json").read_text())


@cache
def screened(metal: str) -> dict[str, Any]:
    """What the task reports of a metal, with the model of the default screening."""
    surfaces, screen = module("surfaces"), module("screen")
    model = surfaces.Model(**module("campaign").Settings().model(0))
    report: dict[str, Any]
    report, _ = screen.compute(metal, surfaces.ADSORBATES, model)
    return report


# ---- a run that takes seconds

QUICK: Final = {
    "metals": '["Ni", "Cu", "Pt"]',
    "adsorbates": '["O", "H"]',
    "layers": "[3, 4, 5]",
    "cells": "[2, 3, 4]",
    "fmax": "[0.05, 0.02, 0.01]",
}
"""Three metals, two atoms, and at most two rounds on small slabs."""


def install_quick(root: Path, *settings: str) -> list[str]:
    """Copy the workspace into a root; returns the settings of a quick run, and those that are given."""
    shutil.copytree(
        WORKSPACE, root / "workspaces" / SLUG, ignore=shutil.ignore_patterns("runs", "__pycache__")
    )
    return [*(f"params.{key}={value}" for key, value in QUICK.items()), *settings]


# ---- its life

ANSWER: Final = (
    "adsorbate=O",
    "accuracy_ev=0.002",
    "refine_Ni=true",
    "refine_Pt=true",
    "reason=the extremes",
)
GATE: Final = json.dumps({"decision": "approve", "comment": "go on"}).encode()


def begun_quick(command_line: CommandLine, *settings: str) -> Life:
    """A quick run that nobody serves yet."""
    return begun(command_line, SLUG, install_quick(command_line.root, *settings))


def serve(life: Life) -> Running:
    """Start an engine for it."""
    return life.command_line.start("run", "loop", life.run_id, "--until-done")


def await_question(life: Life, task: str, attempt: int = 1) -> None:
    """Wait until a task has been asked that many times, and nobody has answered the last time."""

    def is_asked() -> bool:
        found = life.tasks().get(task)
        if found is None or found["status"] != "ACTIVE" or len(found["attempts"]) != attempt:
            return False
        return bool(found["attempts"][-1]["job_id"])

    wait_until(is_asked, PATIENCE_S, f"the question of {task}")


def respond(life: Life, task: str, *answer: str) -> str:
    """Answer with options of the command line; returns what became of the task."""
    options = [word for setting in answer for word in ("--set", setting)]
    said: dict[str, str] = life.command_line.json("respond", life.run_id, task, *options)
    return said["status"]


def trends(life: Life) -> tuple[dict[str, Any], str]:
    """What a run wrote in the end, for programs and for people."""
    assert life.command_line.status(life.run_id)["status"] == "COMPLETED"
    folder = life.folder / "tasks" / "trends" / "1"
    assert (folder / "trends.svg").read_text().startswith("<svg")
    assert json.loads((folder / "result.json").read_text())["adsorbate"] == "O"
    return json.loads((folder / "trends.json").read_text()), (folder / "trends.md").read_text()


def check_whole_life(life: Life) -> None:
    """Two engines are killed, each while a question waits; both answers are given while there is none."""
    first = serve(life)
    await_question(life, "choose")
    first.kill()
    request = life.folder / "operators" / "choose" / "request.json"
    asked = request.read_bytes()
    assert respond(life, "choose", *ANSWER) == "ACTIVE"

    def approved_by_file() -> None:
        (life.folder / "operators" / "approve" / "response.json").write_bytes(GATE)

    lived(life, lambda: "approve" in life.waiting(), approved_by_file)
    assert request.read_bytes() == asked
    assert {len(task["attempts"]) for task in life.tasks().values()} == {1}
    ended = [e["data"] for e in life.command_line.events(life.run_id) if e["type"] == "JobEnded"]
    assert [end["by"] for end in ended if end.get("sha256") == hashlib.sha256(GATE).hexdigest()] == [
        pwd.getpwuid(os.getuid()).pw_name
    ]
    summary, page = trends(life)
    assert summary["settled"] is True
    assert set(summary["refined"]) == {"Ni", "Pt"}
    # A tenth of a millielectronvolt is the last digit; which processor it was may show in it.
    assert summary["refined"]["Pt"]["energy_ev"] == pytest.approx(-4.7075, abs=0.002)
    assert summary["refined"]["Ni"]["energy_ev"] == pytest.approx(-4.7113, abs=0.002)
    assert all(row["here_ev"] > 0.02 for row in summary["neighbours"])
    assert "Chosen: O on Ni, Pt, to 0.002 eV (the extremes)." in page
    assert "This was approved: go on." in page
