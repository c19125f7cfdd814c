"""What kind of file system a path lies on, from proc(5): ``/proc/self/mountinfo``.

SQLite's write-ahead log needs memory that all its users share, so it works for processes of one host only
(sqlite.org/wal.html), and locks of network file systems are not to be relied on between hosts
(sqlite.org/faq.html#q5).  So the store is kept in another way there.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

MOUNTS: Final = Path("/proc/self/mountinfo")
NETWORK_TYPES: Final = frozenset(
    {
        "nfs", "nfs4", "lustre", "gpfs", "beegfs", "cifs", "smb3", "smbfs", "ceph", "glusterfs", "panfs",
        "afs", "orangefs", "pvfs2", "9p", "virtiofs", "ocfs2", "gfs2", "wekafs", "fuse.sshfs",
        "fuse.glusterfs", "fuse.ceph", "fuse.gpfs", "fuse.juicefs", "fuse.s3fs", "fuse.rclone",
        "fuse.moosefs", "dvs",
    }
)  # fmt: skip


def file_system_type(path: Path, mounts: Path = MOUNTS) -> str:
    """The type of the file system that a path lies on (or will lie on, if it is not there yet).

    Empty when it cannot be told.
    """
    wanted = path.resolve()
    best, kind = -1, ""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    for line in lines:
        left, separator, right = line.partition(" - ")
        fields = left.split()
        if not separator or len(fields) < 5:
            continue
        point = Path(_unescaped(fields[4]))
        # A later mount on the same point lies over the earlier one.
        if wanted.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), right.split()[0]
    return kind


def is_network(file_system: str) -> bool:
    """Whether several hosts may see a file system of this type at once."""
    return file_system in NETWORK_TYPES


def _unescaped(text: str) -> str:
    """Blanks and the like are written as three octal digits."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), text)
