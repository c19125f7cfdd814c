"""Slurm's answers as a test writes them, for what a real Slurm does not do on demand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import attrs

from matterstack.backends.base import LiveJob, PreparedAttempt
from matterstack.backends.slurm.backend import SlurmBackend
from matterstack.backends.slurm.config import SlurmBackendConfig
from matterstack.backends.slurm.programs import Finished
from matterstack.core.ids import BackendName, JobId, RunId, TaskId, Token, attempt_token
from matterstack.core.model.resources import Resources
from matterstack.storage.threads import run_inline

RUN = RunId("20260102T030405-abcdef")
SQUEUE_HEADING = "JOBID|STATE|REASON|NODELIST|NAME\n"
SACCT_HEADING = "JobID|State|ExitCode|NodeList|Start|End|JobName\n"


@attrs.define
class FakeSlurm:
    """What squeue and sacct answer (None: they do not), and sbatch."""

    folder: Path
    squeue: str | None = ""
    sacct: str | None = ""
    sbatch: Finished = attrs.field(factory=lambda: Finished(0, "7\n", ""))
    has_accounting: bool = True
    ended: list[str] = attrs.field(factory=list)
    on_scancel: Callable[[], None] = lambda: None

    async def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float,  # noqa: ARG002  nothing takes time here
        inherit: int | None = None,  # noqa: ARG002
        stdin: str = "",  # noqa: ARG002
    ) -> Finished:
        """See `matterstack.backends.slurm.programs.run`."""
        match argv[0]:
            case "squeue":
                return _table("squeue", SQUEUE_HEADING, self.squeue)
            case "sacct":
                return _table("sacct", SACCT_HEADING, self.sacct)
            case "sbatch":
                return self.sbatch
            case "scancel":
                self.ended += [word for word in argv[1:] if not word.startswith("--")]
                self.on_scancel()
                return Finished(0, "", "")
            case _:
                kind = "slurmdbd" if self.has_accounting else "none"
                return Finished(0, f"AccountingStorageType = accounting_storage/{kind}\n", "")

    def backend(self, **options: object) -> SlurmBackend:
        """A backend that asks it; time may be virtual."""
        config = {"type": "slurm", "grace_period_s": 30.0, "runaway_after_s": 3600.0}
        parsed = SlurmBackendConfig.model_validate(config | options)
        lock = self.folder / "locks" / "submit"
        return SlurmBackend(BackendName("cluster"), parsed, lock, run=self.run, blocking=run_inline)

    def attempt(self, name: str = "a", *, batch: Token | None = None, index: int = 0) -> PreparedAttempt:
        """An attempt whose folder is there."""
        attempt = PreparedAttempt(
            run_id=RUN,
            task_id=TaskId(name),
            n=1,
            token=token(name),
            folder=self.folder / name,
            command=("true",),
            env={},
            resources=Resources(),
            batch=batch,
            index=index,
        )
        attempt.folder.mkdir()
        return attempt

    def job(self, job_id: str = "7", name: str = "a", *, batch: Token | None = None) -> LiveJob:
        """A job of an attempt whose folder is there."""
        folder = self.attempt(name, batch=batch).folder
        return LiveJob(token=token(name), job_id=JobId(job_id), folder=folder, batch=batch)


def token(name: str) -> Token:
    """What the attempt of this name is called in the cluster."""
    return attempt_token(RUN, TaskId(name), 1)


def queued(job_id: str, state: str, name: str, reason: str = "None") -> str:
    """A line of squeue."""
    return f"{job_id}|{state}|{reason}|n1|{name}\n"


def accounted(job_id: str, state: str, name: str, exit_code: str = "0:0") -> str:
    """A line of sacct."""
    return f"{job_id}|{state}|{exit_code}|n1|Unknown|Unknown|{name}\n"


def _table(command: str, heading: str, lines: str | None) -> Finished:
    if lines is None:
        return Finished(1, "", f"{command}: error: Connection refused\n")
    return Finished(0, heading + lines, "")
