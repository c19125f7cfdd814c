"""Why Slurm does not start a job, in words, and what can be done about it.

Source: the section JOB REASON CODES of squeue(1), Slurm 22.05, and the page job_reason_codes of its web
documentation.  The many codes for limits are put together from parts, as Slurm does it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

import attrs

from matterstack.core.scheduler_words import Outlook, Reason

_RELEASE: Final = "scontrol release {ids}"
_LOOK: Final = "scontrol show job {id}"
_PARTITIONS: Final = "sinfo --summarize"


def _update(field: str) -> str:
    return f"scontrol update JobId={{ids}} {field}"


def _never(words: str, action: str = _LOOK) -> Reason:
    return Reason(words, Outlook.NEVER, action)


def _held(words: str, action: str = _RELEASE) -> Reason:
    return Reason(words, Outlook.HELD, action)


_UNSAID: Final = Reason("Slurm has not said why yet")

REASONS: Final[Mapping[str, Reason]] = {
    "": _UNSAID,
    "None": _UNSAID,
    "WaitingForScheduling": _UNSAID,
    # ---- only time ----
    "Priority": Reason("jobs with a higher priority come first"),
    "Resources": Reason("what is asked for is in use by other jobs"),
    "BeginTime": Reason("the earliest start has not come yet (after a requeue that takes two minutes)"),
    "Cleaning": Reason("a former start is still being cleaned up"),
    "Dependency": Reason("another job of the queue has to end first"),
    "JobArrayTaskLimit": Reason("as many tasks of the array run as may run at once"),
    "JobArrayTaskLimitReached": Reason("as many tasks of the array run as may run at once"),
    "Licenses": Reason("all licenses are in use"),
    "Prolog": Reason("the site's prolog prepares the start"),
    "PrologSlurmctld": Reason("the site's prolog prepares the start"),
    "Reservation": Reason("the reservation has not begun"),
    "BurstBufferResources": Reason("there is no free burst buffer"),
    "BurstBufferStageIn": Reason("data is being brought to the burst buffer"),
    "FedJobLock": Reason("the clusters of the federation have not agreed on one yet"),
    "NodeDown": Reason("a node that is needed is down", Outlook.TIME, _PARTITIONS),
    "FrontEndDown": Reason("no front end node is up", Outlook.TIME, _PARTITIONS),
    "PowerNotAvail": Reason("there is not enough power"),
    "PowerReserved": Reason("the power that is needed is reserved"),
    # ---- limits that other jobs have used up ----
    "AccountingPolicy": Reason("a limit of the site is used up", Outlook.LIMIT),
    "AssociationJobLimit": Reason("your account has as many jobs as it may", Outlook.LIMIT),
    "AssociationResourceLimit": Reason("your account uses as much as it may", Outlook.LIMIT),
    "AssociationTimeLimit": Reason("your account's time is used up", Outlook.LIMIT),
    "QOSJobLimit": Reason("the QOS has as many jobs as it may", Outlook.LIMIT),
    "QOSResourceLimit": Reason("the QOS uses as much as it may", Outlook.LIMIT),
    "QOSTimeLimit": Reason("the time of the QOS is used up", Outlook.LIMIT),
    "QOSUsageThreshold": Reason("the QOS has used more than its threshold", Outlook.LIMIT),
    # ---- held ----
    "JobHeldUser": _held("held by you, or in your name"),
    "JobHeldAdmin": _held(
        "held by an administrator of the cluster", "# ask the administrators why they hold {ids}"
    ),
    "launch failed requeued held": _held("held since its launch on a node failed"),
    "job requeued in held state": _held("held since it was requeued"),
    "JobHoldMaxRequeue": _held("held, for it was requeued as often as the site allows"),
    "ReservationDeleted": _held("held since its reservation was deleted"),
    "JobLaunchFailure": _held("held since its launch failed"),
    "SystemFailure": _held("held since the cluster itself failed"),
    # ---- never, as it is and as the cluster is ----
    "PartitionNodeLimit": _never(
        "the partition gives more or fewer nodes to one job than are asked for, or they are down",
        _update("NumNodes=N"),
    ),
    "PartitionMaxNodes": _never("more nodes are asked for than the partition gives", _update("NumNodes=N")),
    "PartitionMinNodes": _never("fewer nodes are asked for than the partition wants", _update("NumNodes=N")),
    "PartitionTimeLimit": _never(
        "more time is asked for than the partition gives", _update("TimeLimit=MINUTES")
    ),
    "PartitionDown": _never("the partition is down", _update("Partition=NAME")),
    "PartitionInactive": _never("the partition is closed", _update("Partition=NAME")),
    "PartitionConfig": _never(
        "the partition cannot give what is asked for (nodes, time, or to you)", _update("Partition=NAME")
    ),
    "ReqNodeNotAvail": _never(
        "nodes that are needed are down, drained or reserved", "sinfo --list-reasons"
    ),
    "BadConstraints": _never("no node has the features that are asked for", "sinfo --format='%P %N %f'"),
    "DependencyNeverSatisfied": _never(
        "a job that had to end first did not end as needed", _update("Dependency=")
    ),
    "InvalidAccount": _never("the account is not valid", _update("Account=NAME")),
    "InvalidQOS": _never("the QOS is not valid", _update("QOS=NAME")),
    "AccountNotAllowed": _never("the account may not use the partition", _update("Partition=NAME")),
    "QOSNotAllowed": _never("the QOS may not be used in the partition", _update("QOS=NAME")),
    "DeadLine": _never("the deadline cannot be kept any more"),
    "MaxMemPerLimit": _never("more memory is asked for than one CPU or node may have"),
    "BurstBufferOperation": _never("the burst buffer failed"),
    "BlockMaxError": _never("the nodes have failed too often"),
    "BlockFreeAction": _never("the nodes cannot be freed"),
    "InactiveLimit": _never("there was nothing done for too long"),
}  # fmt: skip

_RESOURCES: Final[Mapping[str, str]] = {
    "Cpu": "CPUs",
    "CPU": "CPUs",
    "Mem": "memory",
    "Memory": "memory",
    "Node": "nodes",
    "GRES": "GPUs or other generic resources",
    "BB": "burst buffer",
    "Billing": "billing units",
    "Energy": "energy",
    "Jobs": "running jobs",
    "Job": "running jobs",
    "SubmitJobs": "submitted jobs",
    "SubmitJob": "submitted jobs",
    "Wall": "walltime",
    "WallDuration": "walltime",
    "License": "licenses",
    "Unknown": "some resource",
}
_FIELDS: Final[Mapping[str, str]] = {
    "CPUs": "NumCPUs=N",
    "memory": "MinMemoryNode=MIB",
    "nodes": "NumNodes=N",
    "walltime": "TimeLimit=MINUTES",
}
_MINUTES: Final = {"Minutes": ", times minutes", "RunMinutes": ", times minutes of running jobs"}
_LIMIT: Final = re.compile(
    r"(?P<whose>Assoc|QOS)?(?P<how>Grp|Max|Min)(?P<what>[A-Za-z]+?)(?P<minutes>(?:Run)?Minutes)?"
    r"(?P<each>Per(?:Job|Node|User|Account))?(?:Limit|NotSatisfied)?"
)


@lru_cache(1024)
def reason_in_words(code: str, raw_state: str = "PENDING") -> Reason:
    """Say what a reason of squeue means; a code that is unknown is shown as it is.

    >>> reason_in_words("PartitionTimeLimit").words
    'more time is asked for than the partition gives'
    >>> reason_in_words("ReqNodeNotAvail, UnavailableNodes:n[1-2]").words
    'nodes that are needed are down, drained or reserved: n[1-2]'
    >>> reason_in_words("QOSMaxJobsPerUserLimit").words
    'your jobs use up what the QOS gives to one user: running jobs'
    """
    if raw_state in {"SUSPENDED", "STOPPED"}:
        return Reason("suspended while it ran", Outlook.SUSPENDED, "scontrol resume {ids}")
    name, _, more = code.partition(",")
    known = REASONS.get(name.strip("() ")) or _limit(name.strip("() "))
    if known is None:
        return Reason(f"Slurm says {code!r}")
    if raw_state in {"SPECIAL_EXIT", "REQUEUE_HOLD", "RESV_DEL_HOLD"} and known.outlook is not Outlook.HELD:
        return REASONS["job requeued in held state"]
    nodes = more.strip().removeprefix("UnavailableNodes:").strip()
    return attrs.evolve(known, words=f"{known.words}: {nodes}") if nodes else known


def _limit(code: str) -> Reason | None:
    """Read a code such as AssocGrpCpuLimit, QOSMaxNodePerUserLimit or AssocMaxWallDurationPerJobLimit."""
    found = _LIMIT.fullmatch(code)
    if found is None or (found["whose"] is None and found["each"] != "PerAccount"):
        return None
    what = _RESOURCES.get(found["what"], found["what"]) + _MINUTES.get(found["minutes"] or "", "")
    whose = "your account" if found["whose"] == "Assoc" else "the QOS"
    if found["how"] == "Min":
        action = _update(_FIELDS[what]) if what in _FIELDS else _LOOK
        return _never(f"less is asked for than {whose} wants: {what}", action)
    if found["each"] in {"PerJob", "PerNode"}:
        action = _update(_FIELDS[what]) if what in _FIELDS else _LOOK
        each = "job" if found["each"] == "PerJob" else "node"
        return _never(f"more is asked for than {whose} gives to one {each}: {what}", action)
    if found["how"] == "Grp":
        return Reason(f"the jobs of {whose} together use up its limit: {what}", Outlook.LIMIT)
    each = "account" if found["each"] == "PerAccount" else "user"
    return Reason(f"your jobs use up what {whose} gives to one {each}: {what}", Outlook.LIMIT)
