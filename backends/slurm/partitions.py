"""Ask a cluster what its partitions can give to a job of this user.

The answers are read from fixed formats.  What cannot be read counts as not known, and forbids nothing.
"""

from __future__ import annotations

import grp
import os
import pwd
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, Protocol

import attrs
import trio

from matterstack.backends.slurm.config import SlurmBackendConfig
from matterstack.backends.slurm.partition_limits import (
    LEFT_TO_CONFIG,
    Admission,
    ClusterLimits,
    NodeKind,
    Partition,
)
from matterstack.backends.slurm.sbatch_options import defaults
from matterstack.core.errors import BackendError

SINFO_FORMAT: Final = "%R|%D|%c|%m|%G|%f"
"""Partition, number of nodes, and of each node: cpus, memory in MiB, generic resources, features."""
_SINFO_HEADING: Final = "PARTITION|NODES|"
_NONE: Final = frozenset({"", "(null)", "N/A", "NONE", "UNLIMITED", "INFINITE"})
_GPU: Final = re.compile(r"gpu(?::[^:(,]+)?:([0-9]+)")
_TIME: Final = re.compile(r"(?:([0-9]+)-)?([0-9]+):([0-9]+):([0-9]+)")
_LIFTED_BY_FLAG: Final[Mapping[str, str]] = {
    "PartitionTimeLimit": "walltime_s",
    "PartitionMaxNodes": "nodes",
    "PartitionMinNodes": "nodes",
}
"""Flags of a QOS whose jobs may go beyond a limit of the partition: sacctmgr(1)."""


class Ask(Protocol):
    """Runs a command of Slurm; see `matterstack.backends.slurm.queries.Queries.ask`."""

    async def __call__(self, argv: Sequence[str]) -> str:
        """What it printed; raises BackendError."""


@attrs.frozen
class Submitter:
    """Who submits.  ``groups`` finds their names, which may take a while."""

    is_root: bool
    groups: Callable[[], frozenset[str]]


def this_user() -> Submitter:
    """The user of this process."""
    return Submitter(os.getuid() == 0, _own_groups)


def _own_groups() -> frozenset[str]:
    try:
        user = pwd.getpwuid(os.getuid())
        ids = {*os.getgrouplist(user.pw_name, user.pw_gid), *os.getgroups()}
    except KeyError:
        ids = {*os.getgroups(), os.getgid()}
    names = set()
    for number in ids:
        try:
            names.add(grp.getgrgid(number).gr_name)
        except KeyError:
            continue
    return frozenset(names)


async def read_limits(ask: Ask, settings: Mapping[str, str], config: SlurmBackendConfig) -> ClusterLimits:
    """What one job can ever get on this cluster.

    Args:
        settings: how it is set up, by ``scontrol show config``.

    Raises no BackendError: ``Limits.unread`` says what could not be read.
    """
    submitter = None if _is_elsewhere(config) else this_user()
    try:
        partitions = await read_partitions(ask, settings, submitter)
        overruled = await _overruled(ask, partitions, settings)
    except BackendError as error:
        return ClusterLimits(unread=str(error))
    of_user = {} if submitter is None else _from_environment(os.environ)
    return ClusterLimits(
        partitions={partition.name: partition for partition in partitions},
        defaults={**_usual(partitions), **of_user, **defaults(config)},
        overruled=overruled,
    )


def _is_elsewhere(config: SlurmBackendConfig) -> bool:
    """Over ssh the user, their groups and their environment are those of another machine."""
    return bool(config.ssh)


async def read_partitions(
    ask: Ask, settings: Mapping[str, str], submitter: Submitter | None
) -> list[Partition]:
    """All partitions, hidden ones too, as they are for this submitter (None: nobody in particular).

    Raises:
        BackendError: there is no whole answer.
    """
    told = parse_partitions(await ask(("scontrol", "--all", "--oneliner", "show", "partition")))
    if not told:
        raise BackendError("scontrol show partition printed no partition")
    nodes = parse_nodes(await ask(("sinfo", "--all", "--exact", f"--format={SINFO_FORMAT}")))
    groups: frozenset[str] = frozenset()
    if submitter is not None and any(_names(values.get("AllowGroups")) for values in told):
        # They may be asked of a directory service that does not answer.
        groups = await trio.to_thread.run_sync(submitter.groups, abandon_on_cancel=True)
    return [_partition(values, nodes, settings, submitter, groups) for values in told]


def parse_partitions(text: str) -> list[dict[str, str]]:
    """Read ``scontrol --oneliner show partition``: one mapping for each whole line.

    >>> parse_partitions("Welcome!\\nPartitionName=a MaxTime=1-00:00:00 State=UP\\nPartitionName=b Max")
    [{'PartitionName': 'a', 'MaxTime': '1-00:00:00', 'State': 'UP'}]
    """
    lines = (dict(_pairs(line)) for line in text.split("\n") if line.startswith("PartitionName="))
    return [values for values in lines if values["PartitionName"] and "State" in values]


def _pairs(line: str) -> Iterator[tuple[str, str]]:
    for word in line.split():
        key, equals, value = word.partition("=")
        if equals:
            yield key, value


