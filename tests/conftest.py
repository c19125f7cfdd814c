"""What all tests have: marks, coverage, their order, and fixtures."""

from __future__ import annotations

import pytest

# What the helpers assert is told in full, too.
pytest.register_assert_rewrite("tests.support")

pytest_plugins = [
    "tests.tiers",
    "tests.measuring",  # before all that imports the product: what is imported earlier is not seen
    "tests.order",
    "tests.slurm_fixtures",
    "tests.sshd_fixtures",
    "tests.command_fixtures",
    "tests.trial_fixtures",
    "tests.world_fixtures",
]
