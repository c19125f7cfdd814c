"""Every install line that a document shows works as it stands, in a fresh environment of a fresh clone.

Each is run with the newest build backend that the package index has today, which people get, and
with the pinned one.  While both are the same version, one installation proves both.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import attrs
import pytest

import matterstack
from tests.test_repository import PROJECT, pins, tracked_names, tracked_texts

INSTALLS: Final = re.compile(
    r"\b(?:pip[\d.]*|pipx|uv|uvx|conda|mamba|poetry|hatch|pdm)\s+(?:\w+\s+)?(?:install|add)\b|\buvx\s"
)
CODE: Final = re.compile(r"`([^`\n]+)`")
ALSO: Final = ("pip install --no-deps -e .", 'pip install --no-deps "git+file://$PWD"')
"""Tried while no document shows them; what they depend on is that of `pip install .`."""
BACKEND: Final = "hatchling"
_HARMLESS: Final = {"-e", "--editable", "--no-deps"}
FLOOR: Final = re.compile(r'requires = \["hatchling>=([\d.]+)"\]')


# ---- what documents show


def shown_lines() -> dict[str, str]:
    """The install lines of all documents, each with the first place where it stands."""
    found: dict[str, str] = {}
    for name, text in tracked_texts().items():
        if name.endswith((".md", ".ipynb")) or name.startswith("examples/"):
            for number, line in enumerate(text.splitlines(), 1):
                for command in install_commands(line):
                    found.setdefault(command, f"{name}:{number}")
    return found


def install_commands(line: str) -> list[str]:
    """The install commands that a line of a document shows; the whole line, if words cannot be told apart.

    >>> install_commands("Say `pip install .` in an environment of your own.")
    ['pip install .']
    >>> install_commands("    $ pip install '.[science]'")
    ["pip install '.[science]'"]
    """
    if not INSTALLS.search(line):
        return []
    if spans := [span for span in CODE.findall(line) if INSTALLS.search(span)]:
        rest = CODE.sub("", line)
        return [*spans, *([rest.strip()] if INSTALLS.search(rest) else [])]
    return [line.strip().removeprefix("$ ")]


def is_understood(command: str) -> bool:
    """Whether a command installs this checkout with pip: nothing else can be tried, or is promised."""
    try:
        words = shlex.split(command, comments=True)
    except ValueError:
        return False
    if not any(re.fullmatch(r"(?:.*/)?pip3?", word) for word in words) or "install" not in words:
        return False
    after = words[words.index("install") + 1 :]
    what = after[: after.index("&&")] if "&&" in after else after
    return [re.sub(r"\[\w+(,\w+)*\]$", "", word) for word in what if word not in _HARMLESS] in (
        ["."],
        ["git+file://$PWD"],
    )


def test_install_lines_are_found_in_documents() -> None:
    assert install_commands("It is installed with pip.") == []
    assert install_commands("    pip install .") == ["pip install ."]
    assert install_commands("`pip install .` or `pip install -e .`") == ["pip install .", "pip install -e ."]
    assert install_commands("Just pip install it: `make demo`.") == ["Just pip install it: `make demo`."]
    assert install_commands("pipx install .") == ["pipx install ."]


def test_only_what_can_be_tried_is_understood() -> None:
    for command in (
        "pip install .",
        "pip install -e '.[science,test]'  # for developers",
        'pip install "git+file://$PWD"',
        "python3 -m venv .venv && .venv/bin/pip install . && . .venv/bin/activate",
    ):
        assert is_understood(command), command
    for command in (
        "pip install matterstack",
        "pip install . numpy",
        "pip install '.",
        "Just pip install it",
        "pipx install .",
    ):
        assert not is_understood(command), command


@pytest.mark.usefixtures("processes")
def test_every_install_line_of_a_document_is_understood() -> None:
    shown = shown_lines()
    assert "pip install ." in shown
    strange = [f"{place}: {command}" for command, place in shown.items() if not is_understood(command)]
    assert strange == [], "nobody knows how to try these"


# ---- the build backends


def pinned_backend() -> str:
    """The version that `make demo` and `make test` install."""
    (pin,) = pins("demo")[BACKEND]
    return next(iter(pin.specifier)).version


def floor_backend() -> str:
    """The oldest version that pyproject.toml allows."""
    found = FLOOR.search((PROJECT / "pyproject.toml").read_text())
    assert found
    return found[1]


# ---- an environment


@attrs.frozen
class Bench:
    """Where install lines are tried: a clone as somebody has it since a minute ago, and a new environment."""

    folder: Path
    newest_backend: str

    @property
    def backends(self) -> list[str]:
        """Versions of the build backend that an install line is tried with."""
        return sorted({self.newest_backend, pinned_backend()})

    @property
    def clone(self) -> Path:
        return self.folder / "clone"

    @property
    def venv(self) -> Path:
        return self.folder / "venv"

    @property
    def elsewhere(self) -> Path:
        return self.folder / "elsewhere"

    def clear(self) -> None:
        """Make all of it new.  To copy an environment to where it was made takes a tenth of making one."""
        for path in (self.clone, self.venv, self.elsewhere):
            if path.exists():
                shutil.rmtree(path)
        _done(["git", "clone", "--quiet", str(self.folder / "origin"), str(self.clone)], PROJECT, os.environ)
        shutil.copytree(self.folder / "new-venv", self.venv, symlinks=True)
        self.elsewhere.mkdir()

    def environment(self, backend: str, activated: Path) -> dict[str, str]:
        """What a shell there has; isolated builds take ``backend``."""
        constraint = self.folder / f"{BACKEND}-{backend}.txt"
        constraint.write_text(f"{BACKEND}=={backend}\n")
        strange = ("PYTHON", "VIRTUAL_ENV", "MATTERSTACK", "MAKE", "MFLAGS")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(strange)}
        return kept | {
            "PATH": f"{activated / 'bin'}:/usr/local/bin:/usr/bin:/bin",
            "LC_ALL": "C.UTF-8",
            # Of builds alone since pip 25.3; before, it is the other one that reaches into builds.
            "PIP_BUILD_CONSTRAINT": str(constraint),
            "PIP_CONSTRAINT": str(constraint),
            "PIP_FIND_LINKS": str(self.folder / "wheels"),
            "PIP_NO_INDEX": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_QUIET": "1",
            # Means "compile nothing", in pip's way of reading negative options: it is a third of the time.
            "PIP_NO_COMPILE": "0",
        }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A repository of what is, or would be, committed, an environment, and the newest of what is needed."""
    folder = tmp_path_factory.mktemp("bench")
    newest = _download(folder / "wheels")
    _clone(folder / "origin")
    _done([sys.executable, "-m", "venv", str(folder / "venv")], PROJECT, os.environ)
    (folder / "venv").rename(folder / "new-venv")
    return Bench(folder, newest)


