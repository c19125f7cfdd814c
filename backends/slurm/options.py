"""What sbatch(1) is asked for."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Final

from matterstack.core.config import SlurmBackendConfig
from matterstack.core.resources import Resources

RESERVED: Final = frozenset(
    {
        "array", "chdir", "error", "input", "job-name", "open-mode", "output", "parsable", "test-only",
        "wait", "wrap",
    }
)  # fmt: skip
"""Options that MatterStack itself decides on: with others, its jobs could not be followed."""


def sbatch_options(wanted: Resources, config: SlurmBackendConfig) -> list[str]:
    """The options that ask for these resources, one word each."""
    # A number of tasks below the number of nodes would have sbatch ask for fewer nodes.
    options = [f"--nodes={wanted.nodes}", "--ntasks-per-node=1", f"--cpus-per-task={wanted.cpus}"]
    if wanted.memory_mib is not None:
        options.append(f"--mem={wanted.memory_mib}M")
    if wanted.walltime_s is not None:
        options.append(f"--time={slurm_time(wanted.walltime_s)}")
    if wanted.gpus:
        options.append(f"--gpus={wanted.gpus}")
    partition = wanted.partition or config.partition
    account = wanted.account or config.account
    options += [f"--partition={partition}"] if partition else []
    options += [f"--account={account}"] if account else []
    options += [f"--{key}={value}" if value else f"--{key}" for key, value in wanted.extra.items()]
    return options


def reserved_options(wanted: Resources) -> list[str]:
    """Those of ``extra`` that a campaign may not set."""
    return sorted(RESERVED.intersection(wanted.extra))


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
