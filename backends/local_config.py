"""The keys of ``config.json`` for a backend of type ``local``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from matterstack.core.documents.config import BackendConfig


class LocalBackendConfig(BackendConfig):
    """Jobs as processes on this machine.

    Attributes:
        type: its kind.
        prologue: lines of shell that run in front of each command, such as ``module load``.
    """

    type: Literal["local"]
    prologue: list[str] = Field(default=[])
