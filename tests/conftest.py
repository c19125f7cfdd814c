"""Fixtures for all tests, and their order."""

from __future__ import annotations

from collections import Counter

import pytest

# What the helpers assert is told in full, too.
pytest.register_assert_rewrite("tests.support")

pytest_plugins = [
    "tests.tiers",
    "tests.measuring",  # before all that imports the product: what is imported earlier is not seen
    "tests.slurm_fixtures",
    "tests.sshd_fixtures",
    "tests.command_fixtures",
    "tests.trial_fixtures",
    "tests.world_fixtures",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files of few tests first: theirs take longest, and a process that is given one last runs on alone."""
    tests_of_file = Counter(item.path for item in items)
    items.sort(key=lambda item: (tests_of_file[item.path], item.path))
