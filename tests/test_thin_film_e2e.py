"""Runs of the thin film campaign: engine, instrument and campaign as programs of their own."""

import json
from pathlib import Path

from tests.support.campaign_e2e import Life, begun, lived
from tests.support.command import CommandLine
from tests.support.polling import wait_until
from tests.thin_film_workspace import (
    SLUG,
    check_quick,
    install_quick,
    instrument,
    logged_runs,
    quick_result,
    running_instrument,
)

FAULTS = {
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


def _check_runs(life: Life, log: Path) -> None:
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
    _check_runs(life, log)
    return life


def test_an_instrument_that_is_killed_goes_on_where_it_was(command_line: CommandLine, tmp_path: Path) -> None:
    life = begun(command_line, SLUG, install_quick(command_line.root))
    log = tmp_path / "instrument.jsonl"
    engine = command_line.start("run", "loop", life.run_id, "--until-done")
    with running_instrument(life.folder, log):
        wait_until(lambda: log.exists() and len(logged_runs(log)) >= 3, 60, "three runs")
    with running_instrument(life.folder, log):
        assert engine.wait(120).exit_code == 0
    check_quick(quick_result(life.folder))
    _check_runs(life, log)
    assert [entry["number"] for entry in logged_runs(log)] == list(range(len(logged_runs(log))))


def test_a_person_can_be_the_instrument(command_line: CommandLine) -> None:
    """Seven answers by hand, as the request asks for them; the model then proposes."""
    life = begun(command_line, SLUG, install_quick(command_line.root))
    command_line.start("run", "loop", life.run_id)
    wait_until(lambda: len(life.waiting()) == 7, 60, "seven questions")
    for number, task in enumerate(life.waiting()):
        shown = command_line.json("respond", life.run_id, task)["manifest"]
        assert "Grow for 20 minutes" in shown["instructions"]
        rates = instrument.measure(shown["request"]["recipe"], number, task, instrument.Errors(), 1)
        words = [f"rate_{place}_nm_min={rate}" for place, rate in enumerate(rates, start=1)]
        command_line.ok("respond", life.run_id, task, *(w for word in words for w in ("--set", word)))
    wait_until(lambda: life.succeeded("model-01"), 60, "the model")
    wait_until(lambda: "run-02-2" in life.waiting(), 60, "the next round")
    proposals = json.loads((life.folder / "tasks" / "model-01" / "1" / "result.json").read_text())[
        "proposals"
    ]
    request = json.loads((life.folder / "operators" / "run-02-2" / "request.json").read_text())
    assert request["manifest"]["request"]["recipe"] in [proposal["recipe"] for proposal in proposals]
