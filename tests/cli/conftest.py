"""Fixtures of the tests of commands."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.backends.conftest import Shims


@pytest.fixture
def shims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shims:
    """An empty folder in front of PATH."""
    folder = tmp_path / "shims"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return Shims(folder, tmp_path / "calls.log")
