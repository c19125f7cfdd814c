"""Whose a root is, and making an existing one as open as it should be: see `matterstack.storage.modes`."""

from __future__ import annotations

import grp
import os
import pwd
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import attrs

from matterstack.core.documents.root_config import Share
from matterstack.core.errors import RefusedError
from matterstack.core.model.workflow_check import SECRETS_FILE, SECRETS_PART
from matterstack.storage.layout import Root
from matterstack.storage.modes import (
    ALL,
    GROUP_WRITES,
    MODES,
    OTHERS,
    RUNS,
    below,
    change,
    is_our_top,
    share_of,
)

OWNERS_ALONE: Final = frozenset({"monitor-token"})
"""Whoever has it steers as the owner of the root: no group gets it."""
_RIGHTS_OF_OWNER: Final = 0o700


def user_called(uid: int) -> str:
    """The name of a user, or the number of one without."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def group_called(gid: int) -> str:
    """The name of a group, or its number, as chgrp(1) takes both."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def is_own(folder: Path) -> bool:
    """Whether a folder belongs to the user of this process; one that is not there will.

    Where a file system gives all files to one user, that is whoever may write there.
    """
    try:
        owner = folder.stat().st_uid
    except FileNotFoundError:
        return True
    if owner == os.geteuid():
        return True
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            return os.fstat(file.fileno()).st_uid == owner
    except OSError:
        return False


def is_member(gid: int) -> bool:
    """Whether this process may make files of a group."""
    return os.geteuid() == 0 or gid == os.getegid() or gid in os.getgroups()


def owner_of(root: Root) -> str:
    """Name of the user whose the root is."""
    place = root.private if root.private.exists() else root.path
    return user_called(place.stat().st_uid)


def require_owner(root: Root) -> None:
    """Let nobody serve runs but the owner of the root.

    Raises:
        RefusedError: this is another user.
    """
    if is_own(root.private):
        return
    owner, me = owner_of(root), user_called(os.geteuid())
    raise RefusedError(
        f"{root.path} belongs to {owner}, so its runs are served by {owner} alone: jobs that {me} started "
        f"could be neither followed nor cancelled by {owner}",
        hint=f"have {owner} run it: matterstack run loop",
    )


def settle(root: Root) -> list[str]:
    """Make an existing root as open as its config says, or close it where that says nothing.

    One that a group may write into is left as it is until its config says something.

    Returns:
        What people must know of it, a sentence each.

    Raises:
        RefusedError: it cannot be shared with the group of its folder.
        ConfigError: its config cannot be used.
    """
    share = share_of(root.path)
    if share is Share.GROUP:
        _require_member(root)
    if not root.private.is_dir() or not is_own(root.private):
        return []
    found = root.private.stat()
    mode = stat.S_IMODE(found.st_mode)
    group = root.path.stat().st_gid
    if mode == MODES[share or Share.NOBODY].private and (share is not Share.GROUP or found.st_gid == group):
        return []
    if share is Share.GROUP:
        return _opened_to(root, group)
    if share is None and mode & GROUP_WRITES:
        return [_kept(root.private, found, root)]
    return _closed(root, mode, keeps=share is None)


def _require_member(root: Root) -> None:
    gid = root.path.stat().st_gid
    if not is_member(gid):
        raise RefusedError(
            f'{root.config_file}: share is "group", but {user_called(os.geteuid())} is no member of the '
            f"group {group_called(gid)}, which {root.path} belongs to",
            hint=f"give it a group that you are in: chgrp GROUP {root.path}",
        )


def _closed(root: Root, was: int, *, keeps: bool) -> list[str]:
    told: list[str] = []
    runs = 0
    for top in tops(root):
        if keeps and (opened := _open_to_group(top)):
            told.append(_kept(*opened, root))
            continue
        mode = stat.S_IMODE(top.stat().st_mode)
        runs += change(top.resolve(), mode & MODES[Share.NOBODY].run) and top.name != RUNS
    for path in below(root.private):
        change(path, stat.S_IMODE(path.lstat().st_mode) & _RIGHTS_OF_OWNER)
    # Last, since it is by this one that the next start sees that all is done.
    change(root.private.resolve(), MODES[Share.NOBODY].private)
    text = f"{root.private} was open to others (mode {was:o}); from now on it is yours alone (700)"
    also = f", and nobody but your group reads the folders of its {runs} runs (750)" if runs else ""
    return [f"{text}{also}", *told]


