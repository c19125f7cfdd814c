"""Files in an attempt's folder that were put there by nobody who may."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from matterstack.core.model.workflow_check import RESERVED_NAMES
from matterstack.storage.confine import Confined, ConfinementError, confined

logger: Final = logging.getLogger(__name__)

KEPT_IN: Final = "claim/before"
"""Where they are kept, by job scripts too: in what is no output."""


def set_foreign_aside(folder: Path, own: Collection[str]) -> list[str]:
    """Move away all that is none of these files; returns the names of what was.

    What has one of these names and is no regular file is moved away as well.
    """
    above = frozenset(str(parent) for name in own for parent in PurePosixPath(name).parents)
    with confined(folder, make=True) as inside:
        foreign = sorted(_foreign(inside, "", frozenset(own), above))
        for name in foreign:
            last = PurePosixPath(name).name
            places = (f"{KEPT_IN}/{number}-{last}" for number in itertools.count())
            inside.rename(name, next(place for place in places if not inside.exists(place)))
            logger.warning("%s: somebody else has put %s there: it is kept in %s", folder, name, KEPT_IN)
    return foreign


def _foreign(folder: Confined, prefix: str, own: frozenset[str], above: frozenset[str]) -> Iterator[str]:
    """``above``: the folders that lead to those files."""
    with folder.folder(prefix) as inner:
        names = {*inner.names()} - (RESERVED_NAMES if not prefix else frozenset())
        files = {*inner.own_files()}
    for name in names:
        path = f"{prefix}{name}"
        if path in own and name in files:
            continue
        if path in above and _is_folder(folder, path):
            yield from _foreign(folder, f"{path}/", own, above)
        else:
            yield path


def _is_folder(folder: Confined, name: str) -> bool:
    try:
        with folder.folder(name):
            return True
    except ConfinementError:
        return False
