"""Fixtures for all tests."""

pytest_plugins = [
    "tests.slurm_fixtures",
    "tests.sshd_fixtures",
    "tests.command_fixtures",
    "tests.trial_fixtures",
]
