"""What sbatch(1) is asked for."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Final

from matterstack.backends.slurm.config import SlurmBackendConfig
from matterstack.backends.slurm.option_rules import RESERVED, option_meant
from matterstack.backends.slurm.partition_limits import LEFT_TO_CONFIG, filled_in
from matterstack.core.model.resources import Resources

_MEMORY: Final = frozenset({"mem-per-cpu", "mem-per-gpu"})


def sbatch_options(wanted: Resources, config: SlurmBackendConfig) -> list[str]:
    """The options that ask for these resources, one word each."""
    asked = filled_in(wanted, defaults(config))
    # A number of tasks below the number of nodes would have sbatch ask for fewer nodes.
    tasks = "--ntasks-per-node=1" if asked.ntasks is None else f"--ntasks={asked.ntasks}"
    options = [f"--nodes={asked.nodes}", tasks, f"--cpus-per-task={asked.cpus}"]
    if asked.memory_mib is not None:
        options.append(f"--mem={asked.memory_mib}M")
    if asked.walltime_s is not None:
        options.append(f"--time={slurm_time(asked.walltime_s)}")
    if asked.gpus:
        options.append(f"--gpus={asked.gpus}")
    options += [f"--{name}={value}" for name in LEFT_TO_CONFIG if (value := getattr(asked, name))]
    options += [f"--{key}={value}" if value else f"--{key}" for key, value in _extra(wanted, config).items()]
    return options


def defaults(config: SlurmBackendConfig) -> dict[str, str]:
    """What the config fills in where a task leaves a field open."""
    return {name: value for name in LEFT_TO_CONFIG if (value := getattr(config, name))}


def _extra(wanted: Resources, config: SlurmBackendConfig) -> dict[str, str]:
    """The task's own over those of the config; sbatch takes one kind of memory only."""
    has_memory = wanted.memory_mib is not None or not _MEMORY.isdisjoint(wanted.extra)
    below = {key: value for key, value in config.extra.items() if not (has_memory and key in _MEMORY)}
    return {**below, **wanted.extra}


def reserved_options(wanted: Resources) -> list[str]:
    """Those of ``extra`` that a campaign may not set."""
    return sorted(key for key in wanted.extra if option_meant(key) in RESERVED)


def directives(options: Sequence[str]) -> list[str]:
    """The ``#SBATCH`` lines of a script; what does not fit on a line stands on the command line alone."""
    return [f"#SBATCH {shlex.quote(option)}" for option in options if option.isprintable()]


def slurm_time(seconds: int) -> str:
    """Format a walltime, rounded up to the minutes that Slurm counts in.

    >>> slurm_time(3600), slurm_time(61), slurm_time(90_000)
    ('0-01:00:00', '0-00:02:00', '1-01:00:00')
    """
    minutes = -(-seconds // 60)
    return f"{minutes // 1440}-{minutes // 60 % 24:02}:{minutes % 60:02}:00"
