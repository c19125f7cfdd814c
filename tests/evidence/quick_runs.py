"""A run of each workspace of the project that takes seconds, from its beginning to its end."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from tests import catalyst_workspace, thin_film_workspace
from tests.support.command import PATIENCE_S, CommandLine
from tests.support.polling import wait_until

FOLDER: Final = Path(__file__).parents[2] / "workspaces"
WORKSPACES: Final = sorted(path.parent.name for path in FOLDER.glob("*/campaign.py"))

QuickRun = Callable[[CommandLine], str]
"""Installs a workspace in a root, runs it to its end, and returns the run's id."""


def _battery(command_line: CommandLine) -> str:
    slug = "battery_screening"
    shutil.copytree(
        FOLDER / slug,
        command_line.root / "workspaces" / slug,
        ignore=shutil.ignore_patterns("runs", "__pycache__"),
    )
    settings = ('params.materials=["LiF", "Li2S"]', "params.keep=1", "params.max_rounds=2")
    run_id = command_line.new_run(slug, *settings)
    command_line.ok("run", "loop", run_id, "--until-done")
    return run_id


def _catalyst(command_line: CommandLine) -> str:
    settings = catalyst_workspace.install_quick(
        command_line.root, 'params.metals=["Cu", "Pt"]', 'params.adsorbates=["O"]'
    )
    run_id = command_line.new_run(catalyst_workspace.SLUG, *settings)
    engine = command_line.start("run", "loop", run_id, "--until-done")
    choice = ("adsorbate=O", "accuracy_ev=0.001", "refine_Pt=true")
    _answer(command_line, run_id, "choose", *(word for part in choice for word in ("--set", part)))
    _answer(command_line, run_id, "approve", "--reject", "--comment", "not this week")
    done = engine.wait()
    assert done.exit_code == 0, done.stderr
    return run_id


def _thin_film(command_line: CommandLine) -> str:
    settings = thin_film_workspace.install_quick(command_line.root)
    run_id = command_line.new_run(thin_film_workspace.SLUG, *settings)
    folder = command_line.run_folder(thin_film_workspace.SLUG, run_id)
    with thin_film_workspace.running_instrument(folder, command_line.root / "instrument.jsonl"):
        command_line.ok("run", "loop", run_id, "--until-done")
    return run_id


def _answer(command_line: CommandLine, run_id: str, task: str, *options: str) -> None:
    """Wait until a task is asked, and answer it."""

    def is_asked() -> bool:
        found = command_line.tasks(run_id).get(task)
        return found is not None and found["status"] == "ACTIVE" and bool(found["attempts"][-1]["job_id"])

    wait_until(is_asked, PATIENCE_S, f"the question of {task}")
    command_line.ok("respond", run_id, task, *options)


QUICK_RUNS: Final[Mapping[str, QuickRun]] = {
    "battery_screening": _battery,
    "catalyst_human_in_loop": _catalyst,
    "thin_film_lab": _thin_film,
}
