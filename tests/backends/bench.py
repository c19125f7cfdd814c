"""The backends of this repository as the contract sees them (`matterstack.backends.contract.bench`).

A further one joins the contract by one more entry in `KINDS`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, Final

import attrs
import pytest
import trio

from matterstack.backends.base import Backend, PreparedAttempt
from matterstack.backends.contract.bench import PATIENCE_S, POLL_S, Bench, Deed
from matterstack.backends.local import LocalBackend
from matterstack.backends.local_config import LocalBackendConfig
from matterstack.backends.registry import make_backend
from matterstack.backends.slurm.backend import SlurmBackend
from matterstack.backends.slurm.config import SlurmBackendConfig
from matterstack.backends.slurm.ssh.root_id import root_id
from matterstack.core.ids import BackendName, JobId
from matterstack.core.model.resources import Resources
from matterstack.storage.layout import Root
from matterstack.storage.leases import boot_id
from matterstack.storage.threads import run_inline
from tests.simulated_cluster.cluster import SimulatedCluster, Word
from tests.simulated_cluster.programs import SimulatedCommands
from tests.support.sshd import Sshd

GATE_OPENS_S: Final = 20.0
"""How long a gated job of the simulated cluster works, in virtual time: nobody has patience for less."""


@attrs.frozen(kw_only=True)
class SshBench(Bench):
    """A Slurm that is reached through ssh: its jobs work in folders of their own there."""

    sshd: Sshd

    def _write(self, attempt: PreparedAttempt, does: Deed | str) -> None:
        super()._write(attempt, does)
        # Only what is declared comes home.
        outputs = [] if isinstance(does, str) else list(does.writes)
        manifest = {"files": [], "inputs": [], "outputs": outputs}
        (attempt.folder / "manifest.json").write_text(json.dumps(manifest))

    def workplace(self, attempt: PreparedAttempt) -> Path:
        """See `Bench.workplace`."""
        own = root_id(Root(self.folder).private)
        return self.sshd.workdir / "matterstack" / own / attempt.folder.relative_to(self.folder)

    def cut_off(self, _patch: pytest.MonkeyPatch) -> None:
        """See `Bench.cut_off`."""
        self.sshd.stop()


@attrs.frozen(kw_only=True)
class SimulatedBench(Bench):
    """A backend in front of the simulated cluster, in virtual time."""

    cluster: SimulatedCluster
    commands: SimulatedCommands

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Let the cluster be there."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.cluster.serve)
            await trio.testing.wait_all_tasks_blocked()
            yield
            nursery.cancel_scope.cancel()

    def _write(self, attempt: PreparedAttempt, does: Deed | str) -> None:
        if isinstance(does, str):
            raise TypeError("a simulated job has no shell")
        simulate = {
            "duration_s": GATE_OPENS_S if does.is_gated else 0,
            "exit_code": does.exit_code,
            "files": dict(does.writes),
        }
        (attempt.folder / "manifest.json").write_text(json.dumps({"params": {"simulate": simulate}}))
        super()._write(attempt, does)

    async def at_work(self, attempt: PreparedAttempt) -> Callable[[], bool]:
        """See `Bench.at_work`."""
        with trio.fail_after(PATIENCE_S):
            while not self.times_worked(attempt):  # noqa: ASYNC110  in virtual time
                await trio.sleep(POLL_S)
        jobs = [job for job in self.cluster.jobs.values() if job.folder == attempt.folder]
        return lambda: any(job.word is Word.RUNNING for job in jobs)

    def times_worked(self, attempt: PreparedAttempt) -> int:
        """See `Bench.times_worked`."""
        return len(self.cluster.worked.get(attempt.folder, ()))

    async def open_gate(self, _attempt: PreparedAttempt) -> None:
        """It opens by itself."""
        await trio.sleep(GATE_OPENS_S)

    def cut_off(self, _patch: pytest.MonkeyPatch) -> None:
        """See `Bench.cut_off`."""
        self.cluster.controller_is_up = self.cluster.accounting_is_up = False


def local_bench(_request: pytest.FixtureRequest, folder: Path) -> Bench:
    """Processes on this machine."""

    def make() -> Backend:
        config = LocalBackendConfig(type="local", poll_interval_s=POLL_S)
        return LocalBackend(BackendName("local"), config, folder / "locks" / "submit")

    # No process was started at tick 0 of this boot with the number of init.
    absent = JobId(f"1.0.{boot_id()[:8]}")
    return Bench(
        folder=folder,
        make=make,
        backend=make(),
        absent=absent,
        most_cpus=os.cpu_count(),
        gives_secrets=True,
    )


REAL_CLUSTER: Final[Mapping[str, Any]] = {
    "absent": JobId("999999"),
    "most_in_batch": 1000,
    "queued": Resources(memory_mib=20, extra={"hold": ""}),
    "asks_others": True,
    "gives_secrets": True,
}
"""What is so of the real Slurm, wherever it is asked from."""


def slurm_bench(request: pytest.FixtureRequest, folder: Path) -> Bench:
    """The real Slurm of the session."""
    request.getfixturevalue("slurm_env")

    def make() -> Backend:
        return slurm_backend(folder)

    return Bench(
        folder=folder,
        make=make,
        backend=make(),
        **REAL_CLUSTER,
    )


def ssh_bench(request: pytest.FixtureRequest, folder: Path) -> Bench:
    """The real Slurm of the session, behind a real sshd."""
    sshd: Sshd = request.getfixturevalue("sshd")
    prologue = [f"export PATH={Path(sys.executable).parent}:$PATH"]  # for the tests that run python

    def make() -> Backend:
        config = _slurm_config(ssh=sshd.config, prologue=prologue).model_dump(mode="json")
        return make_backend(BackendName("cluster"), config, Root(folder))

    return SshBench(
        folder=folder,
        make=make,
        backend=make(),
        **REAL_CLUSTER,
        sshd=sshd,
    )


def slurm_backend(folder: Path, **options: object) -> SlurmBackend:
    """A backend for the Slurm that the environment points to."""
    return SlurmBackend(BackendName("cluster"), _slurm_config(**options), folder / "locks" / "submit")


def _slurm_config(**options: object) -> SlurmBackendConfig:
    config = {"type": "slurm", "poll_interval_s": POLL_S, "grace_period_s": 0.3, "command_timeout_s": 20}
    return SlurmBackendConfig.model_validate(config | options)


def simulated_bench(_request: pytest.FixtureRequest, folder: Path) -> Bench:
    """A cluster in virtual time: for tests that run on `tests.support.engine.on_virtual_clock`."""
    cluster = SimulatedCluster(
        Random(1),  # noqa: S311
        lambda: datetime(2026, 1, 2, tzinfo=UTC) + timedelta(seconds=trio.current_time()),
    )
    commands = SimulatedCommands(cluster)

    def make() -> Backend:
        lock = folder / "locks" / "submit"
        name = BackendName("cluster")
        return SlurmBackend(name, _slurm_config(), lock, run=commands.run, blocking=run_inline)

    return SimulatedBench(
        folder=folder,
        make=make,
        backend=make(),
        absent=JobId("999999"),
        most_in_batch=1000,
        queued=Resources(cpus=cluster.cpus_per_node + 1),
        has_shell=False,
        asks_others=True,
        gives_secrets=True,
        cluster=cluster,
        commands=commands,
    )


KINDS: Final[Mapping[str, Callable[[pytest.FixtureRequest, Path], Bench]]] = {
    "local": local_bench,
    "slurm": slurm_bench,
    "slurm over ssh": ssh_bench,
    "simulated": simulated_bench,
}
WITHOUT_A_SHELL: Final = frozenset({"simulated"})
"""Those whose time is virtual, and whose jobs do a `Deed` only."""
ASKING_NOBODY: Final = frozenset({"local"})
