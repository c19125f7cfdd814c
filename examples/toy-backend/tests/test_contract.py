"""What every backend promises, shown on this one."""

import os
from pathlib import Path

import pytest
from matterstack_toy.backend import ToyBackend

from matterstack.backends.contract.bench import POLL_S, Bench
from matterstack.backends.contract.suite import *  # noqa: F403  the tests themselves
from matterstack.core.ids import BackendName, JobId
from matterstack.core.model.resources import Resources


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A spool of its own for each test."""

    def make() -> ToyBackend:
        return ToyBackend(BackendName("toy"), tmp_path / "spool", POLL_S)

    return Bench(
        folder=tmp_path,
        make=make,
        backend=make(),
        absent=JobId("nobody.1"),
        most_cpus=os.cpu_count(),
        queued=Resources(cpus=10_000),
    )
