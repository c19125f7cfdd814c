"""What a job, a person, an instrument or another program wrote steers no terminal."""

from __future__ import annotations

import json
import os
import re
import subprocess
import unicodedata
from typing import Final

import pytest

from tests.backends.conftest import Shims
from tests.support.campaigns import write_tasks, write_workspace
from tests.support.command import COMMAND, PATIENCE_S, CommandLine
from tests.support.documentation import PROJECT
from tests.support.on_terminal import on_terminal
from tests.support.polling import wait_until

EVIL: Final = "e\x1b]52;c;cm0gLXJm\x07\x1b[2J\x1b[8mv\x9b1A\u202ei\x1b]8;;http://x\x1b\\l\x08"
"""The clipboard, the whole screen, what is hidden, a line above, the other direction, a link, one back."""
SHOWN: Final = r"\x1b]52;c;cm0gLXJm\x07"
COLOUR: Final = re.compile(r"\x1b\[[0-9;]*m")
QUESTION: Final = {
    "question": f"Is it {EVIL}?",
    "fields": {"size": {"type": "number", "unit": f"nm{EVIL}", "help": f"with care {EVIL}"}},
}
CAMPAIGN: Final = """\
import json
from pathlib import Path
from matterstack import Task, Workflow

EVIL = json.loads((Path(__file__).parent / "evil.json").read_text())

class Hostile:
    def plan(self, state, results):
        if state:
            return None
        print(EVIL)
        failing = ["sh", "-c", 'printf "%s\\n" "$0" "$0" >&2; exit 3', EVIL]
        naming = ["sh", "-c", 'printf "%s" "$0" > "out-$0"', EVIL.replace("/", "")]
        tasks = [Task("fails", command=failing), Task("names", command=naming, outputs=("out-*",))]
        return Workflow(tasks, name=EVIL)

    def analyze(self, state, results):
        return {"found": EVIL}

def get_campaign():
    return Hostile()
"""


