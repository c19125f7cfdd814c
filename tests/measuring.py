"""Coverage, measured where it is cheap: in tests that start nothing, and in the commands of a few files.

It is measured where ``COVERAGE_FILE`` says into which files it goes (`make test` does).  The tracer doubles
the time of what it follows, so that it follows neither the engines that most tests start nor tests that take
long: what those cover beside the others is left out of the number.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Final

import coverage
import pytest
from hypothesis import HealthCheck, settings

from tests.tiers import LONG, PROJECT, Tier, file_of, tier_of

CONFIG: Final = PROJECT / "pyproject.toml"
FILE: Final = "COVERAGE_FILE"
"""Variable: the beginning of the names of the files with what was measured."""
COMMANDS: Final = "COVERAGE_PROCESS_START"
"""Variable: every Python that is started with it is measured (coverage.py, "Measuring subprocesses")."""
ROOT: Final = "COVERAGE_ROOT"
"""Variable: what the folders in pyproject.toml are relative to."""
OF_COMMANDS: Final = {
    "tests/cli/test_evidence.py",
    "tests/cli/test_logs.py",
    "tests/cli/test_rerun.py",
    "tests/cli/test_respond.py",
    "tests/cli/test_shows.py",
}
"""In these, commands and engines are measured, too."""


class Measuring:
    """Follows this process while a test runs that is measured."""

    def __init__(self) -> None:
        os.environ[ROOT] = str(PROJECT)
        self.coverage = coverage.Coverage(config_file=str(CONFIG), data_suffix=True)
        self.coverage.start()  # modules are imported while tests are collected
        self.is_on = True
        # How long examples take to make is not what is measured.
        settings.register_profile("measured", suppress_health_check=[HealthCheck.too_slow])
        settings.load_profile("measured")

    def turn(self, *, on: bool) -> None:
        """Follow from here on, or no longer."""
        if on is not self.is_on:
            (self.coverage.start if on else self.coverage.stop)()
            self.is_on = on

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Know which test it is about."""
        file = file_of(item)
        quick = tier_of(item) is Tier.starts_nothing and file not in LONG
        self.turn(on=quick or file in OF_COMMANDS)  # some of their commands run in this process
        with pytest.MonkeyPatch.context() as patch:
            if file in OF_COMMANDS:
                patch.setenv(COMMANDS, str(CONFIG))
            return (yield)

    def pytest_unconfigure(self) -> None:
        """Write down what was seen."""
        self.turn(on=False)
        self.coverage.save()


_measuring = Measuring() if FILE in os.environ else None


def pytest_configure(config: pytest.Config) -> None:
    """Measure, if it is asked for."""
    missing = [name for name in OF_COMMANDS if not (PROJECT / name).is_file()]
    if missing:
        raise pytest.UsageError(f"tests/measuring.py names files that are not there: {', '.join(missing)}")
    if _measuring is not None:
        config.pluginmanager.register(_measuring, "measuring")
