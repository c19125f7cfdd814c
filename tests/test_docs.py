"""The documentation: its commands run, its documents are valid, its tables are those of the code.

What a test reads is marked by a comment above the block: ``<!-- run -->`` for commands,
``<!-- file: PATH -->`` for a file that they need, ``<!-- document: MODEL -->`` for JSON that must be valid.
"""

import json
import re
import subprocess
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import asyncclick as click
import attrs
import pytest

from matterstack.backends.slurm.states import STATES
from matterstack.cli.app import main
from matterstack.core import states
from matterstack.core.documents.fields import field_problems
from matterstack.core.documents.manifests import HumanOperatorManifest
from matterstack.core.documents.schemas import SCHEMAS
from matterstack.core.states import JobState
from tests.support.command import COMMAND, PATIENCE_S, CommandLine
from tests.support.polling import wait_until

PROJECT: Final = Path(__file__).parents[1]
PAGES: Final = tuple(sorted(path.name for path in (PROJECT / "docs").glob("*.md")))
MARKED: Final = re.compile(
    r"^<!-- (?P<mark>[^>]+) -->\n(?:```\w*\n(?P<block>.*?)^```$|(?P<table>(?:\|[^\n]*\n)+))",
    re.DOTALL | re.MULTILINE,
)
RUN_ID: Final = re.compile(r"\b\d{8}T\d{6}-[a-z2-7]{6}\b")


@attrs.frozen
class Marked:
    """A block with the comment above it."""

    mark: str
    text: str

    @property
    def kind(self) -> str:
        return self.mark.partition(":")[0]

    @property
    def name(self) -> str:
        return self.mark.partition(": ")[2]

    @property
    def rows(self) -> list[list[str]]:
        """Of a table, without its head."""
        return [[cell.strip() for cell in line.strip("|").split("|")] for line in self.text.splitlines()[2:]]


def page(name: str) -> str:
    return (PROJECT / "docs" / name).read_text()


def marked(name: str) -> list[Marked]:
    return [Marked(found["mark"], found["block"] or found["table"]) for found in MARKED.finditer(page(name))]


def documents() -> list[tuple[str, Mapping[str, Any]]]:
    return [
        (block.name, json.loads(block.text))
        for name in PAGES
        for block in marked(name)
        if block.kind == "document"
    ]


# ---- commands


