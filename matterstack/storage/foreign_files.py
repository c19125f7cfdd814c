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
_ANY: Final = ".any"


def set_foreign_aside(folder: Path, own: Collection[str]) -> list[str]:
    """Move away all that is none of these files; returns the names of what was.

    What has one of these names and is no regular file is moved away as well.
    """
    above = frozenset(str(parent) for name in own for parent in PurePosixPath(name).parents)
    with confined(folder, make=True) as inside:
        foreign = [*_out_of_the_way(folder, inside, f"{KEPT_IN}/{_ANY}")]
        for name in sorted(_foreign(inside, "", frozenset(own), above)):
            _keep(folder, inside, name)
            foreign.append(name)
    return foreign


def give_way(folder: Path, name: str) -> bool:
    """Move away what keeps a file of MatterStack from its place; False where nothing of that kind does.

    That is a folder of its name, or whatever has the name of a folder on the way to it and is none.
    """
    with confined(folder, make=True) as inside:
        return any([*_out_of_the_way(folder, inside, name)])


def _out_of_the_way(folder: Path, inside: Confined, name: str) -> Iterator[str]:
    way = [str(parent) for parent in reversed(PurePosixPath(name).parents[:-1])]
    for place in (*way, name):
        if inside.exists(place) and _is_folder(inside, place) is (place == name):
            _keep(folder, inside, place)
            yield place


def _keep(folder: Path, inside: Confined, name: str) -> None:
    last = PurePosixPath(name).name
    kept = name
    if f"{KEPT_IN}/".startswith(f"{name}/"):
        # It lies where it is to be kept: first out of there.
        kept = _free(inside, "", last)
        inside.rename(name, kept)
    inside.rename(kept, _free(inside, f"{KEPT_IN}/", last))
    logger.warning("%s: somebody else has put %s there: it is kept in %s", folder, name, KEPT_IN)


def _free(inside: Confined, prefix: str, last: str) -> str:
    places = (f"{prefix}{number}-{last}" for number in itertools.count())
    return next(place for place in places if not inside.exists(place))


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
