"""How many jobs the accounting lets this user have in the queue, as far as it can be read.

What cannot be read, or is not enforced, limits nothing here: sbatch says so when a limit is used up, and that
is a wait (`matterstack.backends.base.SubmitReport.deferred`).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

import attrs

from matterstack.backends.slurm.partitions import Ask
from matterstack.core.errors import BackendError

logger: Final = logging.getLogger(__name__)

_ENFORCING: Final = frozenset({"limits", "safe", "all"})
_TABLE: Final = ("--noheader", "--parsable2", "show")


@attrs.frozen
class SubmitLimit:
    """Most jobs that the user may have, queued and running; ``words`` name the limit."""

    most: int
    words: str


async def read_submit_limit(ask: Ask, settings: Mapping[str, str], user: str) -> SubmitLimit | None:
    """The limit of the user's associations and QOS; None where there is none, or it cannot be read.

    Args:
        settings: how the cluster is set up, by ``scontrol show config``.
        user: name of the one whose jobs these are.

    Where the user has several of them, and which one a job counts for is its own affair, their sum is taken:
    rather too much is submitted than too little, since a refusal is only a wait.
    """
    enforced = {word.strip() for word in settings.get("AccountingStorageEnforce", "").split(",")}
    if enforced.isdisjoint(_ENFORCING):
        return None
    try:
        return await _read(ask, settings.get("ClusterName", ""), user)
    except BackendError as error:
        logger.info("how many jobs this user may have cannot be read: %s", error)
        return None


async def _read(ask: Ask, cluster: str, user: str) -> SubmitLimit | None:
    where = (f"user={user}", *([f"cluster={cluster}"] if cluster else []))
    columns = "format=MaxSubmitJobs,GrpSubmitJobs,QOS"
    associations = _rows(await ask(("sacctmgr", *_TABLE, "associations", *where, columns)), 3)
    if not associations:
        return None
    limits: list[SubmitLimit] = []
    most = _sum([_least(own, shared) for own, shared, _ in associations])
    if most is not None:
        limits.append(SubmitLimit(most, f"the cluster's accounting lets user {user} have {most} jobs"))
    allowed = {name for _, _, names in associations for name in names.split(",") if name}
    kinds = _rows(await ask(("sacctmgr", *_TABLE, "qos", "format=Name,MaxSubmitJobsPerUser")), 2)
    of_qos = [_least(limit) for name, limit in kinds if name in allowed]
    most = _sum(of_qos)
    if most is not None:
        words = f"QOS {', '.join(sorted(allowed))} of the cluster lets a user have {most} jobs"
        limits.append(SubmitLimit(most, words))
    return min(limits, key=lambda limit: limit.most, default=None)


def _rows(text: str, columns: int) -> list[list[str]]:
    rows = [line.rstrip("\r").split("|") for line in text.split("\n") if line]
    return [row for row in rows if len(row) == columns]


def _least(*cells: str) -> int | None:
    """The smallest of limits; None when there is none.

    >>> _least("", "7", "5"), _least("", "-1")
    (5, None)
    """
    return min((int(cell) for cell in cells if cell.isdecimal()), default=None)


def _sum(limits: list[int | None]) -> int | None:
    """All limits together; None when one of them is none, or there are none at all."""
    known = [limit for limit in limits if limit is not None]
    return sum(known) if known and len(known) == len(limits) else None