def _kept(path: Path, found: os.stat_result, root: Root) -> str:
    group = group_called(found.st_gid)
    return (
        f"{path} may be written by the group {group} (mode {found.st_mode & ALL:o}), and is kept so; say in "
        f'{root.config_file} which it is to be: {{"share": "group"}} or {{"share": "nobody"}}'
    )


def _open_to_group(run: Path) -> tuple[Path, os.stat_result] | None:
    """What a group may write into, of what a question to an instrument is handed over in."""
    questions = run / "operators"
    try:
        inner = sorted(questions.iterdir())
    except OSError:
        inner = []
    for place in (run, questions, *inner):
        try:
            found = place.lstat()
        except OSError:
            continue
        if stat.S_ISDIR(found.st_mode) and found.st_mode & GROUP_WRITES:
            return place, found
    return None


def _opened_to(root: Root, gid: int) -> list[str]:
    modes = MODES[Share.GROUP]
    others = 0
    for top in tops(root):
        for path in below(top) if top.name != RUNS else ():
            if path.name not in {SECRETS_FILE, SECRETS_PART}:
                others += not _share(path, gid)
        change(top.resolve(), modes.run, gid)
    for path in below(root.private):
        if path.name not in OWNERS_ALONE and {root.secrets, root.monitors}.isdisjoint({path, *path.parents}):
            others += not _share(path, gid)
    change(root.private.resolve(), modes.private, gid)
    group = group_called(gid)
    told = [f"{root.path} is shared with the group {group}: its members read, steer and answer its runs"]
    if others:
        told.append(
            f"{others} files in it could not be shared: they belong to others (see matterstack doctor)"
        )
    told += [f"the group {group} cannot come in at {way.path}: {way.mends}" for way in closed_ways(root, gid)]
    return told


def _share(path: Path, gid: int) -> bool:
    found = path.lstat()
    if not (stat.S_ISDIR(found.st_mode) or stat.S_ISREG(found.st_mode)) or (
        found.st_nlink > 1 and stat.S_ISREG(found.st_mode)
    ):
        return True  # nothing to share, or a file that has another name
    own = stat.S_IMODE(found.st_mode) & _RIGHTS_OF_OWNER
    both = own | own >> 3
    return change(path, both | stat.S_ISGID if stat.S_ISDIR(found.st_mode) else both, gid)


def tops(root: Root) -> Iterator[Path]:
    """Folders of all runs, and those that they lie in, each of these after its runs.

    Users may keep these on another disk, behind a link; a link in the place of a run is none of theirs.
    """
    for slug in _names(root.workspaces):
        runs = root.workspaces / slug / RUNS
        if not runs.is_dir():
            continue
        yield from (runs / name for name in _names(runs, links=False) if is_our_top(runs / name))
        yield runs


def _names(folder: Path, *, links: bool = True) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=links))
    except OSError:
        return []


@attrs.frozen
class ClosedWay:
    """A folder that a group cannot go through, and the line that mends it."""

    path: Path
    mends: str


def closed_ways(root: Root, gid: int) -> list[ClosedWay]:
    """What keeps the group of a root from its runs."""
    slugs = [root.workspaces / slug for slug in _names(root.workspaces)]
    found = []
    for folder in (*reversed(root.path.parents), root.path, root.workspaces, *slugs):
        try:
            about = folder.stat()
        except OSError:
            continue
        if about.st_mode & 0o001 or (about.st_gid == gid and about.st_mode & 0o010):
            continue
        if about.st_gid == gid:
            found.append(ClosedWay(folder, f"chmod g+x {folder}"))
        else:
            found.append(ClosedWay(folder, f"chmod o+x {folder}"))
    return found


def is_open_to_others(mode: int) -> bool:
    """Whether a mode lets somebody in who is neither the owner nor of the group."""
    return bool(mode & OTHERS)
