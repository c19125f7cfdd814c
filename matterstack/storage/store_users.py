"""Why a store cannot be used that somebody else has made, or has locked, and what to do about it."""

from __future__ import annotations

import os
from pathlib import Path

from matterstack.storage.layout import Root
from matterstack.storage.lock_holders import foreign_holders
from matterstack.storage.openness import is_own, owner_of, user_called


def whose_store(path: Path) -> str:
    """What to do about a store that cannot be opened since it, or a file beside it, is somebody else's."""
    private = path.parent
    root = Root(private.parent)
    try:
        if not is_own(private):
            owner = owner_of(root)
            return (
                f"this root belongs to {owner}, who may share it with a group "
                f'({{"share": "group"}} in {root.config_file}, and the next start of an engine), or show you '
                "its monitor"
            )
        for suffix in ("", "-wal", "-shm", "-journal"):
            beside = path.with_name(path.name + suffix)
            if beside.exists() and beside.stat().st_uid != os.geteuid() and not os.access(beside, os.W_OK):
                return _mended(beside, suffix)
    except OSError:
        return ""
    return ""


def _mended(path: Path, suffix: str) -> str:
    owner, me = user_called(path.stat().st_uid), user_called(os.geteuid())
    if suffix == "-shm":
        # What it holds is made again from the write-ahead log: sqlite.org/walformat.html.
        return f"{path} belongs to {owner}, who read the store: end what uses the store, then: rm {path}"
    return f"{path} belongs to {owner}; as root: chown {me} {path}"


def who_locks(path: Path) -> tuple[str, str]:
    """Whose process it is that keeps a store locked, and what to do about it."""
    beside = [path.with_name(path.name + suffix) for suffix in ("", "-shm", "-wal")]
    found = {holder.pid: holder for place in beside for holder in foreign_holders(place, os.geteuid())}
    if not found:
        return "another process", ""
    first = found[min(found)]
    return str(first), f"whose process it is, or root, ends it: kill {first.pid}"
