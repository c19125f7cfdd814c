"""Fixtures of tests that put the engine to trials, on each backend that has real jobs."""

import pytest

from tests.support.campaigns import Diary
from tests.support.command import CommandLine
from tests.support.places import OnSlurm, ThisMachine
from tests.support.slurm_cluster import SlurmCluster
from tests.support.trials import Trial


@pytest.fixture(params=["local", "slurm"])
def trial(request: pytest.FixtureRequest, command_line: CommandLine, diary: Diary) -> Trial:
    """Runs on this machine, then on the real Slurm."""
    kind: str = request.param
    if kind == "local":
        return Trial(command_line=command_line, diary=diary, place=ThisMachine(command_line.root))
    cluster: SlurmCluster = request.getfixturevalue("slurm_env")
    return Trial(command_line=command_line, diary=diary, place=OnSlurm.now(cluster))


@pytest.fixture
def local_trial(command_line: CommandLine, diary: Diary) -> Trial:
    """Runs on this machine."""
    return Trial(command_line=command_line, diary=diary, place=ThisMachine(command_line.root))
