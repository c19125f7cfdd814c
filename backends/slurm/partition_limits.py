"""What the partitions of a cluster can give to one job, and what they never will.

Nothing is said to be impossible that might be possible after all: what a site did not tell, and what this
cannot weigh (a constraint with alternatives, say), does not count.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import attrs

from matterstack.core.model.resources import Limits, Resources

UP: Final = "UP"
DRAIN: Final = "DRAIN"
"""What is queued goes on, and nothing new is taken: it is being emptied for maintenance."""
_PLAIN_CONSTRAINT: Final = re.compile(r"[\w.+-]+(?:[&,][\w.+-]+)*")


@attrs.frozen(kw_only=True)
class NodeKind:
    """Nodes of a partition that are alike."""

    count: int
    cpus: int
    memory_mib: int
    gpus: int = 0
    features: frozenset[str] = frozenset()


@attrs.frozen(kw_only=True)
class Admission:
    """Which accounts or QOS a partition takes.  ``only`` None: all but those that are denied."""

    only: frozenset[str] | None = None
    denied: frozenset[str] = frozenset()

    def refusal(self, value: str | None) -> str | None:
        """Why a value is not taken; None when it is, or is left to the site."""
        if value is None:
            return None
        if self.only is not None and value.casefold() not in self.only:
            return f"takes only {', '.join(sorted(self.only))}"
        if self.only is None and value.casefold() in self.denied:
            return "refuses that one"
        return None


@attrs.frozen(kw_only=True)
class Partition:
    """One partition; None means no limit, or none that was told.

    Attributes:
        nodes: empty where they are not known.
        walltime_s: the longest job.
        cpus_per_node: the most that a job may use of one node.
        memory_per_node_mib: the same for memory.
        refusal: why it takes no job of this user, whatever it asks for; empty when it does.
        state: ``UP``, or another word while it starts no jobs.
    """

    name: str
    nodes: tuple[NodeKind, ...] = ()
    walltime_s: int | None = None
    least_nodes: int = 0
    most_nodes: int | None = None
    cpus_per_node: int | None = None
    memory_per_node_mib: int | None = None
    accounts: Admission = Admission()
    qos: Admission = Admission()
    needs_reservation: bool = False
    refusal: str = ""
    state: str = UP
    is_default: bool = False

    def cpus_of(self, node: NodeKind) -> int:
        """The cpus of a node that one job may use."""
        return node.cpus if self.cpus_per_node is None else min(node.cpus, self.cpus_per_node)

    def memory_of(self, node: NodeKind) -> int:
        """The memory of a node that one job may use, in MiB."""
        most = self.memory_per_node_mib
        return node.memory_mib if most is None else min(node.memory_mib, most)


LEFT_TO_CONFIG: Final = ("partition", "account", "qos", "constraint", "reservation")
"""Fields that a backend fills in where a task leaves them open."""


def filled_in(wanted: Resources, defaults: Mapping[str, str]) -> Resources:
    """The same with defaults for those of `LEFT_TO_CONFIG` that it leaves open.

    >>> filled_in(Resources(qos="long"), {"partition": "main", "qos": "short"}).qos
    'long'
    """
    filled: dict[str, Any] = {name: getattr(wanted, name) or defaults.get(name) for name in LEFT_TO_CONFIG}
    return attrs.evolve(wanted, **filled)


@attrs.frozen(kw_only=True)
class ClusterLimits(Limits):
    """The most that a cluster can ever give to one job, by its partitions.

    Attributes:
        partitions: by name.
        defaults: what the backend fills in where a task leaves a field open.
        overruled: limits of partitions that a QOS lifts, by its name.
    """

    partitions: Mapping[str, Partition] = attrs.field(factory=dict)
    defaults: Mapping[str, str] = attrs.field(factory=dict)
    overruled: Mapping[str, frozenset[str]] = attrs.field(factory=dict)

    def excess(self, wanted: Resources) -> str | None:
        """What no partition can ever give; see `Limits.excess`."""
        if (beyond := super().excess(wanted)) or not self.partitions:
            return beyond
        filled = filled_in(wanted, self.defaults)
        return beyond_partitions(filled, self.partitions, _overruled(filled.qos, self.overruled))

    def closed(self, wanted: Resources) -> str | None:
        """Which partition starts no jobs now; see `Limits.closed`."""
        return closed_partitions(filled_in(wanted, self.defaults), self.partitions)

    def is_drained(self, wanted: Resources) -> bool:
        """See `Limits.is_drained`: a partition is drained for maintenance, and that passes."""
        if self.closed(wanted) is None:
            return False
        names = _named(filled_in(wanted, self.defaults))
        return any(self.partitions[name].state == DRAIN for name in names if name in self.partitions)


def _overruled(qos: str | None, by_qos: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """A job that names no QOS may get any of them."""
    if qos:
        return by_qos.get(qos, frozenset())
    return frozenset(limit for limits in by_qos.values() for limit in limits)


def beyond_partitions(
    wanted: Resources,
    partitions: Mapping[str, Partition],
    overruled: frozenset[str] = frozenset(),
) -> str | None:
    """Say which value none of the partitions that a job names can ever give, or None.

    Args:
        wanted: with everything filled in that the backend fills in; without a partition nothing is said.
        overruled: limits (``walltime_s``, ``nodes``) that a QOS of the job may lift.
    """
    names = _named(wanted)
    for name in names:
        if name not in partitions:
            return f"partition={name!r}, which does not exist (there are: {', '.join(sorted(partitions))})"
    excesses = [next(_excesses(wanted, partitions[name], overruled), None) for name in names]
    said = [excess for excess in excesses if excess is not None]
    return "; ".join(said) if said and len(said) == len(names) else None


def closed_partitions(wanted: Resources, partitions: Mapping[str, Partition]) -> str | None:
    """Say that no partition of a job starts jobs at this time, or None.  That may change any moment."""
    states = {name: partitions[name].state for name in _named(wanted) if name in partitions}
    if not states or UP in states.values():
        return None
    return "; ".join(
        f"partition={name!r}, which starts no jobs: it is {state}" for name, state in states.items()
    )


def _named(wanted: Resources) -> list[str]:
    """sbatch takes several, and the job goes where it can start first."""
    return [name for name in (wanted.partition or "").split(",") if name]


def _excesses(wanted: Resources, partition: Partition, overruled: frozenset[str]) -> Iterator[str]:
    name = partition.name
    if partition.refusal:
        yield f"partition={name!r}, which {partition.refusal}"
    if partition.needs_reservation and not wanted.reservation:
        yield f"partition={name!r} without a reservation, which it asks for"
    if refusal := partition.accounts.refusal(wanted.account):
        yield f"account={wanted.account!r}: partition {name} {refusal}"
    if refusal := partition.qos.refusal(wanted.qos):
        yield f"qos={wanted.qos!r}: partition {name} {refusal}"
    if "walltime_s" not in overruled:
        yield from _too_long(wanted, partition)
    if "nodes" not in overruled:
        if partition.most_nodes is not None and wanted.nodes > partition.most_nodes:
            yield f"nodes={wanted.nodes}, but a job in partition {name} gets at most {partition.most_nodes}"
        if wanted.nodes < partition.least_nodes:
            yield f"nodes={wanted.nodes}, but a job in partition {name} gets at least {partition.least_nodes}"
    if partition.nodes:
        yield from _too_large(wanted, partition)


def _too_long(wanted: Resources, partition: Partition) -> Iterator[str]:
    most = partition.walltime_s
    # With a shortest time as well, a job is content with less than it asks for.
    if wanted.walltime_s is None or most is None or "time-min" in wanted.extra:
        return
    if 60 * -(-wanted.walltime_s // 60) > most:  # Slurm counts in minutes, and rounds up
        yield f"walltime_s={wanted.walltime_s}, but a job in partition {partition.name} gets at most {most}"


def _too_large(wanted: Resources, partition: Partition) -> Iterator[str]:
    """What no set of nodes gives, first by each value alone: that is what a person can change."""
    where = f"partition {partition.name}"
    nodes = _with_features(partition.nodes, wanted.constraint)
    if not nodes:
        yield f"constraint={wanted.constraint!r}, but no node of {where} has it"
        return
    if wanted.constraint:
        where += f" with constraint {wanted.constraint}"
    cpus = max(partition.cpus_of(node) for node in nodes)
    if wanted.cpus > cpus:
        yield f"cpus={wanted.cpus}, but a node of {where} gives at most {cpus}"
    memory_mib = max(partition.memory_of(node) for node in nodes)
    if wanted.memory_mib is not None and wanted.memory_mib > memory_mib:
        yield f"memory_mib={wanted.memory_mib}, but a node of {where} gives at most {memory_mib}"
    fitting = [
        node
        for node in nodes
        if partition.cpus_of(node) >= wanted.cpus and partition.memory_of(node) >= (wanted.memory_mib or 0)
    ]
    count = sum(node.count for node in fitting)
    if wanted.nodes > count:
        each = f" with cpus={wanted.cpus}" + (
            f" and memory_mib={wanted.memory_mib}" if wanted.memory_mib else ""
        )
        has = "no such node" if not count else f"only {count} such node{'s' if count > 1 else ''}"
        yield f"nodes={wanted.nodes}{each}, but {where} has {has}"
        return
    these = f"a node of {where} gives" if wanted.nodes == 1 else f"{wanted.nodes} nodes of {where} give"
    tasks = _most(
        [(node.count, partition.cpus_of(node) // wanted.cpus) for node in fitting],
        wanted.nodes,
    )
    if wanted.ntasks is not None and wanted.ntasks > tasks:
        yield f"ntasks={wanted.ntasks} with cpus={wanted.cpus}, but {these} room for at most {tasks}"
    gpus = _most([(node.count, node.gpus) for node in fitting], wanted.nodes)
    if wanted.gpus > gpus:
        yield f"gpus={wanted.gpus}, but {these} at most {gpus}"


def _with_features(nodes: tuple[NodeKind, ...], constraint: str | None) -> list[NodeKind]:
    if not constraint or not _PLAIN_CONSTRAINT.fullmatch(constraint):
        return list(nodes)
    asked = set(re.split("[&,]", constraint))
    return [node for node in nodes if asked <= node.features]


def _most(kinds: Sequence[tuple[int, int]], nodes: int) -> int:
    """The most that so many nodes give together, of kinds that are there so often and give so much each."""
    total = 0
    for count, each in sorted(kinds, key=lambda kind: -kind[1]):
        taken = min(nodes, count)
        total += taken * each
        nodes -= taken
    return total
