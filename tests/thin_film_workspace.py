"""The modules of the thin film workspace, for its tests, and ways of playing a campaign without an engine."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import attrs

from matterstack import Result, Results, Task, Workflow
from matterstack.core.documents.manifests import ExperimentManifest, read_manifest
from matterstack.core.documents.responses import Answered, read_response
from matterstack.core.model.workflow_check import check_workflow
from matterstack.core.states import TaskStatus
from tests.support.campaign_e2e import Life, begun, lived
from tests.support.command import CommandLine
from tests.support.polling import wait_until
from tests.support.workspace_modules import load

SLUG: Final = "thin_film_lab"
WORKSPACE: Final = Path(__file__).parents[1] / "workspaces" / SLUG
BOUNDS: Final = {
    "temperature_c": [590, 660],
    "rise_k": [0, 40],
    "flow_sccm": [40, 120],
    "pressure_pa": [20, 60],
}
QUICK: Final = {"goal_rate_nm_min": 19, "goal_nonuniformity_percent": 4, "max_rounds": 5}
"""Reached in two or three rounds."""


def module(name: str) -> ModuleType:
    """A module of the workspace."""
    return load(WORKSPACE)[name]


lpcvd = module("lpcvd")
instrument = module("instrument")
model = module("model")
sys.modules["model"] = model  # the campaign imports it while it plans; no other workspace has one
recipes = module("recipes")
campaign_module = module("campaign")


def true_film(recipe: Mapping[str, float]) -> Any:
    """What a recipe gives without any error of the instrument."""
    return lpcvd.grow(lpcvd.Conditions(**recipe), instrument.FURNACE)


def answered(task: Task, number: int, seed: int = 1) -> Result:
    """What the instrument measures of a task, checked as the engine checks it."""
    manifest = read_manifest(task.operator, task.params)
    assert isinstance(manifest, ExperimentManifest)
    recipe = manifest.request["recipe"]
    rates = instrument.measure(recipe, number, task.id, instrument.Errors(), seed)
    values = {f"rate_{place}_nm_min": rate for place, rate in enumerate(rates, start=1)}
    document = json.dumps({"result": {**values, "run_number": number}}).encode()
    answer = read_response(manifest, 1, document)
    assert isinstance(answer, Answered), answer
    return Result(TaskStatus.SUCCEEDED, data=dict(answer.data))


def modelled(task: Task) -> Result:
    """What the model's job leaves."""
    params = task.params
    proposals, about = model.propose(
        params["runs"], params["bounds"], model.Goal(**params["goal"]), params["count"], params["seed"]
    )
    return Result(TaskStatus.SUCCEEDED, exit_code=0, data={"proposals": proposals, **about})


@attrs.define
class Played:
    """A campaign that was played to its end.

    Attributes:
        runs: how often the furnace was asked.
    """

    workflows: list[Workflow] = attrs.field(factory=list)
    state: dict[str, Any] = attrs.field(factory=dict)
    runs: int = 0


def play(
    campaign: Any,
    measure: Callable[[Task, int], Result] = answered,
    propose: Callable[[Task], Result] = modelled,
) -> Played:
    """Let a campaign run until it plans None; each state goes through JSON, as it does in the store."""
    played = Played()
    earlier: dict[Any, Any] = {}
    results: dict[str, Result] = {}
    while (workflow := campaign.plan(played.state, Results(results))) is not None:
        check_workflow(workflow, earlier, {"local"})
        earlier.update({task.id: task.outputs for task in workflow.tasks})
        played.workflows.append(workflow)
        for task in workflow.tasks:
            if task.operator == "experiment":
                results[task.id] = measure(task, played.runs)
                played.runs += 1
            elif task.id.startswith("model-"):
                results[task.id] = propose(task)
            else:
                results[task.id] = Result(TaskStatus.SUCCEEDED, exit_code=0, data={})
        played.state = json.loads(json.dumps(campaign.analyze(played.state, Results(results))))
        assert len(played.workflows) < 60
    return played


# ---- a run that takes seconds


def install_quick(root: Path, *settings: str) -> list[str]:
    """Copy the workspace into a root; returns the settings of a quick run, and those that are given."""
    shutil.copytree(
        WORKSPACE, root / "workspaces" / SLUG, ignore=shutil.ignore_patterns("runs", "__pycache__")
    )
    return [*(f"params.{key}={value}" for key, value in QUICK.items()), *settings]