def parse_nodes(text: str) -> dict[str, tuple[NodeKind, ...]]:
    """Read a table of `SINFO_FORMAT` with its heading: the nodes of each partition.

    Raises:
        BackendError: it is not whole.  A node that is missing would make what it gives look impossible.
    """
    lines = [line for line in text.split("\n") if line]
    if not text.endswith("\n") or not any(line.startswith(_SINFO_HEADING) for line in lines):
        raise BackendError("sinfo printed no whole table")
    found: dict[str, tuple[NodeKind, ...]] = {}
    for line in lines:
        cells = line.split("|")
        if len(cells) != SINFO_FORMAT.count("|") + 1 or line.startswith(_SINFO_HEADING):
            continue
        name, count, cpus, memory_mib, gres, features = cells
        numbers = [int(cell) for cell in (count, cpus, memory_mib) if cell.isdecimal()]
        if len(numbers) != 3:
            raise BackendError(f"sinfo printed a line that is not understood: {line[:80]!r}")
        kind = NodeKind(
            count=numbers[0],
            cpus=numbers[1],
            memory_mib=numbers[2],
            gpus=sum(int(n) for n in _GPU.findall(gres)),
            features=_names(features) or frozenset(),
        )
        found[name] = (*found.get(name, ()), kind)
    return found


def _partition(
    values: Mapping[str, str],
    nodes: Mapping[str, tuple[NodeKind, ...]],
    settings: Mapping[str, str],
    submitter: Submitter | None,
    groups: frozenset[str],
) -> Partition:
    name = values["PartitionName"]
    # Without accounting nobody checks accounts and QOS.
    checked = values if has_accounting(settings) else {}
    memory = [_number(values.get("MaxMemPerNode")), _number(settings.get("MaxMemPerNode"))]
    return Partition(
        name=name,
        nodes=nodes.get(name, ()),
        walltime_s=_seconds(values.get("MaxTime", "")),
        least_nodes=_number(values.get("MinNodes")) or 0,
        most_nodes=_number(values.get("MaxNodes")),
        cpus_per_node=_number(values.get("MaxCPUsPerNode")),
        # The partition's own limit holds in place of the cluster's.
        memory_per_node_mib=next((most for most in memory if most is not None), None),
        accounts=_admission(checked, "Accounts"),
        qos=_admission(checked, "Qos"),
        needs_reservation=values.get("ReqResv") == "YES",
        refusal=_refusal(values, submitter, groups),
        state=values["State"],
        is_default=values.get("Default") == "YES",
    )


def _refusal(values: Mapping[str, str], submitter: Submitter | None, groups: frozenset[str]) -> str:
    if submitter is None:
        return ""
    if submitter.is_root:  # whom no group is asked of
        return "takes no jobs of root" if values.get("DisableRootJobs") == "YES" else ""
    if values.get("RootOnly") == "YES":
        return "takes jobs of root only"
    allowed = _names(values.get("AllowGroups"))
    if allowed and groups.isdisjoint(allowed):
        return f"takes only users of the groups {', '.join(sorted(allowed))}"
    return ""


def _admission(values: Mapping[str, str], what: str) -> Admission:
    only, denied = _names(values.get(f"Allow{what}")), _names(values.get(f"Deny{what}"))
    return Admission(
        only=None if only is None else frozenset(name.casefold() for name in only),
        denied=frozenset(name.casefold() for name in denied or ()),
    )


def _names(text: str | None) -> frozenset[str] | None:
    """The names of a list with commas; None where it names nobody, or all."""
    if text is None or text in _NONE or text.upper() == "ALL":
        return None
    return frozenset(name for name in text.split(",") if name)


async def _overruled(
    ask: Ask, partitions: Sequence[Partition], settings: Mapping[str, str]
) -> dict[str, frozenset[str]]:
    """Which limits of partitions the QOS of this cluster lift; asked only where there is one to lift."""
    has_limits = any(
        p.walltime_s is not None or p.most_nodes is not None or p.least_nodes for p in partitions
    )
    if not has_limits or not has_accounting(settings):
        return {}
    answer = await ask(("sacctmgr", "--noheader", "--parsable2", "show", "qos", "format=Name,Flags"))
    lifted: dict[str, frozenset[str]] = {}
    for line in answer.splitlines():
        name, _, flags = line.partition("|")
        limits = frozenset(_LIFTED_BY_FLAG[flag] for flag in flags.split(",") if flag in _LIFTED_BY_FLAG)
        if limits:
            lifted[name] = limits
    return lifted


def has_accounting(settings: Mapping[str, str]) -> bool:
    """Whether the cluster keeps accounts, by ``scontrol show config``."""
    return settings.get("AccountingStorageType", "") not in {"accounting_storage/none", "(null)", ""}


def _usual(partitions: Sequence[Partition]) -> dict[str, str]:
    name = next((partition.name for partition in partitions if partition.is_default), None)
    return {} if name is None else {"partition": name}


def _from_environment(variables: Mapping[str, str]) -> dict[str, str]:
    """What sbatch(1) itself fills in."""
    return {name: value for name in LEFT_TO_CONFIG if (value := variables.get(f"SBATCH_{name.upper()}"))}


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() else None


def _seconds(text: str) -> int | None:
    """Seconds of ``[D-]HH:MM:SS``; None where there is no limit.

    >>> _seconds("1-00:01:00"), _seconds("UNLIMITED")
    (86460, None)
    """
    found = _TIME.fullmatch(text)
    if found is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
