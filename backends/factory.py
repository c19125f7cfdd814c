"""Make the backend that a config names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from matterstack.backends.base import Backend
from matterstack.backends.local import LocalBackend
from matterstack.backends.slurm.backend import SlurmBackend
from matterstack.core.config import BackendConfig, LocalBackendConfig
from matterstack.core.ids import BackendName

_CONFIG: TypeAdapter[BackendConfig] = TypeAdapter(BackendConfig)


def make_backend(name: BackendName, config: Mapping[str, Any], locks: Path) -> Backend:
    """Make a backend from its part of a frozen config; ``locks`` is the folder of lock files."""
    parsed = _CONFIG.validate_python(dict(config))
    lock_file = locks / f"submit-{name}.lock"
    if isinstance(parsed, LocalBackendConfig):
        return LocalBackend(name, parsed, lock_file)
    return SlurmBackend(name, parsed, lock_file)
