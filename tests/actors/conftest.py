"""Fixtures of the tests on the virtual clock."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.engine import World, make_world, on_virtual_clock


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run every test that has a world on the virtual clock."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here) and "world" in getattr(item, "fixturenames", ()):
            # In front of the mark of pytest-trio's own mode, since the first one that names a runner counts.
            item.add_marker(on_virtual_clock, append=False)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A root with a fake cluster; the settings of whoever runs the tests are out of sight."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    made = make_world(tmp_path / "root")
    yield made
    made.connection.close()
