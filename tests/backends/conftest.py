"""Fixtures of the backend tests."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import attrs
import pytest

from tests.backends.bench import KINDS, REAL_KINDS, Bench, slurm_bench
from tests.support.engine import on_virtual_clock

_PARAMS: Final = {
    kind: pytest.param(kind, marks=[] if kind in REAL_KINDS else [on_virtual_clock]) for kind in sorted(KINDS)
}


def _on(*kinds: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("idle_bench", [_PARAMS[kind] for kind in kinds], indirect=True)


in_a_shell: Final = _on("local", "slurm", "slurm over ssh")
"""For tests of what only the shell of a real job can do."""
on_a_cluster: Final = _on("slurm", "slurm over ssh", "simulated")
"""For tests of what can only happen where others are asked."""


@pytest.fixture(params=_PARAMS.values())
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