@attrs.define
class Reader:
    """Somebody who types what stands on a page, in one terminal (and in another, where it says so)."""

    command_line: CommandLine
    folder: Path
    variables: Path
    here: str = "."

    def does(self, block: Marked) -> None:
        """Do what a block asks for; what it says must go well."""
        match block.mark.split():
            case ["file:", path]:
                target = self.root / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(block.text)
            case ["run"]:
                self.types(block.text)
            case ["run", "in", "another", "terminal"]:
                assert block.text.split()[0] == "matterstack"
                self.command_line.start(*block.text.split()[1:])
            case ["run", "when", task, "waits"]:
                wait_until(lambda: self.waits(task), PATIENCE_S, f"the question of {task}")
                self.types(block.text)
            case ["run", "when", status]:
                wait_until(
                    lambda: self.command_line.status(self.run_id)["status"] == status, PATIENCE_S, status
                )
                self.types(block.text)
            case _:
                raise AssertionError(f"nobody knows what to do with {block.mark!r}")

    def types(self, commands: str) -> None:
        """Run commands in a shell that has the variables, and is in the folder, of those before."""
        before = f"set -e\n[ ! -e {self.variables} ] || . {self.variables}\n"
        after = f'(declare -p RUN_ID || :; printf "cd %q\\n" "$PWD") >{self.variables} 2>/dev/null\n'
        done = subprocess.run(
            ["bash", "-c", f"{before}{commands}\n{after}"],
            cwd=self.folder,
            env={**self.command_line.environment, "PATH": f"{COMMAND.parent}:/usr/bin:/bin"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )
        assert done.returncode == 0, f"{commands}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stdout + done.stderr

    @property
    def root(self) -> Path:
        return self.command_line.root

    @property
    def run_id(self) -> str:
        """The run that the page is about at this moment."""
        found = RUN_ID.search(self.variables.read_text())
        assert found, "no RUN_ID was set"
        return found.group()

    def waits(self, task: str) -> bool:
        """Whether a task has been asked."""
        found = self.command_line.tasks(self.run_id).get(task)
        return found is not None and found["status"] == "ACTIVE" and bool(found["attempts"][-1]["job_id"])


def test_the_commands_of_the_user_guide_do_what_it_says(command_line: CommandLine) -> None:
    """From ``matterstack init`` to the evidence of a campaign with a person in it."""
    desk = command_line.root
    command_line.root = desk / "my-project"
    reader = Reader(command_line, desk, desk / "variables")
    blocks = [block for block in marked("user-guide.md") if block.kind.split()[0] in {"run", "file"}]
    assert len(blocks) >= 10
    for block in blocks:
        reader.does(block)
    look = command_line.run_folder("closer_look", reader.run_id) / "tasks" / "look" / "1" / "result.json"
    assert json.loads(look.read_text())["lowest_ev"] == pytest.approx(
        -0.0104, abs=1e-4
    )  # the depth of the well
    chosen = json.loads((look.parents[3] / "operators" / "choose" / "response.json").read_text())
    assert chosen == {"around_angstrom": 3.8, "reason": "the minimum"}


@pytest.mark.parametrize("name", [name for name in PAGES if name != "user-guide.md"])
def test_other_commands_of_the_documentation_run(name: str, command_line: CommandLine) -> None:
    reader = Reader(command_line, command_line.root, command_line.home / "variables")
    for block in marked(name):
        if block.kind.startswith("run"):
            reader.does(block)


def _commands(group: click.Command, words: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    if not isinstance(group, click.Group):
        return {words}
    return {words}.union(*(_commands(inner, (*words, name)) for name, inner in group.commands.items()))


@pytest.mark.parametrize("name", ["../README.md", *(f"../docs/{name}" for name in PAGES)])
def test_every_command_that_is_named_exists(name: str) -> None:
    known = _commands(main)
    text = (PROJECT / "docs" / name).read_text()
    for line in re.findall(r"(?:^    |`|^\$ )matterstack ((?:[a-z][a-z-]* ?)+)", text, re.MULTILINE):
        words = tuple(line.split())
        assert words[:1] in known, f"{name}: matterstack {line}"
        if words[:1] == ("run",) and len(words) > 1:
            assert words[:2] in known, f"{name}: matterstack {line}"


# ---- documents


@pytest.mark.parametrize(
    ("model", "document"), documents(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_documents_are_what_their_models_take(model: str, document: Mapping[str, Any]) -> None:
    read = SCHEMAS[model].model_validate(document)
    assert json.loads(read.model_dump_json(exclude_unset=True, by_alias=True)) == document


def test_the_answer_that_is_shown_answers_the_question_that_is_shown() -> None:
    (answer,) = (json.loads(block.text) for block in marked("operators.md") if block.mark == "answer")
    question = HumanOperatorManifest.model_validate(dict(documents())["HumanOperatorManifest"])
    assert list(field_problems(question.fields, answer)) == []


def test_there_is_an_example_of_everything_that_operators_take_and_give_back() -> None:
    shown = {model for model, _ in documents()}
    assert set(SCHEMAS) - shown == {"DirectHPCManifest", "RunDocument"}


# ---- tables


def _tables(kind: str) -> dict[str, list[list[str]]]:
    return {block.name: block.rows for block in marked("architecture.md") if block.kind == kind}


def _words(cell: str) -> set[str]:
    return {word.strip() for word in cell.split(",")} - {""}


@pytest.mark.parametrize("name", ["RUN_TRANSITIONS", "TASK_TRANSITIONS", "JOB_TRANSITIONS"])
def test_life_cycles_are_those_of_the_code(name: str) -> None:
    shown = {old: _words(new) for old, new in _tables("transitions")[name]}
    table: Mapping[Any, frozenset[Any]] = getattr(states, name)
    assert shown == {old.value: {new.value for new in onward} for old, onward in table.items()}


def test_the_words_of_slurm_are_those_of_the_code() -> None:
    (rows,) = _tables("job states").values()
    meant: dict[str, set[str]] = {}
    for word, (_, state) in STATES.items():
        meant.setdefault(state.value, set()).add(word)
    assert {state: _words(words) for state, words in rows} == meant
    assert set(JobState) - set(meant) == {JobState.LOST}  # which no scheduler says


def test_the_layers_are_those_that_are_checked() -> None:
    contracts = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract["name"].startswith("Layers"))
    (shown,) = (block.text.split("\n") for block in marked("architecture.md") if block.mark == "layers")
    assert list(filter(None, shown)) == layers


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_to_files(name: str) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page(name)):
        assert (PROJECT / "docs" / target).is_file(), f"{name}: {target}"
    for path in re.findall(r"`((?:matterstack|workspaces|tests)/[\w/.-]+)`", page(name)):
        assert (PROJECT / path).exists() or "RUN_ID" in path or "closer_look" in path, f"{name}: {path}"


def test_the_documentation_fits_its_lines() -> None:
    """Tables apart, as in the README."""
    long = [
        f"{name}: {line}"
        for name in PAGES
        for line in page(name).splitlines()
        if len(line) > 120 and not line.startswith("|")
    ]
    assert long == []
