"""Runs of the catalyst campaign: asked, answered, approved, rejected and sent back."""

import json
from typing import Any

from tests.catalyst_workspace import await_question, begun_quick, respond, serve, trends
from tests.support.campaign_e2e import Life
from tests.support.command import PATIENCE_S, CommandLine, Running
from tests.support.crates import assert_evidence_is_whole
from tests.support.polling import wait_until

SMALLEST = ('params.metals=["Cu", "Pt"]', 'params.adsorbates=["O"]')


def _finished(life: Life, engine: Running) -> tuple[dict[str, Any], str]:
    done = engine.wait()
    assert done.exit_code == 0, done.stderr
    return trends(life)


def test_a_rejected_refinement_completes_with_what_was_screened(command_line: CommandLine) -> None:
    life = begun_quick(command_line, *SMALLEST)
    engine = serve(life)
    await_question(life, "choose")
    assert respond(life, "choose", "adsorbate=O", "accuracy_ev=0.001", "refine_Pt=true") == "SUCCEEDED"
    await_question(life, "approve")
    command_line.ok("respond", life.run_id, "approve", "--reject", "--comment", "not this week")
    summary, page = _finished(life, engine)
    assert summary["refined"] == {}
    assert "It was not computed: it was rejected: not this week." in page
    assert life.tasks()["approve"]["status"] == "FAILED"
    assert not [task for task in life.tasks() if task.startswith("refine")]
    assert_evidence_is_whole(command_line, life.run_id)


def test_a_choice_that_is_sent_back_is_made_anew(command_line: CommandLine) -> None:
    life = begun_quick(command_line, *SMALLEST)
    engine = serve(life)
    await_question(life, "choose")
    respond(life, "choose", "adsorbate=O", "accuracy_ev=0.0005", "refine_Cu=true")
    await_question(life, "approve")
    command_line.ok("respond", life.run_id, "approve", "--send-back", "--comment", "platinum is the question")
    await_question(life, "choose", attempt=2)
    assert life.tasks()["approve"]["status"] == "WAITING"
    respond(life, "choose", "adsorbate=O", "accuracy_ev=0.01", "refine_Pt=true")
    await_question(life, "approve", attempt=2)
    command_line.ok("respond", life.run_id, "approve", "--approve")
    summary, page = _finished(life, engine)
    assert set(summary["refined"]) == {"Pt"}
    assert "Chosen: O on Pt, to 0.01 eV." in page
    first = json.loads((life.folder / "operators" / "choose" / "response-1.json").read_text())
    assert first["refine_Cu"] is True
    assert len(life.tasks()["survey"]["attempts"]) == 1


def test_an_answer_that_cannot_be_used_is_set_aside_in_words_for_a_chemist(command_line: CommandLine) -> None:
    life = begun_quick(command_line, *SMALLEST)
    engine = serve(life)
    await_question(life, "choose")
    folder = life.folder / "operators" / "choose"
    (folder / "response.json").write_text('{"adsorbate": "O", "accuracy_ev": "0.01", "refine_Au": true}')
    wait_until((folder / "response.error.txt").exists, PATIENCE_S, "the rejection")
    said = (folder / "response.error.txt").read_text()
    assert "accuracy_ev: must be a number, not '0.01'; write it without quotes" in said
    assert "refine_Au: is not asked for; do you mean" in said
    assert life.tasks()["choose"]["status"] == "ACTIVE"
    (folder / "response.json").write_text('{"adsorbate": "O", "accuracy_ev": 0.01}')
    await_question(life, "approve")
    command_line.ok("respond", life.run_id, "approve", "--approve")
    summary, page = _finished(life, engine)
    assert summary["refined"] == {}
    assert "No surface was chosen." in page
