"""Runs of the catalyst campaign: asked, answered, approved, rejected and sent back."""

import hashlib
import json
import os
import pwd
from typing import Any

import pytest

from tests.catalyst_workspace import SLUG, install_quick
from tests.support.campaign_e2e import Life, begun, lived
from tests.support.command import PATIENCE_S, CommandLine, Running
from tests.support.polling import wait_until

SMALLEST = ('params.metals=["Cu", "Pt"]', 'params.adsorbates=["O"]')
ANSWER = ("adsorbate=O", "accuracy_ev=0.002", "refine_Ni=true", "refine_Pt=true", "reason=the extremes")
GATE = json.dumps({"decision": "approve", "comment": "go on"}).encode()


def begun_quick(command_line: CommandLine, *settings: str) -> Life:
    return begun(command_line, SLUG, install_quick(command_line.root, *settings))


def _engine(life: Life) -> Running:
    return life.command_line.start("run", "loop", life.run_id, "--until-done")


def _await_question(life: Life, task: str, attempt: int = 1) -> None:
    """Wait until a task has been asked that many times, and nobody has answered the last time."""

    def is_asked() -> bool:
        found = life.tasks().get(task)
        if found is None or found["status"] != "ACTIVE" or len(found["attempts"]) != attempt:
            return False
        return bool(found["attempts"][-1]["job_id"])

    wait_until(is_asked, PATIENCE_S, f"the question of {task}")


def _respond(life: Life, task: str, *answer: str) -> str:
    """Answer with options of the command line; returns what became of the task."""
    options = [word for setting in answer for word in ("--set", setting)]
    said: dict[str, str] = life.command_line.json("respond", life.run_id, task, *options)
    return said["status"]


def _trends(life: Life) -> tuple[dict[str, Any], str]:
    """What a run wrote in the end, for programs and for people."""
    assert life.command_line.status(life.run_id)["status"] == "COMPLETED"
    folder = life.folder / "tasks" / "trends" / "1"
    assert (folder / "trends.svg").read_text().startswith("<svg")
    assert json.loads((folder / "result.json").read_text())["adsorbate"] == "O"
    return json.loads((folder / "trends.json").read_text()), (folder / "trends.md").read_text()


def _finished(life: Life, engine: Running) -> tuple[dict[str, Any], str]:
    done = engine.wait()
    assert done.exit_code == 0, done.stderr
    return _trends(life)


def check_whole_life(life: Life) -> None:
    """Two engines are killed, each while a question waits; both answers are given while there is none."""
    first = _engine(life)
    _await_question(life, "choose")
    first.kill()
    request = life.folder / "operators" / "choose" / "request.json"
    asked = request.read_bytes()
    assert _respond(life, "choose", *ANSWER) == "ACTIVE"

    def approved_by_file() -> None:
        (life.folder / "operators" / "approve" / "response.json").write_bytes(GATE)

    lived(life, lambda: "approve" in life.waiting(), approved_by_file)
    assert request.read_bytes() == asked
    assert {len(task["attempts"]) for task in life.tasks().values()} == {1}
    ended = [e["data"] for e in life.command_line.events(life.run_id) if e["type"] == "JobEnded"]
    assert [end["by"] for end in ended if end.get("sha256") == hashlib.sha256(GATE).hexdigest()] == [
        pwd.getpwuid(os.getuid()).pw_name
    ]
    summary, page = _trends(life)
    assert summary["settled"] is True
    assert set(summary["refined"]) == {"Ni", "Pt"}
    # A tenth of a millielectronvolt is the last digit; which processor it was may show in it.
    assert summary["refined"]["Pt"]["energy_ev"] == pytest.approx(-4.7075, abs=0.002)
    assert summary["refined"]["Ni"]["energy_ev"] == pytest.approx(-4.7113, abs=0.002)
    assert all(row["here_ev"] > 0.02 for row in summary["neighbours"])
    assert "Chosen: O on Ni, Pt, to 0.002 eV (the extremes)." in page
    assert "This was approved: go on." in page


def test_a_rejected_refinement_completes_with_what_was_screened(command_line: CommandLine) -> None:
    life = begun_quick(command_line, *SMALLEST)
    engine = _engine(life)
    _await_question(life, "choose")
    assert _respond(life, "choose", "adsorbate=O", "accuracy_ev=0.001", "refine_Pt=true") == "SUCCEEDED"
    _await_question(life, "approve")
    command_line.ok("respond", life.run_id, "approve", "--reject", "--comment", "not this week")
    summary, page = _finished(life, engine)
    assert summary["refined"] == {}
    assert "It was not computed: it was rejected: not this week." in page
    assert life.tasks()["approve"]["status"] == "FAILED"
    assert not [task for task in life.tasks() if task.startswith("refine")]


def test_a_choice_that_is_sent_back_is_made_anew(command_line: CommandLine) -> None:
    life = begun_quick(command_line, *SMALLEST)
    engine = _engine(life)
    _await_question(life, "choose")
    _respond(life, "choose", "adsorbate=O", "accuracy_ev=0.0005", "refine_Cu=true")
    _await_question(life, "approve")
    command_line.ok("respond", life.run_id, "approve", "--send-back", "--comment", "platinum is the question")
    _await_question(life, "choose", attempt=2)
    assert life.tasks()["approve"]["status"] == "WAITING"
    _respond(life, "choose", "adsorbate=O", "accuracy_ev=0.01", "refine_Pt=true")
    _await_question(life, "approve", attempt=2)
    command_line.ok("respond", life.run_id, "approve", "--approve")
    summary, page = _finished(life, engine)
    assert set(summary["refined"]) == {"Pt"}
    assert "Chosen: O on Pt, to 0.01 eV." in page
    first = json.loads((life.folder / "operators" / "choose" / "response-1.json").read_text())
    assert first["refine_Cu"] is True
    assert len(life.tasks()["survey"]["attempts"]) == 1


def test_an_answer_that_cannot_be_used_is_set_aside_in_words_for_a_chemist(command_line: CommandLine) -> None:
    life = begun_quick(command_line, *SMALLEST)
    engine = _engine(life)
    _await_question(life, "choose")
    folder = life.folder / "operators" / "choose"
    (folder / "response.json").write_text('{"adsorbate": "O", "accuracy_ev": "0.01", "refine_Au": true}')
    wait_until((folder / "response.error.txt").exists, PATIENCE_S, "the rejection")
    said = (folder / "response.error.txt").read_text()
    assert "accuracy_ev: must be a number, not '0.01'; write it without quotes" in said
    assert "refine_Au: is not asked for; do you mean" in said
    assert life.tasks()["choose"]["status"] == "ACTIVE"
    (folder / "response.json").write_text('{"adsorbate": "O", "accuracy_ev": 0.01}')
    _await_question(life, "approve")
    command_line.ok("respond", life.run_id, "approve", "--approve")
    summary, page = _finished(life, engine)
    assert summary["refined"] == {}
    assert "No surface was chosen." in page
