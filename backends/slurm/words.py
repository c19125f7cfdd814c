"""What to say of a cluster's jobs and troubles: Slurm's reasons in words, and its commands for people."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import ClassVar, Final

import attrs

from matterstack.backends.slurm.reasons import reason_in_words
from matterstack.core.ids import JobId
from matterstack.core.scheduler_words import Outlook, Reason, SchedulerWords

_COMMANDS: Final = frozenset({"squeue", "sbatch", "scontrol", "scancel", "sacct", "sinfo", "sacctmgr"})
MOST_JOBS_NAMED: Final = 8
_ELEMENT: Final = re.compile(r"([0-9]+)_[0-9]+")
_GIVE_UP: Final = "scancel {pending}"


@attrs.frozen(kw_only=True)
class SlurmWords(SchedulerWords):
    """Words of one cluster; its commands are told as they are typed on this machine."""

    exclude: ClassVar[str] = "resources.extra.exclude"

    @property
    def own_jobs(self) -> str:
        """How jobs of this user are listed; see `SchedulerWords.own_jobs`."""
        return _on(self.host, "squeue --me")

    def reason(self, code: str, raw_state: str) -> Reason:
        """What a pending reason means; see `SchedulerWords.reason`."""
        return _reason(code, raw_state, self.host)

    def job_list(self, ids: Sequence[JobId]) -> str:
        """As scontrol and scancel take them: an array of which many are meant as a whole.

        >>> SlurmWords().job_list(["7", "12_0"]), SlurmWords().job_list([f"12_{i}" for i in range(9)])
        ('7,12_0', '12')
        """
        if len(ids) > MOST_JOBS_NAMED:
            ids = list(dict.fromkeys(JobId(_ELEMENT.sub(r"\1", job_id)) for job_id in ids))
        return ",".join(ids)

    def pending_list(self, ids: Sequence[JobId]) -> str:
        """As scancel takes those that wait; with a state, one element would stand for all that wait with it.

        >>> SlurmWords().pending_list(["7"]), SlurmWords().pending_list(["7", "12_0"])
        ('--state=PENDING 7', '7,12_0')
        """
        listed = self.job_list(ids)
        return listed if "_" in listed else f"--state=PENDING {listed}"

    def is_host_out(self, problem: str) -> bool:
        """See `SchedulerWords.is_host_out`: what Slurm's commands complain of is told with their name."""
        return bool(self.host) and problem.partition(":")[0] not in _COMMANDS


@lru_cache(1024)
def _reason(code: str, raw_state: str, host: str) -> Reason:
    found = reason_in_words(code, raw_state)
    give_up = _GIVE_UP if found.outlook is Outlook.NEVER else ""
    return attrs.evolve(found, action=_on(host, found.action), give_up=_on(host, give_up))


def _on(host: str, action: str) -> str:
    """The same, where Slurm's commands are there on a login node only; comments stay as they are."""
    return f"ssh {host} {action}" if host and action.partition(" ")[0] in _COMMANDS else action
