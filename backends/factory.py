"""Make the backend that a config names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from matterstack.backends.base import Backend
from matterstack.core.documents.config import BackendConfig, LocalBackendConfig, SlurmBackendConfig
from matterstack.core.ids import BackendName
from matterstack.storage.layout import Root
from matterstack.storage.threads import WorkerThreads

if TYPE_CHECKING:
    from matterstack.backends.slurm.ssh.ssh_site import SshSite

# Each kind of backend is imported where one is made: an engine that needs none of a kind starts without it.


def make_backend(
    name: BackendName, config: Mapping[str, Any], root: Root, locks: Path | None = None
) -> Backend:
    """Make a backend from its part of a frozen config.

    Args:
        locks: folder of lock files, where it is not that of the root.

    Raises:
        StoreError: the name of the root on clusters cannot be read or kept.
    """
    adapter: TypeAdapter[BackendConfig] = TypeAdapter(BackendConfig)
    parsed = adapter.validate_python(dict(config))
    lock_file = (locks or root.locks) / f"submit-{name}.lock"
    if isinstance(parsed, LocalBackendConfig):
        from matterstack.backends.local import LocalBackend

        return LocalBackend(name, parsed, lock_file)
    from matterstack.backends.slurm.backend import SlurmBackend

    return SlurmBackend(name, parsed, lock_file, site=_site(name, parsed, root))


def _site(name: BackendName, config: SlurmBackendConfig, root: Root) -> SshSite | None:
    if config.ssh is None:
        return None
    from matterstack.backends.slurm.ssh.connection import Connection
    from matterstack.backends.slurm.ssh.root_id import root_id
    from matterstack.backends.slurm.ssh.ssh_site import SshSite

    return SshSite(
        name=name,
        root=root.path,
        workdir=config.ssh.workdir,
        root_id=root_id(root.private),
        timeout_s=config.command_timeout_s,
        connection=Connection(config.ssh.host, tuple(config.ssh.options)),
        blocking=WorkerThreads(2),
    )