def _download(folder: Path) -> str:
    """Get what the index offers today, once for all tests; returns the version of the build backend."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    needed = [*project["dependencies"], *project["optional-dependencies"]["science"]]
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(folder)]
    _done([*pip, *needed, BACKEND, "editables"], PROJECT, os.environ)
    (newest,) = folder.glob(f"{BACKEND}-*.whl")
    for version in {pinned_backend(), floor_backend()}:
        _done([*pip, "--no-deps", f"{BACKEND}=={version}"], PROJECT, os.environ)
    return newest.name.split("-")[1]


@pytest.fixture
def bench(made: Bench) -> Bench:
    made.clear()
    return made


def _clone(folder: Path) -> Path:
    """Make a repository with one commit, of the files that a commit of this checkout would have now."""
    for name in tracked_names():
        if os.path.lexists(PROJECT / name):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT / name, folder / name, follow_symlinks=False)
    git = ["git", "-c", "user.name=matterstack", "-c", "user.email=matterstack@localhost"]
    _done([*git, "init", "--quiet"], folder, os.environ)
    _done([*git, "add", "--all"], folder, os.environ)
    _done([*git, "commit", "--quiet", "--message", "As it is"], folder, os.environ)
    return folder


def _done(command: list[str], cwd: Path, environment: Mapping[str, str]) -> str:
    """What a command prints; it must succeed."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


# ---- what is installed


