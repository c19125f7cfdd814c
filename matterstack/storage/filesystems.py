"""What kind of file system a path lies on, from proc(5): ``/proc/self/mountinfo``.

SQLite's write-ahead log needs memory that all its users share, so it works for processes of one host only
(sqlite.org/wal.html), and locks of network file systems are not to be relied on between hosts
(sqlite.org/faq.html#q5).  So the store is kept in another way there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import attrs

MOUNTS: Final = Path("/proc/self/mountinfo")
NETWORK_TYPES: Final = frozenset(
    {
        "nfs", "nfs4", "lustre", "gpfs", "beegfs", "cifs", "smb3", "smbfs", "ceph", "glusterfs", "panfs",
        "afs", "orangefs", "pvfs2", "9p", "virtiofs", "ocfs2", "gfs2", "wekafs", "fhgfs", "dvs", "vboxsf",
        "fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.ceph-fuse", "fuse.gpfs", "fuse.juicefs",
        "fuse.s3fs", "fuse.gcsfuse", "fuse.rclone", "fuse.moosefs", "fuse.vmhgfs-fuse",
    }
)  # fmt: skip


@attrs.frozen
class _Mount:
    id: str
    parent: str
    point: str
    kind: str


def file_system_type(path: Path, mounts: Path = MOUNTS) -> str:
    """The type of the file system that a path lies on (or will lie on, if it is not there yet).

    Empty when it cannot be told.
    """
    try:
        text = mounts.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    wanted = path.resolve()
    found = _visible([m for line in text.splitlines() if (m := _mount(line)) is not None], wanted)
    return found.kind if found is not None else ""


def _mount(line: str) -> _Mount | None:
    left, separator, right = line.partition(" - ")
    fields, kind = left.split(), right.split()
    if not separator or len(fields) < 5 or not kind:
        return None
    return _Mount(fields[0], fields[1], _unescaped(fields[4]), kind[0])


def _visible(mounts: Sequence[_Mount], path: Path) -> _Mount | None:
    """Go down from the root, as the kernel does: a mount hides what lies below it, other mounts too."""
    by_place: dict[tuple[str | None, str], _Mount] = {}
    ids = {mount.id for mount in mounts}
    for mount in mounts:
        is_top = mount.parent not in ids or mount.parent == mount.id
        by_place[None if is_top else mount.parent, mount.point] = mount
    at: _Mount | None = None
    for folder in (*reversed(path.parents), path):
        while (over := by_place.get((at.id if at is not None else None, str(folder)))) is not None:
            at = over
    return at


def is_network(file_system: str) -> bool:
    """Whether several hosts may see a file system of this type at once."""
    return file_system in NETWORK_TYPES


def _unescaped(text: str) -> str:
    """Blanks and the like are written as three octal digits."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), text)
