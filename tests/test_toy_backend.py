"""Another package's backend, installed beside MatterStack, runs the quickstart and keeps the contract."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest

from matterstack.backends.base import Backend
from matterstack.backends.kinds import BackendKind
from tests.support.polling import wait_until
from tests.support.process import Process

BIN = Path(sys.executable).parent
PACKAGE = Path(__file__).parents[1] / "examples" / "toy-backend"
BROKEN = "[matterstack.backends]\nbroken = nothing.there:KIND\nodd = os:sep\n"


@attrs.frozen
class Beside:
    """MatterStack with packages beside it, in a folder of their own, and a root."""

    packages: Path
    root: Path

    @property
    def environment(self) -> Mapping[str, str]:
        return {**os.environ, "PYTHONPATH": str(self.packages), "XDG_CONFIG_HOME": str(self.root / "none")}

    def run(self, program: str, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run a program of this environment."""
        command = [str(BIN / program), *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=cwd or self.root, env=self.environment
        )

    def json(self, *arguments: str) -> Any:
        """The JSON document that the command prints."""
        return json.loads(self.matterstack(*arguments, "--json"))

    def matterstack(self, *arguments: str) -> str:
        """What the command prints; it must succeed."""
        done = self.run("matterstack", *arguments)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy, installed as its own instructions have it; and a package that cannot be imported."""
    folder = tmp_path_factory.mktemp("packages")
    install = ("-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation")
    done = subprocess.run(
        [sys.executable, *install, "--target", str(folder), str(PACKAGE)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    info = folder / "half_installed-2.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: half-installed\nVersion: 2.5\n")
    (info / "entry_points.txt").write_text(BROKEN)
    return folder


@pytest.fixture
def beside(packages: Path, tmp_path: Path) -> Beside:
    """A root with the quickstart in it."""
    made = Beside(packages, tmp_path)
    made.matterstack("init")
    return made


def on(**config: object) -> list[str]:
    """Have the runs of the quickstart use this backend alone."""
    return ["--set", f"backends={json.dumps({'other': config})}", "--set", "default_backend=other"]


def test_the_toy_runs_the_quickstart(beside: Beside) -> None:
    spool = beside.root / "spool"
    chosen = on(type="toy", spool=str(spool), poll_interval_s=0.2)

    shown = beside.matterstack("run", "init", "quickstart", "--show-script", *chosen)
    assert "TOY_JOB_ID" in shown
    assert not spool.exists()
    beside.matterstack("run", "start", "quickstart", *chosen)

    (run,) = beside.json("run", "list")
    assert run["status"] == "COMPLETED"
    tasks = beside.json("run", "tasks", run["run_id"])
    assert {attempt["backend"] for task in tasks for attempt in task["attempts"]} == {"other"}
    assert len(list((spool / "ended").iterdir())) == len(tasks)


def _at_work(folder: Path) -> list[Process]:
    """Processes that have files of a folder open."""
    return [p for p in Process.all() if any(name.startswith(str(folder)) for name in p.open_files)]


def test_the_toy_keeps_the_contract(beside: Beside, tmp_path: Path) -> None:
    options = ("-q", "-p", "no:cacheprovider", "-W", "error", f"--basetemp={tmp_path / 't'}")
    done = beside.run("pytest", *options, cwd=PACKAGE)

    assert done.returncode == 0, done.stdout
    assert " failed" not in done.stdout
    wait_until(lambda: not _at_work(tmp_path), 20, "the end of all spools")


@pytest.mark.parametrize(
    ("type_", "words"),
    [
        ("broken", "package half-installed 2.5, which cannot be used: ModuleNotFoundError: No module named"),
        ("odd", "package half-installed 2.5, which cannot be used: os:sep is no BackendKind but str"),
    ],
)
def test_a_package_that_cannot_be_used_is_named_and_stops_nothing_else(
    beside: Beside, type_: str, words: str
) -> None:
    done = beside.run("matterstack", "run", "init", "quickstart", *on(type=type_))

    assert (done.returncode, done.stdout) == (2, "")
    assert f"--set: backends.other.type: {type_!r} comes with {words}" in done.stderr
    assert "Traceback" not in done.stderr
    assert beside.matterstack("run", "init", "quickstart")


def test_an_unknown_type_is_told_with_those_that_are_installed(beside: Beside) -> None:
    done = beside.run("matterstack", "run", "init", "quickstart", *on(type="pbs"))

    assert done.returncode == 2
    assert "'pbs' is no type of backend (there are: broken, local, odd, slurm, toy)" in done.stderr


def test_a_run_whose_package_is_gone_waits_and_says_why(beside: Beside) -> None:
    beside.matterstack(
        "run", "init", "quickstart", *on(type="toy", spool=str(beside.root / "s"), poll_interval_s=0.2)
    )
    run_id = beside.json("run", "list")[0]["run_id"]
    gone = Beside(beside.root / "nothing", beside.root)
    causes: list[Any] = []

    def is_told() -> bool:
        causes[:] = gone.json("run", "explain", run_id)["causes"]
        return bool(causes[0]["kind"] == "backend_out")

    command = [str(BIN / "matterstack"), "run", "loop", run_id]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, cwd=gone.root, env=gone.environment, stdout=quiet, stderr=quiet) as engine:
        try:
            wait_until(is_told, 30)
        finally:
            engine.terminate()

    assert "'toy' is no type of backend any more: the package that it comes with" in causes[0]["message"]
    beside.matterstack("run", "loop", run_id, "--until-done")
    assert beside.json("run", "status", run_id)["status"] == "COMPLETED"


@pytest.mark.parametrize("of", [Backend, BackendKind])
def test_the_guide_names_everything_that_a_backend_can_do(of: type) -> None:
    guide = (PACKAGE.parents[1] / "docs" / "new-backend.md").read_text()
    names = {name for name in {*vars(of), *of.__annotations__} if not name.startswith("_")}
    assert names
    assert [name for name in sorted(names) if f"`{name}" not in guide] == []
