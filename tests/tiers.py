"""Tiers: each test is marked by the most that it starts, as its fixtures tell, and is held to it.

A test's mark is the highest of what its fixtures stand for; no test is marked by hand.  One that has no such
fixture starts nothing, and fails if it does: from the beginning of its fixtures to their end, every process
that this one starts is seen (PEP 578, "subprocess.Popen" and its kin), whatever started it.
"""

from __future__ import annotations

import enum
import platform
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final

import pytest

PROJECT: Final = Path(__file__).parents[1]


class Tier(enum.IntEnum):
    """What a test starts beside threads; each may start what the ones before it do."""

    starts_nothing = 0
    starts_process = 1
    starts_slurm = 2
    starts_browser = 3


WORDS: Final = {
    Tier.starts_nothing: "pure, on the virtual clock, or else within this process",
    Tier.starts_process: "commands, engines, planning processes, jobs on this machine, an sshd",
    Tier.starts_slurm: "a real Slurm, or jobs on it",
    Tier.starts_browser: "a Chromium",
}

FIXTURES: Final = {
    "processes": Tier.starts_process,
    "command_line": Tier.starts_process,
    "home": Tier.starts_process,
    "local": Tier.starts_process,
    "job": Tier.starts_process,
    "installed": Tier.starts_process,
    "kept": Tier.starts_process,
    "made": Tier.starts_process,
    "beside": Tier.starts_process,
    "die_at": Tier.starts_process,
    "bare_sshd": Tier.starts_process,
    "sshd": Tier.starts_slurm,
    "far": Tier.starts_slurm,
    "slurm": Tier.starts_slurm,
    "slurm_env": Tier.starts_slurm,
    "witness": Tier.starts_slurm,
    "slurm_cluster": Tier.starts_slurm,
    "start_slurm_cluster": Tier.starts_slurm,
    "browser": Tier.starts_browser,
}
"""What a test starts that has this fixture, of its own or through another one."""
FIXTURES_BY_VALUE: Final = {
    "trial": {"local": Tier.starts_process, "slurm": Tier.starts_slurm},
    "idle_bench": {
        "local": Tier.starts_process,
        "slurm": Tier.starts_slurm,
        "slurm over ssh": Tier.starts_slurm,
        "simulated": Tier.starts_nothing,
    },
}
"""The same of fixtures that are parametrized by where jobs run, and take others in by that."""
LONG: Final = {
    "tests/actors/test_random_histories.py",
    "tests/actors/test_restarts.py",
    "tests/actors/test_shared_seats.py",
    "tests/actors/test_site_limits.py",
    "tests/core/test_cost.py",
    "tests/core/test_growth.py",
    "tests/core/test_run_properties.py",
    "tests/evidence/test_archive.py",
    "tests/evidence/test_bad_input.py",
    "tests/evidence/test_cost.py",
    "tests/monitor/test_hostile.py",
    "tests/monitor/test_stream.py",
    "tests/test_catalyst_physics.py",
    "tests/test_fairness.py",
    "tests/test_path_safety.py",
    "tests/test_scheduler_multi.py",
    "tests/test_simulation.py",
    "tests/test_simulation_changes.py",
    "tests/test_simulation_crash_points.py",
    "tests/test_simulation_machine.py",
    "tests/test_slurm_polling.py",
    "tests/test_thin_film_lab.py",
}
"""They take half of the time of all that starts nothing: the same thing begins or ends in a thousand ways."""
LONG_MARK: Final = "takes_long"
STARTS: Final = {"subprocess.Popen", "os.posix_spawn", "os.fork", "os.forkpty", "os.system", "os.exec"}
"""Audit events of a process that is started."""


def file_of(item: pytest.Item) -> str:
    """The file of a test, from the project's folder on."""
    return item.path.relative_to(PROJECT).as_posix()


def tier_of(item: pytest.Item) -> Tier:
    """The highest that the fixtures of a test stand for."""
    names = getattr(item, "fixturenames", ())
    values: dict[str, Any] = item.callspec.params if hasattr(item, "callspec") else {}
    by_value = [known[values[name]] for name, known in FIXTURES_BY_VALUE.items() if name in values]
    return max([Tier.starts_nothing, *by_value, *(FIXTURES[name] for name in names if name in FIXTURES)])


class Guard:
    """Looks on while a test runs, and tells what it started that it has no fixture for."""

    def __init__(self) -> None:
        self.tier = Tier.starts_browser
        self.started: list[str] = []
        starts, nothing = STARTS, Tier.starts_nothing  # while Python ends, modules have no names any more

        def hear(event: str, arguments: tuple[Any, ...]) -> None:
            if event in starts and self.tier is nothing:
                self.started.append(f"{event} {arguments[1] if len(arguments) > 1 else ''}".rstrip())

        sys.addaudithook(hear)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Know which test it is about."""
        self.tier, self.started = tier_of(item), []
        try:
            return (yield)
        finally:
            self.tier = Tier.starts_browser

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, None, None]:
        """Say it at the end of the test, so that whatever the test caught is said, too."""
        yield
        if self.started:
            name = Tier.starts_process.name
            pytest.fail(
                f"{item.nodeid} started {'; '.join(self.started)}, but none of its fixtures stands for that:"
                f" let it ask for `processes`, which marks it {name}",
                pytrace=False,
            )

    @pytest.hookimpl(tryfirst=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> None:
        """Refuse what is asked for by name while the test runs, and is more than the test is marked with."""
        wanted = FIXTURES.get(fixturedef.argname, Tier.starts_nothing)
        if wanted > self.tier:
            pytest.fail(
                f"fixture {fixturedef.argname} in a test marked {self.tier.name}: name it, or what"
                " asks for it, in tests/tiers.py",
                pytrace=False,
            )


def pytest_configure(config: pytest.Config) -> None:
    """Make the marks known, and look on."""
    for tier, words in WORDS.items():
        config.addinivalue_line("markers", f"{tier.name}: {words} (set by fixtures, see tests/tiers.py)")
    config.addinivalue_line("markers", f"{LONG_MARK}: whatever it starts (see LONG in tests/tiers.py)")
    missing = [name for name in LONG if not (PROJECT / name).is_file()]
    if missing:
        raise pytest.UsageError(f"tests/tiers.py names files that are not there: {', '.join(missing)}")
    # Asks uname for the processor, once in the life of a process (Python 3.11, platform.py).
    platform.platform()
    config.pluginmanager.register(Guard(), "tiers-guard")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test, before those are left out that ``-m`` does not ask for."""
    for item in items:
        by_hand = [tier.name for tier in Tier if item.get_closest_marker(tier.name)]
        if by_hand:
            raise pytest.UsageError(f"{item.nodeid} is marked {by_hand[0]} by hand: fixtures do that")
        item.add_marker(tier_of(item).name)
        if file_of(item) in LONG:
            item.add_marker(LONG_MARK)


@pytest.fixture(scope="session")
def processes() -> None:
    """Leave to start processes, for tests and fixtures that do so themselves; they end them, too."""
