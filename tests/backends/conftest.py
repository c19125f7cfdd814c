"""Fixtures of the backend tests."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import attrs
import pytest

from matterstack.backends.contract.bench import Bench
from tests.backends.bench import ASKING_NOBODY, KINDS, WITHOUT_A_SHELL, slurm_bench
from tests.support.engine import on_virtual_clock


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give each test the backends that it can be shown on."""
    if "idle_bench" not in metafunc.fixturenames:
        return
    kinds = set(KINDS)
    if "needs_shell" in metafunc.fixturenames:
        kinds -= WITHOUT_A_SHELL
    if "needs_others" in metafunc.fixturenames:
        kinds -= ASKING_NOBODY
    in_time = {kind: [on_virtual_clock] if kind in WITHOUT_A_SHELL else [] for kind in sorted(kinds)}
    params = [pytest.param(kind, marks=marks) for kind, marks in in_time.items()]
    metafunc.parametrize("idle_bench", params, indirect=True)


@pytest.fixture
def idle_bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    """Each backend in turn; what runs its jobs may not be there yet."""
    kind: str = request.param
    return KINDS[kind](request, tmp_path)


@pytest.fixture
async def bench(idle_bench: Bench) -> AsyncIterator[Bench]:
    """Each backend in turn."""
    async with idle_bench.running():
        yield idle_bench


@pytest.fixture
def slurm(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    """The real Slurm."""
    return slurm_bench(request, tmp_path)


@attrs.frozen
class Shims:
    """Commands in PATH in front of the real ones."""

    folder: Path
    log: Path

    def add(self, command: str, script: str = "") -> None:
        """Log each call of a command; then run ``script``, in which ``$REAL`` is the real command."""
        real = shutil.which(command)
        script = script or 'exec "$REAL" "$@"'
        text = f'#!/bin/bash\necho {command} "$@" >> {self.log}\nREAL={real}\n{script}\n'
        path = self.folder / command
        path.write_text(text)
        path.chmod(0o755)

    def calls(self, command: str) -> int:
        """How often a command was called."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return sum(line.split(maxsplit=1)[0] == command for line in lines)


@pytest.fixture
def shims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shims:
    """An empty folder in front of PATH."""
    folder = tmp_path / "shims"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return Shims(folder, tmp_path / "calls.log")
