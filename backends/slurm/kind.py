"""A Slurm cluster: what is known of one, or can be asked of it, without a backend at work."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from matterstack.backends.kinds import BackendKind, Whereabouts
from matterstack.core.ids import BackendName, JobId
from matterstack.core.model.resources import Resources
from matterstack.core.scheduler_words import JobSight, SchedulerWords
from matterstack.storage.layout import Root
from matterstack.storage.modes import job_umask

if TYPE_CHECKING:
    from matterstack.backends.base import Backend
    from matterstack.backends.examination import Check, Examined
    from matterstack.backends.slurm.config import SlurmBackendConfig
    from matterstack.backends.slurm.ssh.ssh_site import SshSite
    from matterstack.core.documents.config import BackendConfig


class SlurmKind(BackendKind):
    """The kind of backends whose ``type`` is ``slurm``."""

    has_limits_to_ask_for = True
    gives_secrets = True
    tied_keys = ("ssh.host", "ssh.workdir")

    def config_model(self) -> type[BackendConfig]:
        """The model of its part of ``config.json``; see `BackendKind.config_model`."""
        from matterstack.backends.slurm.config import SlurmBackendConfig

        return SlurmBackendConfig

    def make(self, name: BackendName, config: Mapping[str, Any], root: Root, lock_file: Path) -> Backend:
        """Make a backend of a cluster, here or behind ssh; see `BackendKind.make`."""
        from matterstack.backends.slurm.backend import SlurmBackend
        from matterstack.backends.slurm.config import SlurmBackendConfig

        parsed = SlurmBackendConfig.model_validate(dict(config))
        umask = job_umask(root.private)
        return SlurmBackend(name, parsed, lock_file, site=_site(name, parsed, root), job_umask=umask)

    def option_problems(self, wanted: Resources) -> Iterable[str]:
        """Options of sbatch that a job may not have; see `BackendKind.option_problems`."""
        from matterstack.backends.slurm.option_rules import extra_problems

        return extra_problems(wanted.extra, has_memory=wanted.memory_mib is not None)

    def words(self, config: Mapping[str, Any]) -> SchedulerWords:
        """Words for the cluster's reasons; see `BackendKind.words`."""
        from matterstack.backends.slurm.words import SlurmWords

        return SlurmWords(host=_ssh(config).get("host", ""))

    def whereabouts(self, config: Mapping[str, Any], root: Root, folder: Path) -> Whereabouts:
        """Where the cluster's jobs find a folder; see `BackendKind.whereabouts`."""
        ssh = _ssh(config)
        if not ssh:
            return Whereabouts(path=folder)
        from matterstack.backends.slurm.ssh.root_id import base_there, root_id

        base = base_there(ssh["workdir"], root_id(root.private))
        return Whereabouts(path=Path(base, folder.relative_to(root.path)), host=ssh["host"])

    async def sights(self, configs: Sequence[Mapping[str, Any]]) -> Mapping[JobId, JobSight]:
        """See `BackendKind.sights`; no cluster behind ssh is asked, since that may take long."""
        if all(_ssh(config) for config in configs):
            return {}
        from matterstack.backends.slurm.expected_starts import ask_squeue

        return await ask_squeue()

    def checks(self, examined: Examined) -> Sequence[Check]:
        """Checks of clusters and logins for the doctor; see `BackendKind.checks`."""
        from matterstack.backends.slurm.checks import checks_of

        return checks_of(examined)


def _ssh(config: Mapping[str, Any]) -> Mapping[str, Any]:
    ssh: Mapping[str, Any] = config.get("ssh") or {}
    return ssh


def _site(name: BackendName, config: SlurmBackendConfig, root: Root) -> SshSite | None:
    if config.ssh is None:
        return None
    from matterstack.backends.slurm.ssh.connection import Connection
    from matterstack.backends.slurm.ssh.root_id import root_id
    from matterstack.backends.slurm.ssh.ssh_site import SshSite
    from matterstack.storage.threads import WorkerThreads

    return SshSite(
        name=name,
        root=root.path,
        workdir=config.ssh.workdir,
        root_id=root_id(root.private),
        timeout_s=config.command_timeout_s,
        connection=Connection(config.ssh.host, tuple(config.ssh.options)),
        blocking=WorkerThreads(2),
    )


SLURM: Final = SlurmKind()
