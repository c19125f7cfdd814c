"""Questions are shown and answered on the command line; nothing is written that cannot be used."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from matterstack.cli.app import main
from matterstack.cli.errors import report
from tests.support.campaigns import Diary, write_tasks
from tests.support.command import PATIENCE_S, CommandLine
from tests.support.on_terminal import on_terminal
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

    def first() -> Any:
        return command_line.json("run", "explain", run_id)["causes"][0]

    def answered(task_id: str, text: str) -> None:
        (folder / task_id / "response.json").write_text(text)
        ended = ("SUCCEEDED", "FAILED")
        wait_until(lambda: command_line.tasks(run_id)[task_id]["status"] in ended, PATIENCE_S, task_id)

    person = first()
    assert (person["kind"], person["blocks"]) == ("waits_for_person", 2), "itself, and what is behind it"
    assert person["action"] == f"matterstack respond {run_id} choose"
    (folder / "choose" / "response.json").write_text('{"site": "hollow"}')
    rejected = folder / "choose" / "response.rejected-1.json"
    wait_until(rejected.exists, PATIENCE_S, "the rejection")
    wait_until(lambda: "JobStateChanged" in command_line.event_types(run_id), PATIENCE_S, "the fact")
    wrong = first()
    assert wrong["kind"] == "answer_rejected"
    assert "site: must be one of: top, bridge; not 'hollow'" in wrong["message"]
    assert wrong["action"] == f"matterstack respond {run_id} choose"
    answered("choose", '{"site": "top", "energy": -1}')
    gate = first()
    assert (gate["kind"], gate["blocks"]) == ("gate", 2)
    assert gate["action"] == f"matterstack respond {run_id} gate --approve"
    answered("gate", '{"decision": "approve"}')
    by_hand = first()
    assert (by_hand["kind"], by_hand["blocks"]) == ("waits_for_job_by_hand", 2)
    assert by_hand["action"] == f"matterstack respond {run_id} by-hand"
    script = command_line.run_folder("w", run_id) / "tasks" / "by-hand" / "1" / "job.sh"
    subprocess.run([str(script)], check=True, env={**os.environ, "SLURM_JOB_ID": "17"})
    answered("by-hand", '{"exit_code": 0}')
    instrument = first()
    assert (instrument["kind"], instrument["blocks"]) == ("waits_for_instrument", 2)
    assert instrument["action"] == f"matterstack respond {run_id} measure"


LEAVES = """echo '{"energy": -1.5}' > result.json; echo x > out.xyz"""
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
    ("by-hand", ("--set", "job_id=; rm -rf"), 2, "job_id: must be the id of a job, such as 4711 or 4711_3"),
    ("after", ("--approve",), 4, "task after is a compute task and asks nobody"),
    ("nobody", ("--approve",), 3, "has no task 'nobody'"),
]


def refusal(command_line: CommandLine, *arguments: str) -> tuple[int, str]:
    """Exit code and message of a command, which is carried out in this process: that saves its start."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            main(["--root", str(command_line.root), *arguments], _anyio_backend="trio", standalone_mode=False)
        except BaseException as error:  # noqa: BLE001  as `matterstack.cli.run_command_line` does
            return report(error, as_json=False), said.getvalue()
    return 0, said.getvalue()


def test_what_cannot_be_used_is_refused_in_words_and_nothing_is_written(
    command_line: CommandLine, run_id: str
) -> None:
    folder = asked(command_line, run_id)
    for task_id, words, exit_code, message in REFUSED:
        found, said = refusal(command_line, "respond", run_id, task_id, *words)
        assert (found, message in said) == (exit_code, True), (task_id, words, said)
    done = command_line.run("respond", run_id, *REFUSED[0][:1], *REFUSED[0][1])
    assert (done.exit_code, REFUSED[0][3] in done.stderr) == (2, True), "as a process of its own, too"
    assert {p.name for p in folder.rglob("*") if p.is_file()} == {"request.json"}


def said_to(command_line: CommandLine, typed: str, *arguments: str) -> str:
    """What a command says in a terminal in which this is typed, until its end, which must be a good one."""
    done = on_terminal(command_line, *arguments, typed=typed, TERM="dumb")
    assert done.exit_code == 0, done.stdout
    return done.stdout.replace("\r\n", "\n")


def test_a_terminal_asks_for_each_field_until_it_is_right(command_line: CommandLine, run_id: str) -> None:
    folder = asked(command_line, run_id)
    text = said_to(command_line, "hollow\ntop\n5\n-1.5\nperhaps\ny\n", "respond", run_id, "choose")
    for words in (
        HUMAN["question"],
        "energy: a number in eV, at most 0\n",
        "sure: true or false (may be left out)",
        "must be one of: top, bridge; not 'hollow'",
        "must be at most 0 eV, not 5",
        "'perhaps' is neither true nor false",
        "the answer was taken; task choose is SUCCEEDED",
    ):
        assert words in text, text
    answer = {"site": "top", "energy": -1.5, "sure": True}
    assert json.loads((folder / "choose" / "response.json").read_text()) == answer
    text = said_to(command_line, "; rm -rf\nover\nx\nover\n3\n", "respond", run_id, "by-hand")
    assert "job_id: must be the id of a job, such as 4711 or 4711_3" in text
    assert "exit_code: 'x' is no whole number" in text
    assert json.loads((folder / "by-hand" / "response.json").read_text()) == {"exit_code": 3}


def test_a_gate_shows_what_it_approves_and_what_is_sent_back_says_why(
    command_line: CommandLine, diary: Diary
) -> None:
    work = diary.task(
        "relax", """echo '{"energy": -1.5}' > result.json; echo x > out.xyz""", outputs=["*.xyz"]
    )
    gate = {"id": "gate", "operator": "gate", "params": {"question": "Refine?"}, "depends_on": ["relax"]}
    write_tasks(command_line.root, "w", [work, gate])
    run_id = command_line.new_run("w")
    command_line.start("run", "loop", run_id)
    gates = command_line.run_folder("w", run_id) / "operators" / "gate"
    wait_until((gates / "request.json").exists, PATIENCE_S, "the gate")

    text = said_to(command_line, "send_back\n\n  \nfiner grid\n", "respond", run_id, "gate")

    folder = command_line.run_folder("w", run_id) / "tasks" / "relax" / "1"
    assert 'relax SUCCEEDED\n        data: {"energy": -1.5}\n' in text
    assert f"files: out.xyz in {folder}\n" in text
    assert text.count("whoever does it again has to know what was wrong") == 2
    assert "the answer was taken; task gate asks again" in text
    wait_until((gates / "response-1.json").exists, PATIENCE_S, "the second question")
    assert json.loads((gates / "response-1.json").read_text()) == {
        "decision": "send_back", "comment": "finer grid"
    }  # fmt: skip
    again = command_line.json("respond", run_id, "gate")
    assert again["again"] == "gate gate sent it back: finer grid"
    assert [(r["task_id"], r["status"], r["data"], r["outputs"]) for r in again["results"]] == [
        ("relax", "SUCCEEDED", {"energy": -1.5}, ["out.xyz"])
    ]
    assert again["results"][0]["folder"].endswith("/tasks/relax/2")
