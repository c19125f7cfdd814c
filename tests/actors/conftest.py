"""Fixtures of the tests on the virtual clock."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.engine import on_virtual_clock


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run every test that has a world on the virtual clock."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here) and "world" in getattr(item, "fixturenames", ()):
            # In front of the mark of pytest-trio's own mode, since the first one that names a runner counts.
            item.add_marker(on_virtual_clock, append=False)
