"""Fixtures of tests that have engines on the virtual clock."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.engine import World, make_world


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A root with a fake cluster; the settings of whoever runs the tests are out of sight."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    made = make_world(tmp_path / "root")
    yield made
    made.connection.close()
