"""What holds for the files of this repository as they lie there."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import matterstack

PROJECT = Path(__file__).parents[1]
REQUIREMENTS = {"runtime": [], "demo": ["science"], "test": ["science", "test"]}  # with their extras

# Assembled, so that this file is not its own first finding.
HOSTS = [".".join(labels) for labels in (("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"))]
HOSTS += [".".join(labels) for labels in (("deb", "debian", "org"), ("anaconda", "org"))]
MACHINE_PATH = re.compile(r"(?<![\w.~}-])/(?:home|Users|root|work)/[\w.-]+")


def tracked_names() -> list[str]:
    """Every file that is, or would be, committed."""
    command = [
        "git",
        "-c",
        "safe.directory=*",
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]
    listed = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    return listed.rstrip("\0").split("\0")


def tracked_texts() -> dict[str, str]:
    """Those of them that are texts."""
    texts = {}
    for name in tracked_names():
        path = PROJECT / name
        if path.is_file() and not path.is_symlink() and b"\0" not in (content := path.read_bytes()):
            texts[name] = content.decode()
    return texts


def pins(name: str) -> dict[str, list[Requirement]]:
    """What a requirements file pins: by name, as one project may have other versions on other Pythons."""
    found: dict[str, list[Requirement]] = {}
    for entry in _entries(name):
        requirement = Requirement(entry.partition(" --hash")[0])
        found.setdefault(_plain(requirement.name), []).append(requirement)
    return found


def _entries(name: str) -> list[str]:
    text = (PROJECT / "requirements" / f"{name}.txt").read_text()
    lines = (line for line in text.splitlines() if line and not line.startswith("#"))
    return re.sub(r" +\\\n +", " ", "\n".join(lines)).splitlines()


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_every_requirement_is_one_version_with_hashes_and_no_address(name: str) -> None:
    entries = _entries(name)
    assert entries
    for entry in entries:
        assert re.fullmatch(r"[\w.-]+==[\w.]+( ; [^\\]+?)?( --hash=sha256:[0-9a-f]{64})+", entry), entry
    assert "://" not in (PROJECT / "requirements" / f"{name}.txt").read_text()


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_the_pins_are_what_the_project_asks_for(name: str) -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"]]
    for extra in REQUIREMENTS[name]:
        asked += project["optional-dependencies"][extra]
    pinned = pins(name)
    for requirement in map(Requirement, asked):
        versions = [next(iter(pin.specifier)).version for pin in pinned.get(_plain(requirement.name), [])]
        assert versions, f"{requirement} is not pinned: make lock"
        assert all(requirement.specifier.contains(version) for version in versions), (
            f"{requirement}: make lock"
        )


def test_each_set_of_requirements_holds_the_smaller_one_in_the_same_versions() -> None:
    runtime, demo, test = (
        {(name, str(pin.specifier)) for name, found in pins(file).items() for pin in found}
        for file in ("runtime", "demo", "test")
    )
    assert runtime < demo < test


@pytest.mark.usefixtures("processes")
def test_no_file_names_a_registry_or_a_path_of_a_developers_machine() -> None:
    found = []
    for name, text in tracked_texts().items():
        found += [f"{name}: {host}" for host in HOSTS if host in text]
        found += [f"{name}: {match.group()}" for match in MACHINE_PATH.finditer(text)]
    assert found == []


@pytest.mark.parametrize("name", ["actors", "backends"])
def test_the_folders_at_the_top_are_linked_into_the_package(name: str) -> None:
    link = PROJECT / "matterstack" / name
    assert link.is_symlink()
    assert str(link.readlink()) == f"../{name}"
    assert (link / "__init__.py").is_file()


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("name", ["scripts/apt-install", "scripts/create-venv", "scripts/install-test-tools"])
def test_scripts_are_executable_and_parse(name: str) -> None:
    assert (PROJECT / name).stat().st_mode & 0o111
    subprocess.run(["sh", "-n", name], cwd=PROJECT, check=True)


@pytest.mark.usefixtures("processes")
def test_the_gate_is_executable_and_parses() -> None:
    assert (PROJECT / ".ci" / "run").stat().st_mode & 0o111
    subprocess.run(["bash", "-n", ".ci/run"], cwd=PROJECT, check=True)


# ---- the way in


def test_every_path_and_target_that_contributors_are_sent_to_exists() -> None:
    text = (PROJECT / "CONTRIBUTING.md").read_text()
    paths = set(re.findall(r"`((?:[\w.-]+/)+[\w.-]*|[\w-]+\.(?:md|toml))`", text))
    paths |= set(re.findall(r"\b(?:tests|matterstack|docs)/[\w/.-]+\.(?:py|md)\b", text))
    assert len(paths) > 20
    assert [path for path in sorted(paths) if not (PROJECT / path).exists()] == []
    targets = set(re.findall(r"^([\w-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    made = {"".join(found) for found in re.findall(r"^ +make (\w+)|`make (\w+)", text, re.MULTILINE)}
    assert len(made) >= 3
    assert made - targets == set()


def test_the_hosted_gate_is_the_gate() -> None:
    text = (PROJECT / ".github" / "workflows" / "ci.yml").read_text()
    assert re.search(r"^ +- run: bash \.ci/run$", text, re.MULTILINE)


def test_the_changelog_tells_of_this_version() -> None:
    versions = re.findall(r"^## (.+)$", (PROJECT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert versions[0] == "Unreleased" or versions[0].startswith(f"{matterstack.__version__} ")
    assert any(version.split()[0] == matterstack.__version__ for version in versions)


def test_the_licence_is_the_one_that_is_declared() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    (name,) = project["license-files"]
    assert project["license"] == "MIT"
    assert (PROJECT / name).read_text().startswith("MIT License\n")


MEASURED = re.compile(r"^Measured on \d{4}-\d\d-\d\d, commit `[0-9a-f]{7,}`( with changes)?, processor .+\.$")


@pytest.mark.usefixtures("processes")
def test_every_result_says_when_and_of_what_and_on_what_it_was_measured() -> None:
    entries = re.split(r"^## ", (PROJECT / "benchmarks" / "RESULTS.md").read_text(), flags=re.MULTILINE)[1:]
    assert entries
    assert [entry for entry in entries if not MEASURED.match(entry.splitlines()[2])] == []
    printed = subprocess.run(
        [sys.executable, "-m", "benchmarks.circumstances"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert MEASURED.match(printed.stdout.rstrip()) or "commit unknown" in printed.stdout


def test_first_lines_of_docstrings_stand_alone() -> None:
    """An editor shows the first line and nothing else: "All of them." says nothing there."""
    short = [
        f"{path.relative_to(PROJECT)}:{node.lineno}: {text}"
        for folder in ("matterstack", "actors", "backends")
        for path in sorted((PROJECT / folder).rglob("*.py"))
        if not any(parent.is_symlink() for parent in path.parents)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        for text in [(ast.get_docstring(node) or "").partition("\n")[0]]
        if text and len(text.split()) < 5
    ]
    assert short == []
