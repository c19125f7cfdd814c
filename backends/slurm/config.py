"""The keys of ``config.json`` for a backend of type ``slurm``."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import BaseModel, Field, field_validator

from matterstack.backends.slurm.option_rules import extra_problems
from matterstack.core.documents.config import STRICT, BackendConfig

_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+@-]*")


class SshConfig(BaseModel):
    """A login node that is reached through the user's own ssh.

    Attributes:
        host: as it is given to ssh: a name of the user's ``~/.ssh/config``, or ``user@name``.
        workdir: a folder there that the compute nodes see, such as a scratch folder; absolute.
        options: what else ssh is given, one word each.
    """

    model_config = STRICT
    host: str
    workdir: str
    options: list[str] = Field(default=[])

    @field_validator("host")
    @classmethod
    def _host_is_one_word(cls, host: str) -> str:
        if not _HOST.fullmatch(host):
            raise ValueError(f"ssh.host: {host!r} is no name of a host (set its port in ~/.ssh/config)")
        return host

    @field_validator("workdir")
    @classmethod
    def _workdir_is_absolute(cls, workdir: str) -> str:
        if not workdir.startswith("/") or not workdir.isprintable() or ".." in workdir.split("/"):
            raise ValueError(f"ssh.workdir: {workdir!r} is no absolute path; give one that begins with /")
        return workdir


class SlurmBackendConfig(BackendConfig):
    """Jobs on a Slurm cluster, through its command line.

    Attributes:
        type: its kind.
        command_timeout_s: how long one command of Slurm may take, until it counts as unanswered.
        grace_period_s: how long a job must be missing, in queue and accounting, until it can count as lost.
        runaway_after_s: the same where the accounting has the job as alive for ever, since its end got lost.
        partition: of jobs that name none; None: the site's default.
        account: the same, whom they are charged to.
        qos: the same, their quality of service.
        constraint: the same, features that their nodes must have.
        reservation: the same, a reservation of the site.
        extra: further options of sbatch by their long name; an empty value is a bare flag.
        prologue: lines of shell that run in front of each command, such as ``module load``; the first
            one that fails ends the job.
        prologue_may_fail: lines of it that fail are passed over.
        ssh: how the cluster is reached; None: its commands are on this machine.
    """

    type: Literal["slurm"]
    max_jobs: int = Field(default=100, ge=1)
    poll_interval_s: float = Field(default=10.0, gt=0)
    command_timeout_s: float = Field(default=60.0, gt=0)
    grace_period_s: float = Field(default=30.0, ge=0)
    runaway_after_s: float = Field(default=3600.0, ge=0)
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    reservation: str | None = None
    extra: dict[str, str] = Field(default={})
    prologue: list[str] = Field(default=[])
    prologue_may_fail: bool = False
    ssh: SshConfig | None = None

    @field_validator("extra")
    @classmethod
    def _extra_overrules_nothing(cls, extra: dict[str, str]) -> dict[str, str]:
        if problems := list(extra_problems(extra)):
            raise ValueError("; ".join(problems))
        return extra
