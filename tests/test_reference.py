"""The reference is made from the code, says something of everything, and holds what commands really print."""

from __future__ import annotations

import ast
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.campaigns import write_tasks
from tests.support.command import PATIENCE_S, CommandLine
from tests.support.polling import wait_until

PROJECT: Final = Path(__file__).parents[1]
REFERENCE: Final = PROJECT / "docs" / "reference"
PAGES: Final = sorted(path.name for path in REFERENCE.glob("*.md"))
OPEN: Final = {
    "data",
    "resources",
    "backends",
    "manifest",
    "fields",
    "run",
    "attempts.resources",
    "results.data",
}
"""Keys whose value is an object that is told elsewhere, or that a campaign chooses."""


def sections(name: str) -> dict[str, str]:
    """Parts of a page by their headings."""
    text = (REFERENCE / name).read_text(encoding="utf-8")
    parts = re.split(r"^#{2,3} (.+)$", text, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def rows(text: str) -> Iterator[list[str]]:
    """The cells of a part's table, without its head."""
    for line in text.splitlines():
        if line.startswith("| ") and not line.startswith("| ---"):
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def keys(text: str) -> set[str]:
    return {cells[0].strip("`") for cells in rows(text)} - {"key", "variable"}


@pytest.mark.usefixtures("processes")
def test_the_pages_are_as_the_code_makes_them(tmp_path: Path) -> None:
    program = [sys.executable, str(PROJECT / "scripts" / "reference"), str(tmp_path)]
    subprocess.run(program, check=True, cwd=PROJECT)
    made = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    kept = {name: (REFERENCE / name).read_text(encoding="utf-8") for name in PAGES}
    stale = sorted(name for name in {*made, *kept} if made.get(name) != kept.get(name))
    assert stale == [], "run: make reference"


@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_listed_without_a_word_about_it(name: str) -> None:
    silent = [
        f"{title}: {cells[0]}"
        for title, text in sections(name).items()
        for cells in rows(text)
        if not cells[-1]
    ]
    assert silent == []


# ---- what commands print ----


def paths(document: Any, prefix: str = "") -> Iterator[str]:
    """Keys of a document, those of objects in lists behind a dot."""
    for one in document if isinstance(document, list) else [document]:
        if not isinstance(one, Mapping):
            continue
        for key, value in one.items():
            path = f"{prefix}{key}"
            yield path
            if path not in OPEN and (
                isinstance(value, list) or (path == "error" and isinstance(value, dict))
            ):
                yield from paths(value, f"{path}.")


def _is_asked(command_line: CommandLine, run_id: str) -> bool:
    gate = command_line.tasks(run_id).get("go")
    return gate is not None and gate["status"] == "ACTIVE" and bool(gate["attempts"][-1]["job_id"])


@pytest.fixture
def printed(command_line: CommandLine) -> dict[str, Iterable[str]]:
    """The keys of what each command prints about real runs."""
    write_tasks(
        command_line.root,
        "demo",
        [
            {"id": "a", "command": ["bash", "-c", "echo 1 > a.txt"], "outputs": ["a.txt"]},
            {"id": "go", "operator": "gate", "params": {"question": "On?"}, "depends_on": ["a"]},
        ],
    )
    say = command_line.json
    found: dict[str, Any] = {"run init": say("run", "init", "demo"), "doctor": say("doctor")}
    run_id = found["run init"]["run_id"]
    found["run init --show-script"] = say("run", "init", "demo", "--show-script")
    engine = command_line.start("run", "loop")
    wait_until(lambda: _is_asked(command_line, run_id), PATIENCE_S, "the gate")
    found["run explain"] = say("run", "explain", run_id)
    found["respond, without an answer"] = say("respond", run_id, "go")
    found["run pause"] = say("run", "pause", run_id)
    found["run status"] = say("run", "status", run_id)
    command_line.ok("run", "resume", run_id)
    found["respond"] = say("respond", run_id, "go", "--approve")
    engine.signal(signal.SIGINT)
    engine.wait()
    found["run loop --until-done"] = say("run", "loop", run_id, "--until-done")
    found["run list"] = say("run", "list")
    found["run label"] = {key: str(value) for key, value in say("run", "label", run_id, "+a").items()}
    found["run tasks"] = say("run", "tasks", run_id)
    found["run logs"] = say("run", "logs", run_id, "a")
    found["run events"] = [json.loads(line) for line in command_line.ok("run", "events", run_id).splitlines()]
    found["run export-evidence"] = say("run", "export-evidence", run_id)
    bundle = Path(found["run export-evidence"]["path"])
    (bundle / "tasks.csv").write_text("changed\n")
    found["evidence verify"] = json.loads(
        command_line.run("evidence", "verify", str(bundle), "--json").stdout
    )
    found["run archive"] = say("run", "archive", run_id)
    found["run clean"] = say("run", "clean", run_id)
    found["run delete"] = say("run", "delete", run_id, "--yes", "--without-evidence")
    found["check"] = say("check")
    found["error"] = json.loads(command_line.run("run", "status", "20260101T000000-aaaaaa", "--json").stderr)
    return {command: sorted(set(paths(document))) for command, document in found.items()}


def test_documents_have_the_keys_that_the_reference_says(printed: dict[str, Iterable[str]]) -> None:
    told = {name: keys(text) for name, text in sections("documents.md").items()}
    unknown = {name: sorted(set(found) - told[name]) for name, found in printed.items()}
    assert {name: left for name, left in unknown.items() if left} == {}
    absent = {
        name: sorted({key for key in told[name] - set(found) if key.rpartition(".")[0] in {*found, ""}})
        for name, found in printed.items()
        if name != "check"  # it finds no problem here
    }
    assert {name: left for name, left in absent.items() if left} == {}


# ---- what is read of the environment ----


def variables(path: Path) -> Iterator[str]:
    """Names of environment variables that a module names."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if re.fullmatch(r"MATTERSTACK_[A-Z_]+|XDG_[A-Z_]+|NO_COLOR", node.value):
                yield node.value
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in {"os.environ.get", "os.getenv"}:
            yield from (str(one.value) for one in node.args[:1] if isinstance(one, ast.Constant))


def test_every_variable_is_in_the_reference() -> None:
    told = {name for text in sections("environment.md").values() for name in keys(text)}
    folders = (PROJECT / "actors", PROJECT / "backends", *sorted((PROJECT / "matterstack").iterdir()))
    modules = [path for folder in folders if not folder.is_symlink() for path in folder.rglob("*.py")]
    read = {name for module in modules for name in variables(module)}
    assert read - told == set()
    assert "MATTERSTACK_ROOT" in read
