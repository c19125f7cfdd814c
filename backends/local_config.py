"""The keys of ``config.json`` for a backend of type ``local``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from matterstack.core.documents.config import BackendConfig


class LocalBackendConfig(BackendConfig):
    """Jobs as processes on this machine.

    Attributes:
        type: its kind.
        prologue: lines of shell that run in front of each command, such as ``module load``; the first
            one that fails ends the job.
        prologue_may_fail: lines of it that fail are passed over.
    """

    type: Literal["local"]
    prologue: list[str] = Field(default=[])
    prologue_may_fail: bool = False
