"""Questions are shown and answered on the command line; nothing is written that cannot be used."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.campaigns import write_tasks
from tests.support.command import COMMAND, PATIENCE_S, CommandLine
from tests.support.polling import wait_until

HUMAN: dict[str, Any] = {
    "question": "Which site does CO prefer?",
    "fields": {
        "site": {"type": "choice", "choices": ["top", "bridge"]},
        "energy": {"type": "number", "unit": "eV", "max": 0},
        "sure": {"type": "boolean", "required": False},
    },
}
EXPERIMENT: dict[str, Any] = {
    "request": {"t_k": 620},
    "fields": {"thickness_nm": {"type": "number", "min": 0}},
}
TASKS: list[dict[str, Any]] = [
    {"id": "choose", "operator": "human", "params": HUMAN},
    {"id": "gate", "operator": "gate", "params": {"question": "Refine these?"}},
    {"id": "measure", "operator": "experiment", "params": EXPERIMENT},
    {
        "id": "by-hand",
        "operator": "manual_hpc",
        "command": ["sh", "-c", "echo 1 > out.txt"],
        "outputs": ["out.txt"],
    },
    {"id": "after", "command": ["true"], "depends_on": ["choose", "gate", "measure", "by-hand"]},
]


@pytest.fixture
def run_id(command_line: CommandLine) -> str:
    write_tasks(command_line.root, "w", TASKS)
    return command_line.new_run("w")


def asked(command_line: CommandLine, run_id: str) -> Path:
    """Let an engine ask; returns where."""
    command_line.start("run", "loop", run_id)
    folder = command_line.run_folder("w", run_id) / "operators"
    names = [task["id"] for task in TASKS[:4]]
    wait_until(
        lambda: all((folder / n / "request.json").exists() for n in names), PATIENCE_S, "all questions"
    )
    wait_until(lambda: _followed(command_line, run_id) == 4, PATIENCE_S, "the facts")
    return folder


def _followed(command_line: CommandLine, run_id: str) -> int:
    return command_line.event_types(run_id).count("JobAccepted")


def test_every_kind_of_question_is_answered_while_an_engine_waits(
    command_line: CommandLine, run_id: str
) -> None:
    asked(command_line, run_id)
    shown = command_line.json("respond", run_id, "choose")
    assert (shown["operator"], shown["attempt"], shown["manifest"]["question"]) == (
        "human",
        1,
        HUMAN["question"],
    )
    taken = command_line.ok("respond", run_id, "choose", "--set", "site=top", "--set", "energy=-1.5")
    assert taken == "the answer was taken; task choose is SUCCEEDED\n"
    command_line.ok("respond", run_id, "gate", "--approve", "--comment", "nice")
    command_line.ok("respond", run_id, "measure", "--set", "thickness_nm=5.5")
    script = command_line.run_folder("w", run_id) / "tasks" / "by-hand" / "1" / "job.sh"
    subprocess.run([str(script)], check=True, env={**os.environ, "SLURM_JOB_ID": "17"})
    command_line.ok("respond", run_id, "by-hand", "--set", "exit_code=0")
    wait_until(lambda: command_line.status(run_id)["status"] == "COMPLETED", PATIENCE_S, "the end")
    ended = {e["data"]["token"]: e["data"] for e in command_line.events(run_id) if e["type"] == "JobEnded"}
    assert sum(bool(data.get("sha256")) for data in ended.values()) == 4
    again = command_line.run("respond", run_id, "gate", "--reject")
    assert (again.exit_code, "waits for no answer" in again.stderr) == (4, True)


def test_an_answer_without_an_engine_is_taken_by_the_next_one(command_line: CommandLine, run_id: str) -> None:
    folder = asked(command_line, run_id)
    command_line.shut_down()
    done = command_line.ok("respond", run_id, "gate", "--reject")
    assert done == f"the answer is there; an engine takes it when one runs: matterstack run loop {run_id}\n"
    twice = command_line.run("respond", run_id, "gate", "--approve")
    assert twice.exit_code == 4
    assert "has an answer already" in twice.stderr
    assert json.loads((folder / "gate" / "response.json").read_text()) == {"decision": "reject"}
    command_line.start("run", "loop", run_id)
    wait_until(lambda: command_line.tasks(run_id)["gate"]["status"] == "FAILED", PATIENCE_S, "the rejection")
    assert command_line.tasks(run_id)["after"]["status"] == "SKIPPED"


def test_explain_names_who_is_waited_for_and_what_to_type(command_line: CommandLine, run_id: str) -> None:
    folder = asked(command_line, run_id)
    causes = {cause["kind"]: cause for cause in command_line.json("run", "explain", run_id)["causes"]}
    assert causes.keys() == {
        "waits_for_person", "gate", "waits_for_job_by_hand", "waits_for_instrument"
    }  # fmt: skip
    assert {cause["blocks"] for cause in causes.values()} == {2}, "itself, and what is behind it"
    assert causes["gate"]["action"] == f"matterstack respond {run_id} gate --approve"
    (folder / "choose" / "response.json").write_text('{"site": "hollow"}')
    rejected = folder / "choose" / "response.rejected-1.json"
    wait_until(rejected.exists, PATIENCE_S, "the rejection")
    wait_until(lambda: "JobStateChanged" in command_line.event_types(run_id), PATIENCE_S, "the fact")
    first = command_line.json("run", "explain", run_id)["causes"][0]
    assert first["kind"] == "answer_rejected"
    assert "site: must be one of: top, bridge; not 'hollow'" in first["message"]
    assert first["action"] == f"matterstack respond {run_id} choose"


REFUSED: list[tuple[str, tuple[str, ...], int, str]] = [
    (
        "choose",
        ("--set", "site=hollow", "--set", "energy=-1"),
        2,
        "site: must be one of: top, bridge; not 'hollow'",
    ),
    ("choose", ("--set", "site=top"), 2, "energy: is missing; give a number in eV, at most 0"),
    ("choose", ("--set", "site=top", "--set", "energy=high"), 2, "energy: 'high' is no number"),
    ("choose", ("--set", "energy=nan", "--set", "site=top"), 2, "the answer cannot be used"),
    (
        "choose",
        ("--set", "site=top", "--set", "enrgy=-1"),
        2,
        "enrgy: is not asked for; do you mean 'energy'?",
    ),
    ("choose", ("--set", "site"), 2, "--set site is not of the form NAME=VALUE"),
    ("choose", ("--set", "site=top", "--set", "site=top"), 2, "--set site=top is given twice"),
    ("choose", ("--set", "sure=perhaps"), 2, "sure: 'perhaps' is neither true nor false"),
    ("choose", ("--approve",), 2, "--approve: task choose is a human task"),
    ("choose", ("--file", "nothing.json"), 2, "--file nothing.json: No such file"),
    ("choose", ("--file", "."), 2, "--file .: Is a directory"),
    ("choose", (), 2, "no answer was given"),
    ("gate", ("--set", "x=1"), 2, "a gate is answered with --approve, --reject or --send-back"),
    ("gate", ("--send-back",), 2, "send_back needs a comment"),
    ("gate", ("--approve", "--set", "x=1"), 2, "give one of --set, --file, --approve"),
    ("gate", ("--failure", "x"), 2, "--failure: task gate is a gate task"),
    ("measure", ("--set", "thickness_nm=-1"), 2, "result.thickness_nm: must be at least 0, not -1"),
    ("by-hand", ("--set", "exit_code=x"), 2, "exit_code: 'x' is no whole number"),
    ("by-hand", ("--set", "job_id=; rm -rf"), 2, "job_id: must match pattern"),
    ("after", ("--approve",), 4, "task after is a compute task and asks nobody"),
    ("nobody", ("--approve",), 3, "has no task 'nobody'"),
]


def test_what_cannot_be_used_is_refused_in_words_and_nothing_is_written(
    command_line: CommandLine, run_id: str
) -> None:
    folder = asked(command_line, run_id)
    for task_id, words, exit_code, message in REFUSED:
        done = command_line.run("respond", run_id, task_id, *words)
        assert (done.exit_code, message in done.stderr) == (exit_code, True), (task_id, words, done.stderr)
    assert {p.name for p in folder.rglob("*") if p.is_file()} == {"request.json"}


def test_a_terminal_asks_for_each_field_until_it_is_right(command_line: CommandLine, run_id: str) -> None:
    asked(command_line, run_id)
    ours, theirs = pty.openpty()
    environment = {**command_line.environment, "TERM": "dumb"}
    process = subprocess.Popen(
        [COMMAND, "respond", run_id, "choose"],
        cwd=command_line.root, env=environment, stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    os.write(ours, b"hollow\ntop\n5\n-1.5\n\n")
    said = b""
    try:
        while chunk := os.read(ours, 4096):
            said += chunk
    except OSError:  # the other side is closed: pty(7)
        pass
    os.close(ours)
    assert process.wait(PATIENCE_S) == 0, said.decode()
    text = said.decode().replace("\r\n", "\n")
    for words in (
        HUMAN["question"],
        "energy: a number in eV, at most 0\n",
        "sure: true or false (may be left out)",
        "must be one of: top, bridge; not 'hollow'",
        "must be at most 0 eV, not 5",
        "the answer was taken; task choose is SUCCEEDED",
    ):
        assert words in text, text
    response = command_line.run_folder("w", run_id) / "operators" / "choose" / "response.json"
    assert json.loads(response.read_text()) == {"site": "top", "energy": -1.5}
