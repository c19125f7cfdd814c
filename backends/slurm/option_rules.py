"""Options of sbatch(1) that a campaign sets by a field of `Resources`, or not at all."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

NAMED: Final[Mapping[str, str]] = {
    "nodes": "nodes", "ntasks": "ntasks", "ntasks-per-node": "ntasks", "cpus-per-task": "cpus",
    "mem": "memory_mib", "time": "walltime_s", "gpus": "gpus", "partition": "partition", "account": "account",
    "qos": "qos", "constraint": "constraint", "reservation": "reservation",
}  # fmt: skip
"""Options that have a field of their own: two places for one value would contradict each other."""

RESERVED: Final = frozenset(
    {
        "array", "chdir", "clusters", "error", "help", "input", "job-name", "open-mode", "output", "parsable",
        "test-only", "usage", "version", "wait", "workdir", "wrap",
    }
)  # fmt: skip
"""Options that MatterStack itself decides on: with others, its jobs could not be followed."""

_SHORT: Final[Mapping[str, str]] = {
    "A": "account", "C": "constraint", "D": "chdir", "G": "gpus", "J": "job-name", "M": "clusters",
    "N": "nodes", "V": "version", "W": "wait", "a": "array", "c": "cpus-per-task", "e": "error", "h": "help",
    "i": "input", "n": "ntasks", "o": "output", "p": "partition", "q": "qos", "t": "time",
}  # fmt: skip
_LONG_NAME: Final = re.compile(r"[a-z][a-z0-9-]+")
_MEMORY: Final = frozenset({"mem-per-cpu", "mem-per-gpu"})


def extra_problems(extra: Mapping[str, str], *, has_memory: bool = False) -> Iterator[str]:
    """Say what in ``extra`` would overrule a field of its own, or break the following of jobs.

    Args:
        has_memory: whether ``memory_mib`` is set as well; sbatch takes one kind of memory only.

    >>> list(extra_problems({"partition": "main", "exclusive": ""}))
    ["'partition' has a field of its own: use partition"]
    """
    for key in extra:
        meant = option_meant(key)
        if meant in NAMED:
            form = "" if key == meant else f" is a form of {meant!r}, which"
            yield f"{key!r}{form} has a field of its own: use {NAMED[meant]}"
        elif meant in RESERVED:
            yield f"{key!r} cannot be set: MatterStack decides on {meant!r} itself"
        elif not _LONG_NAME.fullmatch(key):
            yield f"{key!r} is no long name of an option of sbatch (such as 'exclusive')"
        elif key in _MEMORY and has_memory:
            yield f"{key!r} and memory_mib ask for the same thing: set one of them"


def option_meant(key: str) -> str:
    """The option of ours that sbatch would take a key for: by its name, its letter or a beginning of it.

    A key that is none of ours comes back as it is.

    >>> option_meant("part"), option_meant("-p"), option_meant("--mem"), option_meant("exclusive")
    ('partition', 'partition', 'mem', 'exclusive')
    """
    bare = key.lstrip("-")
    if bare in NAMED or bare in RESERVED:
        return bare
    if len(bare) == 1:
        return _SHORT.get(bare, bare)
    # getopt_long(3) takes every beginning that fits one option only; sbatch refuses others.
    return next((name for name in sorted({*NAMED, *RESERVED}) if bare and name.startswith(bare)), bare)
