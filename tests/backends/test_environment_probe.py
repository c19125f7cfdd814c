"""What a job's script finds out of the software that its command runs in."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import venv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest

from matterstack.backends.environment_probe import LEAST_MEMORY_MIB, MOST_KNOWN, Surroundings
from matterstack.backends.exit_record import ExitRecord, read_exit_record
from matterstack.backends.local import local_clock
from matterstack.backends.script import SH, JobScript, LocalClock, render

pytestmark = pytest.mark.usefixtures("processes")
BIN = str(Path(sys.executable).parent)


@attrs.define
class Run:
    """A run's folder, in which jobs run one after the other."""

    path: Path
    clock: LocalClock | None
    variables: Mapping[str, str]
    jobs: int = 0

    def folder(self, number: int) -> Path:
        return self.path / "tasks" / f"t{number}" / "1"

    def job(self, *command: str, files: Mapping[str, str] | None = None, **options: Any) -> ExitRecord:
        """Run a job, and read how it ended."""
        self.jobs += 1
        folder = self.folder(self.jobs)
        (folder / "claim").mkdir(parents=True)
        for name, text in (files or {}).items():
            (folder / name).write_text(text)
        script = JobScript(
            **{
                "folder": str(folder),
                "command": command or ("true",),
                "find_job_id": ["MATTERSTACK_JOB_ID=1"],
                "env": {},
                "path": BIN,
                "local_clock": self.clock,
                **options,
            }
        )
        if self.clock is None:
            (folder / "claim").rmdir()
        (folder / "job.sh").write_text(render(script))
        command_line = [script.shell, str(folder / "job.sh")]
        done = subprocess.run(command_line, env=dict(self.variables), check=False, timeout=60, cwd="/")
        record = read_exit_record(folder, "1", None)
        assert record is not None
        assert record.exit_code == done.returncode
        return record

    def found(self, number: int) -> dict[str, Any] | None:
        """What a job looked up itself; None where it did not have to."""
        path = self.folder(number) / "claim" / "environment.json"
        if not path.exists():
            return None
        found: dict[str, Any] = json.loads(path.read_bytes())
        return found


