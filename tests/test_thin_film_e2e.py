"""Runs of the thin film campaign: engine, instrument and campaign as programs of their own."""

import json
from pathlib import Path

from tests.support.campaign_e2e import begun
from tests.support.command import CommandLine
from tests.support.crates import assert_evidence_is_whole
from tests.support.polling import wait_until
from tests.thin_film_workspace import (
    SLUG,
    check_quick,
    check_runs,
    install_quick,
    instrument,
    logged_runs,
    quick_result,
    running_instrument,
)


def test_an_instrument_that_is_killed_goes_on_where_it_was(command_line: CommandLine, tmp_path: Path) -> None:
    life = begun(command_line, SLUG, install_quick(command_line.root))
    log = tmp_path / "instrument.jsonl"
    engine = command_line.start("run", "loop", life.run_id, "--until-done")
    with running_instrument(life.folder, log):
        wait_until(lambda: log.exists() and len(logged_runs(log)) >= 3, 60, "three runs")
    with running_instrument(life.folder, log):
        assert engine.wait(120).exit_code == 0
    check_quick(quick_result(life.folder))
    check_runs(life, log)
    assert [entry["number"] for entry in logged_runs(log)] == list(range(len(logged_runs(log))))
    assert_evidence_is_whole(command_line, life.run_id)


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
