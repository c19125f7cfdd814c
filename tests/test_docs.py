"""The documentation: its commands run, its documents are valid, its tables are those of the code.

See `tests.support.documentation` for the marks.  Further ones are read here: ``<!-- document: MODEL -->`` for
JSON that must be valid, ``<!-- config -->`` and ``<!-- backend -->`` for configs.
"""

import json
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import asyncclick as click
import pytest

from matterstack.backends.registry import KINDS
from matterstack.backends.slurm.states import STATES
from matterstack.cli.app import main
from matterstack.core import states
from matterstack.core.documents.config import RunConfig
from matterstack.core.documents.fields import field_problems
from matterstack.core.documents.manifests import HumanOperatorManifest
from matterstack.core.documents.schemas import SCHEMAS
from matterstack.core.states import JobState
from tests.support.command import COMMAND, CommandLine
from tests.support.documentation import DOCS, FENCED, PAGES, PROJECT, Reader, marked, needs, page
from tests.support.ports import release_ports, reserve_ports
from tests.support.sshd import Sshd

SLEEPER: Final = """\
from matterstack import Resources, Task, Workflow


class Sleeper:
    def plan(self, state, results):
        if state:
            return None
        nap = "sleep 2.5; echo slept >nap.txt"
        small = Resources(cpus=1, memory_mib=50, walltime_s=60)
        same = {"command": ["sh", "-c", nap], "outputs": ["nap.txt"], "resources": small}
        return Workflow([Task(f"nap-{n}", **same) for n in range(1, 5)])

    def analyze(self, state, results):
        return {"naps": len(results)}


def get_campaign():
    return Sleeper()
"""
LOCAL: Final = {"local": {"type": "local", "max_jobs": 2}}
NOT_RUN: Final = {
    "these are what runs the tests, or all there is": 1,
    "install lines have a test of their own": 1,
    "it needs another machine": 2,
    "it takes a systemd that manages this machine": 2,
    "it takes a second user on this machine": 1,
    "it takes a cluster whose queue is full": 1,
    "it takes minutes, or hours": 1,
    "needs zsh": 1,
    "needs fish": 1,
    "the tests of the example run it": 1,
}
"""Why commands of the documentation are not run, and in how many places at most."""
_COMMANDS: Final = {"sh", "bash", "zsh", "fish", "console", "shell"}


def documents() -> list[tuple[str, Mapping[str, Any]]]:
    return [
        (block.name, json.loads(block.text))
        for name in PAGES
        for block in marked(name)
        if block.kind == "document"
    ]


# ---- commands


@pytest.fixture
def reader(command_line: CommandLine) -> Reader:
    """Somebody at an empty folder."""
    desk = command_line.root
    command_line.root = desk / "my-project"
    programs = command_line.root / ".venv" / "bin"  # where the pages say that it is installed
    home = command_line.home / "my-project" / ".venv" / "bin"
    for folder in (programs, home):
        folder.mkdir(parents=True)
        (folder / "matterstack").symlink_to(COMMAND)
    (desk / "workspaces").rmdir()
    return Reader(command_line, desk, command_line.home / "variables")


def _assert_can_be_done(name: str, reader: Reader) -> None:
    found = needs(name)
    if found:
        reader.types("matterstack init my-project && cd my-project")
        quick = {"default_backend": "local", "params": {"tolerance_angstrom": 1.0}}  # two rounds are enough
        reader.writes("workspaces/quickstart/config.json", json.dumps({**quick, "backends": LOCAL}))
    if "sleeper" in found:
        reader.writes("workspaces/sleeper/campaign.py", SLEEPER)
        reader.writes(
            "workspaces/sleeper/config.json", json.dumps({"default_backend": "local", "backends": LOCAL})
        )
    blocks = [block for block in marked(name) if block.is_done]
    assert blocks, "there is nothing to do on this page"
    for block in blocks:
        reader.does(block)


def _pages(*kinds: str) -> list[str]:
    """Pages with something to do, whose session needs one of these; of all others, those that need none."""
    busy = [name for name in PAGES if any(block.is_done for block in marked(name))]
    special = {"slurm", "ssh", "port"}
    return [name for name in busy if (needs(name) & special or {""}) & set(kinds)]


@pytest.mark.parametrize("name", [name for name in _pages("") if name != "tutorial.md"])
def test_what_a_page_says_can_be_done(name: str, reader: Reader) -> None:
    _assert_can_be_done(name, reader)


@pytest.mark.parametrize("name", _pages("port"))
def test_what_a_page_says_of_the_monitor_can_be_done(name: str, reader: Reader, tmp_path: Path) -> None:
    port = reserve_ports(tmp_path, lambda _other: True)
    reader.words = {"8765": str(port)}
    try:
        _assert_can_be_done(name, reader)
    finally:
        release_ports(tmp_path, port)


@pytest.mark.usefixtures("slurm_env")
@pytest.mark.parametrize("name", _pages("slurm"))
def test_what_a_page_says_of_clusters_can_be_done(name: str, reader: Reader) -> None:
    reader.words = {'"poll_interval_s": 10': '"poll_interval_s": 1'}
    _assert_can_be_done(name, reader)


@pytest.mark.parametrize("name", _pages("ssh"))
def test_what_a_page_says_of_ssh_can_be_done(name: str, reader: Reader, sshd: Sshd, tmp_path: Path) -> None:
    # ssh finds the configuration of a user by the user's name, wherever HOME is.
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "ssh").write_text(f'#!/bin/sh\nexec /usr/bin/ssh -F "{sshd.folder}/ssh_config" "$@"\n')
    (programs / "ssh").chmod(0o755)
    reader.path = f"{programs}:"
    reader.words = {
        "/scratch/me": str(sshd.workdir),
        "module load python": f"PATH={Path(sys.executable).parent}:$PATH",
        '"type": "slurm",': '"type": "slurm", "poll_interval_s": 1,',
    }
    _assert_can_be_done(name, reader)


