"""Make the backend that a config names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from matterstack.backends.base import Backend
from matterstack.backends.local import LocalBackend
from matterstack.backends.slurm.backend import SlurmBackend
from matterstack.backends.slurm.ssh.connection import Connection
from matterstack.backends.slurm.ssh.root_id import root_id
from matterstack.backends.slurm.ssh.site import SshSite
from matterstack.core.config import BackendConfig, LocalBackendConfig, SlurmBackendConfig
from matterstack.core.ids import BackendName
from matterstack.storage.layout import Root
from matterstack.storage.threads import WorkerThreads

_CONFIG: TypeAdapter[BackendConfig] = TypeAdapter(BackendConfig)


def make_backend(
    name: BackendName, config: Mapping[str, Any], root: Root, locks: Path | None = None
) -> Backend:
    """Make a backend from its part of a frozen config.

    Args:
        locks: folder of lock files, where it is not that of the root.

    Raises:
        StoreError: the name of the root on clusters cannot be read or kept.
    """
    parsed = _CONFIG.validate_python(dict(config))
    lock_file = (locks or root.locks) / f"submit-{name}.lock"
    if isinstance(parsed, LocalBackendConfig):
        return LocalBackend(name, parsed, lock_file)
    return SlurmBackend(name, parsed, lock_file, site=_site(name, parsed, root))


def _site(name: BackendName, config: SlurmBackendConfig, root: Root) -> SshSite | None:
    if config.ssh is None:
        return None
    return SshSite(
        name=name,
        root=root.path,
        workdir=config.ssh.workdir,
        root_id=root_id(root.private),
        timeout_s=config.command_timeout_s,
        connection=Connection(config.ssh.host, tuple(config.ssh.options)),
        blocking=WorkerThreads(2),
    )