@contextmanager
def running_instrument(run_folder: Path, log: Path, *options: str) -> Iterator[Path]:
    """The instrument as a program of its own; yields the file that holds what it says."""
    said = log.with_suffix(".txt")
    with said.open("a") as output:
        process = subprocess.Popen(
            [
                *(sys.executable, str(WORKSPACE / "instrument.py"), str(run_folder), "--log", str(log)),
                *("--seconds-per-run", "0.02", *options),
            ],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until(lambda: "looking for requests" in said.read_text(), 30, "the instrument")
        yield said
    finally:
        process.terminate()
        assert process.wait(30) == 0


def logged_runs(log: Path) -> list[dict[str, Any]]:
    """What the furnace did, by its own log."""
    return [json.loads(line) for line in log.read_text().splitlines()]


def quick_result(run_folder: Path) -> dict[str, Any]:
    """The result of a quick run, when all else that it leaves is in its place."""
    report = run_folder / "tasks" / "report" / "1"
    assert (report / "report.svg").read_text().startswith("<svg")
    assert "Best recipe" in (report / "report.md").read_text()
    document: dict[str, Any] = json.loads((report / "result.json").read_text())
    table = (report / "runs.csv").read_text().splitlines()
    assert len(table) == 1 + document["runs_of_the_furnace"]
    return document


def check_quick(result: Mapping[str, Any]) -> None:
    """Wherever it ran, and whatever went wrong on the way: the recipe is truly what is said of it."""
    assert result["outcome"] == "goal reached"
    best = result["best"]
    assert len(best["runs"]) >= 2
    film = true_film(best["recipe"])
    # Within 3 %: two runs, each with 0.3 K (0.7 %) and the drift of a dozen runs (about 2 %).
    mean = sum(film.rates_nm_min) / len(film.rates_nm_min)
    assert abs(best["rate_nm_min"] / mean - 1) < 0.03
    assert best["nonuniformity_percent"] <= QUICK["goal_nonuniformity_percent"]


def percent(rates: Sequence[float]) -> float:
    """Unevenness of a profile."""
    return float(lpcvd.nonuniformity_percent(rates))


# ---- its life

FAULTS: Final = {
    "run-01-1": "half",
    "run-01-2": "text",
    "run-01-3": "comma",
    "run-01-4": "nan",
    "run-01-5": "fail",
    "run-01-6": "down",
    "run-02-0": "empty",
    "run-02-1": "slow",
    "run-02-3": "down",
}
"""All that can go wrong, in one run."""


def _options(faults: dict[str, str]) -> list[str]:
    words = [word for task, kind in faults.items() for word in ("--fault", f"{task}={kind}")]
    return [*words, "--down-s", "1"]


def _check_faults(life: Life) -> None:
    """Each fault has happened, and has been seen for what it is."""
    for task, kind in FAULTS.items():
        place = life.folder / "operators" / task
        attempts = life.tasks()[task]["attempts"]
        if kind in instrument.UNUSABLE:
            assert "was not taken" in (place / "response.error-1.txt").read_text()
        assert len(attempts) == (2 if kind == "fail" else 1)
        if kind == "fail":
            assert "pressure interlock" in json.loads((place / "response-1.json").read_text())["failure"]
        table = life.folder / "tasks" / task / str(len(attempts)) / "thickness.csv"
        assert table.read_text().startswith("wafer,place,thickness_nm")


def check_runs(life: Life, log: Path) -> None:
    """The furnace was run exactly once for each experiment that has a result."""
    runs = [(entry["task_id"], entry["attempt"]) for entry in logged_runs(log)]
    assert len(runs) == len(set(runs))
    assert {task for task, _ in runs} == {task for task in life.tasks() if task.startswith("run-")}
    assert quick_result(life.folder)["runs_of_the_furnace"] == len(runs)


def lived_with_an_instrument(command_line: CommandLine, tmp_path: Path, *settings: str) -> Life:
    """The engine dies in the second round; the instrument goes on without it, and answers what is open."""
    life = begun(command_line, SLUG, install_quick(command_line.root, *settings))
    log = tmp_path / "instrument.jsonl"

    def answered_without_an_engine() -> None:
        wait_until(lambda: not life.waiting(), 60, "the answers")

    with running_instrument(life.folder, log, *_options(FAULTS)):
        lived(life, lambda: "run-02-3" in life.waiting(), answered_without_an_engine)
    check_quick(quick_result(life.folder))
    _check_faults(life)
    check_runs(life, log)
    return life