def test_the_tutorial_does_what_it_says(reader: Reader) -> None:
    """From ``matterstack init`` to the evidence of a campaign with a person in it."""
    _assert_can_be_done("tutorial.md", reader)
    look = (
        reader.command_line.run_folder("closer_look", reader.run_id) / "tasks" / "look" / "1" / "result.json"
    )
    # The depth of the well.
    assert json.loads(look.read_text())["lowest_ev"] == pytest.approx(-0.0104, abs=1e-4)
    chosen = json.loads((look.parents[3] / "operators" / "choose" / "response.json").read_text())
    assert chosen == {"around_angstrom": 3.8, "reason": "the minimum"}


def test_the_tutorial_writes_the_campaign_of_the_readme() -> None:
    files = [block for block in marked("../README.md") if block.kind == "file"]
    assert len(files) == 2
    assert all(block in marked("tutorial.md") for block in files)


@pytest.mark.parametrize("name", PAGES)
def test_every_command_is_run_or_says_why_not(name: str) -> None:
    ready = {block.text for block in marked(name) if block.is_done or block.kind == "not run"}
    for found in FENCED.finditer(page(name)):
        if found["language"] in _COMMANDS:
            assert found["block"] in ready, f"{name}: neither run nor marked:\n{found['block']}"
        assert not re.search(r"^\$ ", found["block"], re.MULTILINE), (
            f"{name}: what is typed is a block of its own"
        )
    indented = re.findall(r"^    .*", FENCED.sub("", page(name)), re.MULTILINE)
    assert indented == [], f"{name}: blocks have fences, so that they can be marked"


def test_few_commands_are_not_run_and_for_known_reasons() -> None:
    reasons = Counter(block.name for name in PAGES for block in marked(name) if block.kind == "not run")
    assert reasons - Counter(NOT_RUN) == Counter()


def _words_of_commands(name: str) -> Iterator[list[str]]:
    """Commands that stand in a line of text or in a table."""
    for line in re.findall(r"`matterstack ([^`]+)`", FENCED.sub("", page(name))):
        yield re.sub(r"[\[\]|]", " ", line).split()


@pytest.mark.parametrize("name", PAGES)
def test_every_command_and_option_that_is_named_exists(name: str) -> None:
    for words in _words_of_commands(name):
        command: click.Command = main
        options = {option for parameter in main.params for option in parameter.opts}
        rest = [word for word in words if word != "..."]
        while rest and isinstance(command, click.Group):
            if rest[0].startswith("--"):
                rest = rest[2:]  # --root DIR
                continue
            assert rest[0] in command.commands, f"{name}: matterstack {' '.join(words)}"
            command = command.commands[rest.pop(0)]
            options |= {option for parameter in command.params for option in parameter.opts}
        for word in rest:
            if word.startswith("-"):
                assert word in options, f"{name}: {word} of matterstack {' '.join(words)}"


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


@pytest.mark.parametrize("name", PAGES)
def test_configs_can_be_used(name: str) -> None:
    for block in marked(name):
        if block.kind == "config":
            config = json.loads(block.text)
        elif block.kind == "backend":
            config = {"default_backend": "it", "backends": {"it": json.loads(block.text)}}
        else:
            continue
        model = RunConfig.model_validate_json(json.dumps(config), context=KINDS)
        assert model.model_fields_set == set(config), "nothing of it is passed over"


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
    for target in re.findall(r"\]\(([^)#:]+)(?:#[\w-]+)?\)", page(name)):
        assert ((DOCS / name).parent / target).is_file(), f"{name}: {target}"
    for path in re.findall(
        r"`((?:matterstack|workspaces|tests|benchmarks|actors|backends)/[\w/.-]+)`", page(name)
    ):
        of_a_session = {"RUN_ID", "closer_look", "relaxations"} & set(Path(path).parts)
        assert (PROJECT / path).exists() or of_a_session, f"{name}: {path}"
    for module in re.findall(r"python -m ([\w.]+)", page(name)):
        assert (PROJECT / f"{module.replace('.', '/')}.py").is_file() or module == "venv", f"{name}: {module}"


@pytest.mark.parametrize("name", PAGES)
def test_the_documentation_fits_its_lines(name: str) -> None:
    """Tables apart."""
    assert [line for line in page(name).splitlines() if len(line) > 120 and not line.startswith("|")] == []


def test_the_readme_fits_on_three_screens() -> None:
    assert len(page("../README.md").splitlines()) <= 150


# ---- the site


@pytest.mark.usefixtures("processes")
def test_the_site_is_built_strictly_and_asks_nobody(tmp_path: Path) -> None:
    done = subprocess.run(
        [COMMAND.parent / "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path / "site"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    site = tmp_path / "site"
    built = {path.relative_to(site) for path in site.rglob("*.html")}
    assert {Path(name).with_suffix(".html") for name in PAGES if name != "../README.md"} <= built
    for path in built:
        text = (site / path).read_text()
        loaded = re.findall(
            r"<(?:script|link|img|iframe|source)\b[^>]*?\b(?:src|href)=[\"']?([^\"' >]+)", text
        )
        assert [target for target in loaded if re.match(r"(?:https?:)?//", target)] == [], path
    for path in site.rglob("*.css"):
        assert not re.search(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//", path.read_text()), path
