"""Fixtures that give a test a login node: a real sshd, alone or in front of the real Slurm of the session."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.slurm_cluster import SlurmCluster
from tests.support.sshd import Sshd


@pytest.fixture
def ssh_sockets(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the shared connections of this test are; not in tmp_path, since sockets need a short path."""
    folder = Path(tempfile.mkdtemp(prefix="ms-", dir="/tmp"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    yield folder / "matterstack"
    shutil.rmtree(folder)


@pytest.fixture
def bare_sshd(tmp_path: Path, ssh_sockets: Path) -> Iterator[Sshd]:
    """A machine without Slurm."""
    assert not ssh_sockets.exists(), "nothing is shared yet"
    server = Sshd.start(tmp_path / "sshd", {})
    yield server
    server.close()


@pytest.fixture
def sshd(
    slurm_env: SlurmCluster, tmp_path: Path, ssh_sockets: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Sshd]:
    """The login node of ``slurm_env``; on this side of it no Slurm is to be found."""
    assert not ssh_sockets.exists(), "nothing is shared yet"
    monkeypatch.setenv("SLURM_CONF", "/nowhere/slurm.conf")
    server = Sshd.start(tmp_path / "sshd", slurm_env.environment())
    yield server
    server.close()
