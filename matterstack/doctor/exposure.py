"""What of a root others may read, write or lock, and what in it belongs to somebody else."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from matterstack.backends.examination import Finding
from matterstack.core.documents.root_config import Share
from matterstack.core.errors import ConfigError
from matterstack.storage.layout import Root
from matterstack.storage.modes import GROUP_WRITES, RUNS, below, share_of
from matterstack.storage.openness import closed_ways, group_called, is_member, owner_of, tops, user_called

EXPOSURE: Final = ("access", "open to others", "open to a group", "owners", "shared with", "workspaces")
"""Names of its findings."""
MOST_NAMED: Final = 3
MOST_LOOKED_AT: Final = 200_000
"""Files of a root that are asked for their owner; there may be millions."""
_READ: Final = 0o004


def exposure(root: Root) -> list[Finding]:
    """Who else gets at the root: one finding for each kind of trouble, or that there is none."""
    try:
        share = share_of(root.path)
    except ConfigError as error:
        return [Finding("access", False, str(error), f"mend {root.config_file}")]
    found = [
        *_open_to_others(root),
        *_open_to_group(root, share),
        *_of_others(root),
        *(_closed_to_group(root) if share is Share.GROUP else ()),
        *_around(root),
    ]
    return found or [Finding("access", True, _who_may(root, share))]


def _who_may(root: Root, share: Share | None) -> str:
    if share is Share.GROUP:
        group = group_called(root.path.stat().st_gid)
        return f"shared with the group {group}, and with nobody else; operators/TASK too"
    return f"nobody but {owner_of(root)} reads, writes or locks anything"


def _places(root: Root) -> list[Path]:
    """What all else of the store and of the runs lies in."""
    return [*([root.private] if root.private.is_dir() else []), *tops(root)]


def _open_to_others(root: Root) -> Iterator[Finding]:
    reachable = _is_reachable(root.path)
    open_ = [place for place in _places(root) if reachable and place.stat().st_mode & 0o007]
    if open_:
        what = f"{_named(open_)} may be read, and locked, by every user of this machine"
        yield Finding("open to others", False, what, f"chmod o= {_words(open_)}")
    elif root.private.is_dir():
        inside = [path for path in below(root.private) if _mode(path) & 0o007]
        if inside and root.private.stat().st_mode & 0o001:
            what = f"{_named(inside)} may be read, and locked, by every user of this machine"
            yield Finding("open to others", False, what, f"chmod -R o= {_words([root.private])}")


def _open_to_group(root: Root, share: Share | None) -> Iterator[Finding]:
    if share is Share.GROUP:
        return
    places = _places(root)
    asked = [
        inner
        for place in places
        if place != root.private and place.name != RUNS and (place / "operators").is_dir()
        for inner in (place / "operators", *sorted((place / "operators").iterdir()))
    ]
    open_ = [place for place in (*places, *asked) if place.is_dir() and _mode(place) & GROUP_WRITES]
    if not open_:
        return
    group = group_called(open_[0].stat().st_gid)
    what = f"{_named(open_)} may be written by the group {group}, and no config.json of the root says so"
    action = f'write {{"share": "group"}} into {root.config_file}, or close it: chmod g-w {_words(open_)}'
    yield Finding("open to a group", False, what, action)


def _of_others(root: Root) -> Iterator[Finding]:
    if not root.private.is_dir():
        return
    owner = root.private.stat().st_uid
    if share_group := _is_shared(root):
        places: Sequence[Path] = [root.private]
    else:
        places = _places(root)
    foreign = []
    for number, path in enumerate(path for place in places for path in (place, *below(place))):
        if number > MOST_LOOKED_AT:
            break
        if _uid(path) not in {owner, None} and not (share_group and _mode(path) & GROUP_WRITES):
            foreign.append(path)
    if foreign:
        whose = ", ".join(sorted({user_called(uid) for path in foreign if (uid := _uid(path)) is not None}))
        what = f"{_named(foreign)} belong to {whose}, not to {user_called(owner)}"
        tops_ = _highest(foreign)
        action = f"as root: chown -R {user_called(owner)} {_words(tops_)}"
        yield Finding("owners", False, what, action)


def _is_shared(root: Root) -> bool:
    mode = root.private.stat().st_mode
    return bool(mode & GROUP_WRITES and mode & stat.S_ISGID)


def _closed_to_group(root: Root) -> Iterator[Finding]:
    gid = root.path.stat().st_gid
    group = group_called(gid)
    if not is_member(gid):
        what = f"{root.path} belongs to the group {group}, which {user_called(os.geteuid())} is not in"
        yield Finding("shared with", False, what, f"chgrp GROUP {shlex.quote(str(root.path))}")
        return
    if root.private.is_dir() and not _is_shared(root):
        what = f"the group {group} does not get in yet: no engine was started since it was said"
        yield Finding("shared with", False, what, "matterstack run loop --until-done")
    for way in closed_ways(root, gid):
        what = f"the group {group} cannot get through {way.path}, so that operators/TASK is closed to it"
        yield Finding("shared with", False, what, way.mends)
        return


def _around(root: Root) -> Iterator[Finding]:
    """Of what the user wrote: workspaces run as the user, and configs may hold what is nobody's business."""
    if not _is_reachable(root.path):
        return
    slugs = [root.workspaces / slug for slug in root.slugs()]
    own = [folder / name for folder in slugs for name in ("campaign.py", "config.json")]
    written = [root.path, root.config_file, root.workspaces, *slugs, *own]
    if open_ := [path for path in written if _mode(path) & 0o002]:
        what = (
            f"{_named(open_)} may be written by every user of this machine: what they put there runs as you"
        )
        yield Finding("workspaces", False, what, f"chmod o-w {_words(open_)}")
    elif _mode(root.path) & _READ:
        parent = root.path.parent
        also = f", and {parent} listed" if _mode(parent) & _READ else ""
        what = f"{root.path}, with its workspaces and their config.json, may be read by every user{also}"
        yield Finding("workspaces", False, what, f"chmod o= {_words([root.path])}")


def _is_reachable(path: Path) -> bool:
    """Whether somebody who is neither its owner nor in its group gets to a folder."""
    return all(_mode(folder) & 0o001 for folder in (path, *path.parents))


def _mode(path: Path) -> int:
    try:
        found = path.lstat().st_mode
    except OSError:
        return 0
    return 0 if stat.S_ISLNK(found) else stat.S_IMODE(found)


def _uid(path: Path) -> int | None:
    try:
        return path.lstat().st_uid
    except OSError:
        return None


def _highest(paths: Sequence[Path]) -> list[Path]:
    """Those that lie in none of the others."""
    chosen: list[Path] = []
    for path in sorted(paths):
        if not chosen or not path.is_relative_to(chosen[-1]):
            chosen.append(path)
    return chosen


def _named(paths: Sequence[Path]) -> str:
    shown = ", ".join(str(path) for path in paths[:MOST_NAMED])
    left = len(paths) - MOST_NAMED
    return f"{shown} and {left} more" if left > 0 else shown


def _words(paths: Sequence[Path]) -> str:
    return " ".join(shlex.quote(str(path)) for path in paths)
