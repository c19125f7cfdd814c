"""Whose job a line of Slurm is about.

An id alone does not tell: a controller that lost its newest jobs in a crash gives their ids to the next ones,
and the accounting keeps the records of a cluster that was set up anew.
"""

from __future__ import annotations

import re
from typing import Final

from matterstack.backends.base import LiveJob
from matterstack.backends.slurm.arrays import element_of
from matterstack.backends.slurm.output import is_job_id

_TOKEN: Final = re.compile(r"ms-[a-z2-7]{20}")
"""The name of a job that was submitted by MatterStack: see `matterstack.core.ids.attempt_token`."""


def is_of_another_attempt(name: str, job: LiveJob) -> bool:
    """Whether a job of this name cannot be the attempt's.

    Any other name is no proof: people rename jobs, and so do some sites.
    """
    return _TOKEN.fullmatch(name) is not None and not is_named_for(name, job)


def is_named_for(name: str, job: LiveJob) -> bool:
    """Whether a job of this name was submitted for the attempt."""
    if _name_is_unknown(job):
        return _TOKEN.fullmatch(name) is not None
    return name == (job.batch or job.token)


def may_stand_in(claimant: str, job: LiveJob) -> bool:
    """Whether an id in the claim can be that of a second job of the attempt."""
    if claimant == job.job_id or not is_job_id(claimant):
        return False
    return element_of(claimant)[1] == element_of(job.job_id)[1]


def _name_is_unknown(job: LiveJob) -> bool:
    return job.batch is None and element_of(job.job_id)[1] is not None