def orders(text: str) -> list[str]:
    """What in a text controls a terminal, colours of our own apart."""
    text = COLOUR.sub("", text).replace("\r\n", "\n")
    return [c for c in text if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Co"} and c not in "\n\t"]


def said_in_colours(command_line: CommandLine, *arguments: str, typed: str | None = None) -> str:
    """All that a command sends to a terminal, on which this is typed."""
    return on_terminal(command_line, *arguments, typed=typed, TERM="xterm-256color").stdout


def on_every_face(command_line: CommandLine, *arguments: str) -> str:
    """What a command prints into a pipe; on a terminal it is as harmless."""
    assert orders(said_in_colours(command_line, *arguments)) == []
    done = command_line.run(*arguments)
    assert orders(done.stdout + done.stderr) == []
    return done.stdout + done.stderr


@pytest.fixture
def run_id(command_line: CommandLine) -> str:
    """A run of a hostile campaign, to its end."""
    write_workspace(
        command_line.root,
        "hostile",
        CAMPAIGN,
        config={"backends": {"local": {"type": "local"}}},
        files={"evil.json": json.dumps(EVIL)},
    )
    said = said_in_colours(command_line, "run", "start", "hostile")
    assert orders(re.sub(r"\x1b\[(\?25[lh]|2K|1A)|\r", "", said)) == [], "bars move, and nothing else"
    (run_id,) = [run["run_id"] for run in command_line.json("run", "list")]
    return str(run_id)


def test_no_command_passes_on_what_would_steer_a_terminal(command_line: CommandLine, run_id: str) -> None:
    shown = {
        words: on_every_face(command_line, *words)
        for words in (
            ("run", "list"),
            ("run", "status", run_id),
            ("run", "tasks", run_id),
            ("run", "explain", run_id),
            ("run", "events", run_id),
            ("run", "tasks", run_id, "--json"),
            ("run", "logs", run_id, "fails", "--stderr"),
            ("run", "logs", run_id, "fails", "--stderr", "--json"),
            ("run", "clean", run_id),
            ("run", "init", "hostile", "--show-script"),
            ("watch", run_id),
            ("check",),
        )
    }
    assert SHOWN in shown["run", "status", run_id]
    assert SHOWN in shown["run", "logs", run_id, "fails", "--stderr"]
    events = [json.loads(line) for line in shown["run", "events", run_id].splitlines()]
    (planned,) = [event for event in events if event["type"] == "IterationPlanned"]
    assert planned["data"]["name"] == EVIL, "a program is told what was written"
    assert json.loads(shown["run", "logs", run_id, "fails", "--stderr", "--json"])["text"] == f"{EVIL}\n" * 2


def test_every_byte_of_a_log_comes_when_it_is_asked_for(command_line: CommandLine, run_id: str) -> None:
    raw = subprocess.run(
        [COMMAND, "run", "logs", run_id, "fails", "--stderr", "--raw"],
        cwd=command_line.root,
        env=command_line.environment,
        capture_output=True,
        check=True,
    )
    assert raw.stdout == f"{EVIL}\n{EVIL}\n".encode()
    followed = command_line.run("run", "logs", run_id, "fails", "--stderr", "--raw", "--follow")
    assert followed.stdout == f"{EVIL}\n{EVIL}\n"
    assert orders(command_line.run("run", "logs", run_id, "fails", "--stderr", "--follow").stdout) == []


def test_reports_of_evidence_hold_no_orders(command_line: CommandLine, run_id: str) -> None:
    command_line.ok("run", "export-evidence", run_id)
    (bundle,) = command_line.root.glob("workspaces/hostile/runs/*/evidence")
    texts = [
        path
        for path in bundle.iterdir()
        if path.suffix in {".md", ".html", ".csv", ".json", ".cff", ".jsonl"}
    ]
    assert {"report.md", "report.html"} <= {path.name for path in texts}
    for path in texts:
        if path.suffix in {".md", ".html", ".csv"}:
            assert orders(path.read_text()) == [], path.name
    assert SHOWN in (bundle / "report.md").read_text()
    changed = bundle / "tasks.csv"
    changed.write_text(f"{EVIL}\n")
    (bundle / f"new-{EVIL.replace('/', '')}").touch()
    assert SHOWN in on_every_face(command_line, "evidence", "verify", str(bundle))
    on_every_face(command_line, "evidence", "show", str(bundle))


def test_questions_and_reasons_are_shown_and_not_obeyed(command_line: CommandLine) -> None:
    asking = {"id": "ask", "operator": "human", "command": [], "params": QUESTION}
    write_tasks(command_line.root, "w", [asking])
    run_id = command_line.new_run("w")
    engine = command_line.start("run", "loop", run_id)
    wait_until(lambda: "JobAccepted" in command_line.event_types(run_id), PATIENCE_S, "the question")
    assert SHOWN in on_every_face(command_line, "respond", run_id, "ask")
    typed = said_in_colours(command_line, "respond", run_id, "ask", typed="wide\n\x04")
    assert "size (a number in nm" in typed
    assert orders(typed.replace("\x1b[?2004h", "").replace("\x1b[?2004l\r", "").replace("\r", "")) == []
    on_every_face(command_line, "respond", run_id, "ask", "--set", f"size={EVIL}")
    on_every_face(command_line, "respond", run_id, EVIL)
    on_every_face(command_line, "run", "explain", run_id)
    on_every_face(command_line, "run", "pause", run_id, "--reason", EVIL)
    for words in (("run", "list"), ("run", "status", run_id), ("run", "explain", run_id)):
        assert SHOWN in on_every_face(command_line, *words), words
    assert orders(engine.stdout + engine.stderr) == []
    assert orders((command_line.root / ".matterstack" / "engine.log").read_text()) == []


def test_nothing_of_the_command_line_goes_past_the_one_place() -> None:
    """Consoles are given their stream, and what is asked goes through `prompt`."""
    for path in sorted((PROJECT / "matterstack" / "cli").glob("*.py")):
        text = path.read_text()
        assert not re.search(
            r"Console\((?!file=)|sys\.__std|[^.\w]input\(|TextColumn\(\"\{|TextColumn\(f", text
        ), path.name
        if path.name != "printing.py":
            assert not re.search(r"click\.(prompt|confirm|edit|pause)\(", text), path.name
        if path.name not in {"run_show.py", "harmless_output.py"}:
            assert "stdout.buffer" not in text, path.name


def test_what_programs_of_the_cluster_say_is_shown_and_not_obeyed(
    command_line: CommandLine, shims: Shims
) -> None:
    for name in ("ssh", "rsync"):
        shims.add(name, "printf '%s\\n' \"$EVIL\" >&2; exit 1")
    config = {"backends": {"cluster": {"type": "slurm", "ssh": {"host": "login", "workdir": "/scratch"}}}}
    write_workspace(command_line.root, "w", "def get_campaign(): ...\n", config=config)
    done = command_line.run("doctor", env={"EVIL": EVIL, "PATH": os.environ["PATH"]})
    assert orders(done.stdout + done.stderr) == []
    assert SHOWN in done.stdout + done.stderr
