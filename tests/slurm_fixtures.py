"""Fixtures that give a test a real Slurm.

``slurm_env`` is what most tests want: one cluster with accounting for the whole session, to which the
environment points, and which is whole and idle again for the next test whatever this one did to it.
"""

import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from tests.support.slurm_cluster import SLURM_VARIABLES, ClusterError, SlurmCluster

logger = logging.getLogger(__name__)

StartCluster: TypeAlias = Callable[..., SlurmCluster]  # with the keywords of SlurmCluster.start


@pytest.fixture(scope="session")
def slurm_cluster() -> Iterator[SlurmCluster]:
    """Three nodes of 4 cpus, with accounting.  Take ``slurm_env`` to run jobs on it."""
    with _temporary_cluster(accounting=True) as cluster:
        yield cluster


@pytest.fixture
def start_slurm_cluster() -> Iterator[StartCluster]:
    """Start more clusters, with options of their own; they are gone after the test."""
    with ExitStack() as clusters:
        yield lambda **options: clusters.enter_context(_temporary_cluster(**options))


@pytest.fixture
def slurm_env(slurm_cluster: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlurmCluster]:
    """The session's cluster, idle, with SLURM_CONF set to it and all other Slurm variables unset.

    After the test every outage is undone and every job is cancelled.  A cluster that cannot be mended is
    started anew, so that no other test fails for it.
    """
    point_to(slurm_cluster, monkeypatch)
    yield slurm_cluster
    make_idle(slurm_cluster)


def point_to(cluster: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have Slurm's commands ask this cluster until the end of the test."""
    for name in os.environ:
        if name.startswith(SLURM_VARIABLES):
            monkeypatch.delenv(name)
    for name, value in cluster.environment().items():
        monkeypatch.setenv(name, value)


def make_idle(cluster: SlurmCluster) -> None:
    """Undo outages, cancel all jobs and wait until they have ended; failing that, start the cluster anew."""
    try:
        cluster.repair()
        cluster.cancel_all_jobs()
        cluster.wait_idle(timeout_s=20)
    except (ClusterError, subprocess.TimeoutExpired):
        logger.warning("the cluster is started anew", exc_info=True)
        cluster.restart()


@contextmanager
def _temporary_cluster(**options: Any) -> Iterator[SlurmCluster]:
    # Not pytest's tmp_path: the sockets in it need a short path.
    directory = Path(tempfile.mkdtemp(prefix="ms-", dir="/tmp"))
    try:
        cluster = SlurmCluster.start(directory, guarded=True, **options)
        try:
            yield cluster
        finally:
            cluster.stop(purge=True)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
