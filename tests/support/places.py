"""Where the jobs of a trial run, seen from outside of MatterStack: which there are, and which there were."""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

import attrs

from tests.support.slurm_cluster import SlurmCluster

_TURNED_AWAY: Final = re.compile(r"^job (\S+) does no work: another job has claimed", re.MULTILINE)
_TOKEN: Final = re.compile(r"ms-[a-z2-7]{20}")
_REST_OF_AN_ARRAY: Final = "_["
"""In the id of tasks that wait: squeue names each; the accounting lags behind, and does not."""
_JOB_ARGUMENTS: Final = 2  # a shell and its script


@attrs.frozen
class Job:
    """A job that was started, whoever knows of it."""

    job_id: str
    folder: Path | None
    """Of its attempt; None where only its name is known."""
    name: str = ""
    was_cancelled: bool = False

    @property
    def is_ours(self) -> bool:
        """Whether its name is one that MatterStack gives."""
        return _TOKEN.fullmatch(self.name) is not None


class Place(Protocol):
    """What runs jobs."""

    @property
    def name(self) -> str:
        """What configs call it."""

    def config(self, max_jobs: int) -> Mapping[str, Any]:
        """The backend's part of a config."""

    def live(self) -> int:
        """How many jobs there are at this moment, running or queued."""

    def jobs(self) -> list[Job]:
        """All jobs that there ever were."""


@attrs.frozen
class ThisMachine:
    """Processes below a root."""

    root: Path
    name: str = "local"

    def config(self, max_jobs: int) -> Mapping[str, Any]:
        """See `Place`."""
        return {"type": "local", "max_jobs": max_jobs, "poll_interval_s": 1.0}

    def live(self) -> int:
        """Shells that are at a job's script, each at the head of a session of its own."""
        return sum(self._is_job(int(name)) for name in os.listdir("/proc") if name.isdecimal())  # noqa: PTH208

    def _is_job(self, pid: int) -> bool:
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
            is_leader = os.getsid(pid) == pid
        except OSError:
            return False
        script = os.fsdecode(words[-1])
        is_script = len(words) == _JOB_ARGUMENTS and script.endswith("/job.sh")
        return is_leader and is_script and script.startswith(str(self.root))

    def jobs(self) -> list[Job]:
        """Those that have claimed a folder, and those that found it claimed."""
        found = []
        for script in self.root.glob("workspaces/*/runs/*/tasks/*/*/job.sh"):
            folder = script.parent
            claim = folder / "claim" / "job_id"
            ids = claim.read_text().split()[:1] if claim.exists() else []
            found += [Job(job_id, folder) for job_id in [*ids, *turned_away(folder)]]
        return found


@attrs.frozen
class OnSlurm:
    """Jobs of a cluster, but for those that it had before."""

    cluster: SlurmCluster
    earlier: frozenset[str] = frozenset()
    name: str = "cluster"

    @classmethod
    def now(cls, cluster: SlurmCluster) -> "OnSlurm":
        """From now on."""
        return cls(cluster, frozenset(job.job_id for job in cls(cluster).jobs()))

    def config(self, max_jobs: int) -> Mapping[str, Any]:
        """See `Place`."""
        return {
            "type": "slurm",
            "max_jobs": max_jobs,
            "poll_interval_s": 0.3,
            "grace_period_s": 0.1,  # shorter than a slow sbatch takes: it must be the lock that waits for it
            "command_timeout_s": 20,
        }

    def live(self) -> int:
        """Lines of squeue."""
        return len(self.cluster.output("squeue", "--noheader", "--all", "--array", "--format=%i").split())

    def jobs(self) -> list[Job]:
        """What the controller remembers (for five minutes) and what the accounting has."""
        asked = (
            ("squeue", "--noheader", "--all", "--array", "--states=all", "--format=%i|%T|%j"),
            ("sacct", "--noheader", "--parsable2", "--allocations", "--allusers", "--starttime=now-1days",
             "--format=JobID,State,JobName"),
        )  # fmt: skip
        found: dict[str, Job] = {}
        for question in asked:
            for line in self.cluster.output(*question).splitlines():
                job_id, state, name = line.split("|", 2)
                if _REST_OF_AN_ARRAY in job_id:
                    continue
                was_cancelled = state.startswith("CANCELLED")
                found[job_id] = Job(job_id, None, name, was_cancelled=was_cancelled)
        return [job for job in found.values() if job.job_id not in self.earlier]


def turned_away(folder: Path) -> Iterable[str]:
    """Ids of jobs that found an attempt's folder claimed by another one, and left."""
    log = folder / "scheduler.log"
    return _TURNED_AWAY.findall(log.read_text(errors="replace")) if log.exists() else ()