@pytest.mark.parametrize("line", [*filter(is_understood, shown_lines()), *ALSO])
def test_an_install_line_works_as_it_stands(line: str, bench: Bench) -> None:
    for number, backend in enumerate(bench.backends):
        if number:
            bench.clear()
        makes_its_own = "-m venv" in line
        environment = bench.environment(backend, Path(sys.base_prefix) if makes_its_own else bench.venv)
        # What is found after the line counts, in whatever environment that is.
        entered = _done(["bash", "-c", f"set -e\n{line}\ncommand -v matterstack"], bench.clone, environment)
        command = Path(entered.splitlines()[-1])
        assert command.is_relative_to(bench.clone if makes_its_own else bench.venv), entered

        venv = command.parent.parent
        if line in ALSO:
            (site_packages(venv) / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
        assert_works(venv, bench.elsewhere)
        assert_is_whole(venv, bench.clone if "-e" in shlex.split(line) else None, backend)
        assert _done(["git", "status", "--short"], bench.clone, os.environ) == "", "the clone was littered"


def site_packages(venv: Path) -> Path:
    return venv / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"


def assert_works(venv: Path, elsewhere: Path) -> None:
    """The command and the module work, and a new root can be made."""
    version = f"matterstack, version {matterstack.__version__}\n"
    python, command = (str(venv / "bin" / name) for name in ("python", "matterstack"))
    environment = {"PATH": f"{venv / 'bin'}:/usr/bin:/bin", "LC_ALL": "C.UTF-8", "HOME": str(elsewhere)}
    assert _done([command, "--version"], elsewhere, environment) == version
    assert _done([python, "-m", "matterstack", "--version"], elsewhere, environment) == version
    assert "self-test" in _done([command, "--help"], elsewhere, environment)
    _done([command, "init", "my-project"], elsewhere, environment)
    assert _done([command, "run", "list", "--json"], elsewhere / "my-project", environment) == "[]\n"


MODULES: Final = """
from importlib import import_module
for name in ("matterstack", "matterstack.actors.run", "matterstack.backends.local"):
    print(import_module(name).__file__)
"""


def assert_is_whole(venv: Path, clone: Path | None, backend: str) -> None:
    """Each module comes from one place: the environment, or of an editable install the clone."""
    packages = site_packages(venv)
    for file in _done([str(venv / "bin" / "python"), "-I", "-c", MODULES], venv, {}).splitlines():
        assert Path(file).is_relative_to((clone or packages) / "matterstack"), file
    assert (packages / "matterstack").exists() is (clone is None), "a copy beside the checkout"
    (information,) = packages.glob("matterstack-*.dist-info")
    assert f"Generator: {BACKEND} {backend}\n" in (information / "WHEEL").read_text()
    assert "MIT License" in (information / "licenses" / "LICENSE").read_text()


def test_make_demo_installs(bench: Bench) -> None:
    environment = bench.environment(pinned_backend(), Path(sys.base_prefix))
    for name in ("PIP_CONSTRAINT", "PIP_BUILD_CONSTRAINT", "PIP_NO_INDEX"):
        del environment[name]  # it has its own versions
    target = ".venv/installed-for-demo"
    assert target in _done(["make", "--dry-run", "demo"], bench.clone, environment)
    _done(["make", target, f"PYTHON={sys.executable}"], bench.clone, environment)
    assert_works(bench.clone / ".venv", bench.elsewhere)
    assert_is_whole(bench.clone / ".venv", bench.clone, pinned_backend())


# ---- what is built


def test_every_backend_that_is_allowed_builds_the_same_wheel(bench: Bench, tmp_path: Path) -> None:
    """Also the oldest, and from an sdist as from a checkout."""
    _done(
        [
            sys.executable,
            "-m",
            "build",
            "--sdist",
            "--no-isolation",
            "--outdir",
            str(tmp_path),
            str(bench.clone),
        ],
        tmp_path,
        os.environ,
    )
    (sdist,) = tmp_path.iterdir()
    built = [(backend, bench.clone) for backend in {*bench.backends, floor_backend()}]
    built += [(bench.newest_backend, sdist)]
    held = []
    for number, (backend, source) in enumerate(built):
        out = tmp_path / str(number)
        pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", str(out), str(source)]
        _done(pip, tmp_path, bench.environment(backend, bench.venv))
        (wheel,) = out.iterdir()
        held.append(_files(wheel))
    assert len(held) >= 3
    assert all(files == held[0] for files in held)


def _files(wheel: Path) -> dict[str, int]:
    """What a wheel holds of the package: names and checksums."""
    with zipfile.ZipFile(wheel) as file:
        return {entry.filename: entry.CRC for entry in file.infolist() if ".dist-info/" not in entry.filename}
