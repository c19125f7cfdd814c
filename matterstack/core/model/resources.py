"""What one job asks of its backend."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import attrs

from matterstack.core.model.validation import at_least, optional_text, text_mapping


def _factor(_instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{attribute.name} must be a number, not {value!r}")
    if not 1 <= value < math.inf:
        raise ValueError(f"{attribute.name} is a factor of at least 1, not {value}")


def _is_growth(_instance: object, attribute: attrs.Attribute[Any], value: Growth | None) -> None:
    if value is not None and not isinstance(value, Growth):
        raise TypeError(f"{attribute.name} must be Growth(...), not {value!r}")


@attrs.frozen(kw_only=True)
class Growth:
    """How much more a retry asks for: walltime after a timeout, memory after running out of it.

    Attributes:
        walltime: factor for ``walltime_s``; 1 leaves it.
        memory: factor for ``memory_mib``; 1 leaves it.
        most_walltime_s: never more than this; None: no bound of its own.
        most_memory_mib: never more than this; None: no bound of its own.
    """

    walltime: float = attrs.field(default=1.0, validator=_factor)
    memory: float = attrs.field(default=1.0, validator=_factor)
    most_walltime_s: int | None = attrs.field(default=None, validator=at_least(1, optional=True))
    most_memory_mib: int | None = attrs.field(default=None, validator=at_least(1, optional=True))


def _one_per_node(instance: Resources, _attribute: object, value: int | None) -> None:
    if value is not None and value < instance.nodes:
        raise ValueError(
            f"ntasks must be at least nodes ({instance.nodes}), not {value}: each node needs a task"
        )


@attrs.frozen(kw_only=True)
class Resources:
    """Resources of one job: what a task asks of its backend.

    ``None`` leaves a value to the backend's config, and then to the site's default.

    Attributes:
        cpus: of each task (of a parallel job: a process that ``srun`` starts; most jobs have one).
        memory_mib: of each node.
        walltime_s: after how long the job is ended.
        gpus: of the job, on all its nodes together.
        nodes: how many it runs on.
        ntasks: on all nodes together; None: one on each node.
        partition: where it queues; as with all that follow, only schedulers that know such a thing take it.
        account: whom it is charged to.
        qos: its quality of service.
        constraint: features that its nodes must have, such as ``"ib"``.
        reservation: in which of the site's reservations it runs.
        extra: further options of the scheduler by their long name: ``{"exclusive": ""}`` becomes
            ``--exclusive``, ``{"licenses": "vasp:1"}`` becomes ``--licenses=vasp:1``.
        grow: what a retry asks for instead.
    """

    cpus: int = attrs.field(default=1, validator=at_least(1))
    memory_mib: int | None = attrs.field(default=None, validator=at_least(1, optional=True))
    walltime_s: int | None = attrs.field(default=None, validator=at_least(1, optional=True))
    gpus: int = attrs.field(default=0, validator=at_least(0))
    nodes: int = attrs.field(default=1, validator=at_least(1))
    ntasks: int | None = attrs.field(default=None, validator=[at_least(1, optional=True), _one_per_node])
    partition: str | None = attrs.field(default=None, validator=optional_text)
    account: str | None = attrs.field(default=None, validator=optional_text)
    qos: str | None = attrs.field(default=None, validator=optional_text)
    constraint: str | None = attrs.field(default=None, validator=optional_text)
    reservation: str | None = attrs.field(default=None, validator=optional_text)
    extra: Mapping[str, str] = attrs.field(factory=dict, validator=text_mapping)
    grow: Growth | None = attrs.field(default=None, validator=_is_growth)

    def grown(self, *, walltime: bool = False, memory: bool = False) -> Resources:
        """The same with more walltime or more memory, as ``grow`` has it.

        >>> short = Resources(walltime_s=600, grow=Growth(walltime=2, most_walltime_s=900))
        >>> short.grown(walltime=True).walltime_s
        900
        """
        if self.grow is None:
            return self
        walltime_s, memory_mib = self.walltime_s, self.memory_mib
        if walltime:
            walltime_s = _larger(walltime_s, self.grow.walltime, self.grow.most_walltime_s)
        if memory:
            memory_mib = _larger(memory_mib, self.grow.memory, self.grow.most_memory_mib)
        return attrs.evolve(self, walltime_s=walltime_s, memory_mib=memory_mib)


MOST_GROWN: Final = 2**31 - 1
"""No growth goes beyond this, in seconds or MiB: no site gives as much, and no scheduler reads more."""
_DIGITS: Final = 6


def _larger(value: int | None, factor: float, most: int | None) -> int | None:
    """Never smaller than it was, also where it was above the bound from the start."""
    bound = MOST_GROWN if most is None else most
    if value is None or value >= bound:
        return value
    # Rounded, since 100 * 1.1 is a little more than 110.
    return math.ceil(min(round(value * factor, _DIGITS), bound))


@attrs.frozen(kw_only=True)
class Limits:
    """The most that a backend can ever give to one job; ``None`` means that it did not say.

    A kind of backend that knows more than these numbers has a subclass of this.

    Attributes:
        unread: why limits are not known that there may be; empty when all are.
    """

    cpus: int | None = None
    memory_mib: int | None = None
    nodes: int | None = None
    gpus: int | None = None
    unread: str = ""

    def excess(self, wanted: Resources) -> str | None:
        """Say which value can never be given, or None.

        >>> Limits(cpus=2).excess(Resources(cpus=8))
        'cpus=8, but one job gets at most 2'
        """
        for name in ("cpus", "memory_mib", "nodes", "gpus"):
            value, most = getattr(wanted, name), getattr(self, name)
            if value is not None and most is not None and value > most:
                return f"{name}={value}, but one job gets at most {most}"
        cpus, tasks = wanted.cpus, wanted.ntasks
        if self.cpus is not None and (tasks or 1) * cpus > self.cpus:
            return f"ntasks={tasks} with cpus={cpus}, but one job gets at most {self.cpus} cpus"
        return None

    def closed(self, wanted: Resources) -> str | None:  # noqa: ARG002  for those that know
        """Say that where the job would go no job starts at this time, or None; that may change any moment."""
        return None

    def is_drained(self, wanted: Resources) -> bool:  # noqa: ARG002  for those that know
        """Whether `closed` says something only for the moment: that refuses no run."""
        return False
