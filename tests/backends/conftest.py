"""Fixtures of the backend tests."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import attrs
import pytest

from tests.backends.bench import KINDS, Bench, slurm_bench


@pytest.fixture(params=sorted(KINDS))
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    """Each backend in turn."""
    kind: str = request.param
    return KINDS[kind](request, tmp_path)


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
