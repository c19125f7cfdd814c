"""What is installed from a wheel is what was tested in the checkout, and nothing beside it."""

import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import attrs
import pytest

import matterstack

PROJECT = Path(__file__).parents[1]


@attrs.frozen
class Installed:
    """An environment of its own with nothing in it but the wheel; it sees the dependencies of this one."""

    sdist: Path
    wheel: Path
    environment: Path

    def run(self, program: str, *arguments: str) -> str:
        """What a program of the environment prints; it must succeed."""
        command = [str(self.environment / "bin" / program), *arguments]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            cwd=self.environment,
            env={"LC_ALL": "C.UTF-8"},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Build an sdist, a wheel from that sdist alone, and install the wheel."""
    built = tmp_path_factory.mktemp("built")
    _python("-m", "build", "--no-isolation", "--outdir", str(built), str(PROJECT))
    (sdist,), (wheel,) = built.glob("*.tar.gz"), built.glob("*.whl")

    environment = tmp_path_factory.mktemp("environment")
    _python("-m", "venv", "--without-pip", str(environment))
    python = str(environment / "bin" / "python")
    _python("-m", "pip", "--python", python, "install", "--quiet", "--no-index", "--no-deps", str(wheel))
    # A line in a .pth file is a folder to search last; .pth files of that folder, such as the one of an
    # editable install, are not followed.
    packages = environment / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return Installed(sdist, wheel, environment)


def _python(*arguments: str) -> None:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("module", ["matterstack", "matterstack.actors", "matterstack.backends"])
def test_modules_are_imported_from_the_wheel(installed: Installed, module: str) -> None:
    where = installed.run("python", "-I", "-c", f"import {module}; print({module}.__file__)")
    assert Path(where.strip()).is_relative_to(installed.environment)


@pytest.mark.parametrize("name", ["actors", "backends", "tests", "workspaces"])
def test_no_generic_name_can_be_imported(installed: Installed, name: str) -> None:
    code = f"import importlib.util; print(importlib.util.find_spec({name!r}))"
    assert installed.run("python", "-I", "-c", code) == "None\n"


def test_the_wheel_holds_one_package_with_every_file_once(installed: Installed) -> None:
    with zipfile.ZipFile(installed.wheel) as wheel:
        names = wheel.namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"matterstack"}
    assert len(tops) == 2
    assert len(names) == len(set(names))
    assert "matterstack/py.typed" in names
    expected = {f"matterstack/{path.relative_to(PROJECT / 'matterstack')}" for path in _files("matterstack")}
    for folder in ("actors", "backends"):
        expected |= {f"matterstack/{path.relative_to(PROJECT)}" for path in _files(folder)}
    assert {name for name in names if name.startswith("matterstack/")} == expected


def _files(folder: str) -> list[Path]:
    links = {PROJECT / "matterstack" / name for name in ("actors", "backends")}
    paths = (
        path for path in (PROJECT / folder).rglob("*") if path.is_file() and links.isdisjoint(path.parents)
    )
    return [path for path in paths if "__pycache__" not in path.parts]


def test_the_sdist_holds_what_the_wheel_is_built_from(installed: Installed) -> None:
    with tarfile.open(installed.sdist) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert {"pyproject.toml", "README.md", "actors/__init__.py", "backends/__init__.py"} <= names
    assert "matterstack/__init__.py" in names
    assert {"LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"} <= names
    assert not any(name.startswith(("matterstack/actors", "matterstack/backends")) for name in names)


def test_the_wheel_has_the_version_and_the_licence(installed: Installed) -> None:
    code = "from importlib.metadata import metadata; print(*map(metadata('matterstack').get, {}))"
    told = installed.run("python", "-I", "-c", code.format(("Version", "License-Expression")))
    assert told == f"{matterstack.__version__} MIT\n"


def test_the_module_is_the_command(installed: Installed) -> None:
    version = f"matterstack, version {matterstack.__version__}\n"
    assert installed.run("matterstack", "--version") == version
    assert installed.run("python", "-m", "matterstack", "--version") == version


def test_the_script_is_installed_and_helps(installed: Installed) -> None:
    assert "run" in installed.run("matterstack", "--help")