@pytest.fixture(params=["foreseen", "on this machine", "anywhere"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    """Its jobs inherit what was foreseen, something else, or are those of a scheduler."""
    variables = {"PATH": os.environ["PATH"], "API_TOKEN": "s3cret", "SLURM_JWT": "s3cret", "LANG": "C.UTF-8"}
    clock = local_clock()
    surroundings = clock.surroundings
    assert surroundings is not None
    if request.param == "foreseen":
        surroundings = attrs.evolve(surroundings, variables=variables)
    else:
        surroundings = Surroundings(variables={"PATH": "/elsewhere"}, system="")
    clock = attrs.evolve(clock, surroundings=surroundings)
    return Run(tmp_path / "run", None if request.param == "anywhere" else clock, variables)


def test_the_first_job_of_an_environment_looks_and_the_others_know(run: Run) -> None:
    first = run.job("python", "-c", "pass")
    found = run.found(1)
    assert found is not None
    content = (run.folder(1) / "claim" / "environment.json").read_bytes()
    assert first.environment == hashlib.sha256(content).hexdigest()
    assert found["python"]["version"] == ".".join(map(str, sys.version_info[:3]))
    assert found["distributions"]["attrs"] == attrs.__version__ if hasattr(attrs, "__version__") else True
    assert found["program"]["path"] == f"{BIN}/python"
    assert found["system"]["kernel"] == os.uname().release
    assert found["variables"]["PATH"].startswith(BIN)

    second = run.job("python", "-c", "pass")
    assert second.environment == first.environment
    assert run.found(2) is None, "it looked again"


def test_secrets_of_the_environment_stand_nowhere(run: Run) -> None:
    run.job("python", "-c", "pass", env={"OTHER_TOKEN": "s3cret"})
    written = [path for path in run.path.rglob("*") if path.is_file() and path.name != "job.sh"]
    assert not [path for path in written if b"s3cret" in path.read_bytes()]


def test_another_environment_is_looked_at_for_itself(run: Run) -> None:
    records = [
        run.job("python", "-c", "pass"),
        run.job("python", "-c", "pass", env={"PYTHONPATH": "/elsewhere"}),
        run.job("true"),
        run.job("python", "-c", "pass", env={"PYTHONPATH": "/elsewhere"}),
    ]
    hashes = [record.environment for record in records]
    assert len(set(hashes)) == 3
    assert "" not in hashes
    assert hashes[1] == hashes[3]


def test_modules_and_what_the_scheduler_says_are_part_of_it(run: Run) -> None:
    given = {"LOADEDMODULES": "gcc/13.2:lammps/2023", "SLURM_JOB_PARTITION": "main", "SLURM_JOB_ID": "7"}
    run.job(env=given)
    found = run.found(1)
    assert found is not None
    assert found["modules"] == ["gcc/13.2", "lammps/2023"]
    assert found["scheduler"] == {"SLURM_JOB_PARTITION": "main"}


def test_what_was_installed_since_is_seen(run: Run, tmp_path: Path) -> None:
    venv.create(tmp_path / "env", with_pip=False, symlinks=True)
    (site,) = (tmp_path / "env" / "lib").glob("python3*/site-packages")
    for name, version in (("one", "1.0"), ("two", "2.0")):
        folder = site / f"{name}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        run.job("python", "-c", "pass", path=str(tmp_path / "env" / "bin"))
        found = run.found(run.jobs)
        assert found is not None
        assert found["distributions"][name] == version
        # A moment that a file system can tell from this one.
        for known in run.path.glob("environments/*.known"):
            os.utime(known, (1, known.stat().st_mtime - 1))
    assert "two" not in (run.found(1) or {})["distributions"]


def test_files_of_a_campaign_that_are_called_like_modules_of_python_are_not_run(run: Run) -> None:
    trap = "import pathlib; pathlib.Path('sprung').touch(); raise SystemExit(3)"
    names = ("json.py", "hashlib.py", "platform.py", "os.py", "sitecustomize.py")
    record = run.job("true", files=dict.fromkeys(names, trap))
    assert record.environment
    assert not (run.folder(1) / "sprung").exists()


@pytest.mark.parametrize(
    "python", [None, "exit 1", "echo noise; echo noise >&2; exit 0", "kill -9 $$"], ids=str
)
def test_a_job_without_a_python_that_answers_runs_all_the_same(
    run: Run, tmp_path: Path, python: str | None
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("true", "timeout", "date", "mv", "mkdir", "rm"):
        (programs / name).symlink_to(f"/usr/bin/{name}")
    if python is not None:
        for name in ("python", "python3"):
            (programs / name).write_text(f"#!/bin/sh\n{python}\n")
            (programs / name).chmod(0o755)
    record = run.job("true", env={"PATH": str(programs)})
    assert (record.exit_code, record.environment) == (0, "")
    assert (run.folder(1) / "stdout.log").read_bytes() == b""
    assert (run.folder(1) / "stderr.log").read_bytes() == b""


@pytest.mark.parametrize("given", ["SLURM_MEM_PER_NODE", "SLURM_MEM_PER_GPU", "SLURM_MEM_PER_CPU"])
def test_in_a_job_with_little_memory_nobody_looks(run: Run, given: str) -> None:
    little = run.job("python", "-c", "pass", env={given: str(LEAST_MEMORY_MIB - 1)})
    assert (little.exit_code, little.environment) == (0, "")
    assert len(run.job("python", "-c", "pass", env={given: str(LEAST_MEMORY_MIB)}).environment) == 64
    assert len(run.job("python", "-c", "pass", env={given: "0"}).environment) == 64


def test_what_looks_takes_less_memory_than_the_job_has(run: Run, tmp_path: Path) -> None:
    """However much this Python wants: it fails alone, and leaves no dump."""
    programs = tmp_path / "bin"
    programs.mkdir()
    python = f'#!/bin/sh\n(ulimit -v; ulimit -c) >> {tmp_path}/bounds\nexec {sys.executable} "$@"\n'
    (programs / "python").write_text(python)
    (programs / "python").chmod(0o755)
    command = ("sh", "-c", f"ulimit -v >> {tmp_path}/bounds")
    record = run.job(*command, path=str(programs), env={"SLURM_MEM_PER_NODE": "100"})
    assert record.environment
    looking, dumps, working = (tmp_path / "bounds").read_text().split()
    assert int(looking) < 100 * 1024
    assert dumps == "0"
    assert working == "unlimited"


def test_what_others_leave_in_its_place_harms_no_job(run: Run) -> None:
    (run.path / "environments").mkdir(parents=True)
    (run.path / "environments" / "0.known").write_bytes(b"\0\xff\n\n\n")
    (run.path / "environments" / "1.known").mkdir()
    (run.path / "environments" / "2.known").symlink_to("/dev/null")
    assert len(run.job("python", "-c", "pass").environment) == 64
    forged = run.job("sh", "-c", 'rm -f claim/environment; echo \'x", "exit_code": 9\' > claim/environment')
    assert forged.exit_code == 0
    assert forged.environment in {"", run.job("sh", "-c", "true").environment}


def test_after_many_environments_no_further_one_is_looked_at(run: Run) -> None:
    (run.path / "environments").mkdir(parents=True)
    for number in range(MOST_KNOWN):
        (run.path / "environments" / f"{number}.known").write_text("a\n\nkey\n")
    assert run.job("python", "-c", "pass").environment == ""


def test_a_run_whose_folder_cannot_be_written_keeps_what_the_job_found(run: Run) -> None:
    run.path.mkdir()
    (run.path / "environments").write_text("in the way")
    record = run.job("python", "-c", "pass")
    assert record.exit_code == 0
    assert len(record.environment) == 64


def test_jobs_of_this_machine_need_no_bash_for_it(run: Run) -> None:
    if run.clock is None:
        pytest.skip("they have it")
    run.job("true")
    first = (run.folder(1) / "job.sh").read_text().partition("\n")[0]
    assert first == f"#!{SH}"
