"""The environment that programs get which MatterStack starts: its own, without any secret.

A secret that stands in the environment of an engine is for the jobs of the runs that name it, and reaches
those in another way.  Everything else that an engine starts would hand it on: sbatch to the controller and
to all its jobs, ssh to a login node, a campaign to whatever it calls.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Final

_HIDDEN: Final[set[str]] = set()
"""Of this process, as its environment is: an engine beside this one must not hand it on either."""


def hide_from_children(names: Iterable[str]) -> None:
    """From here on no program that this process starts gets these variables."""
    _HIDDEN.update(names)


def child_environment() -> dict[str, str]:
    """What a program is started with."""
    hidden = frozenset(_HIDDEN)
    return {name: value for name, value in os.environ.items() if name not in hidden}
