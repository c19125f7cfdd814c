"""The secret of a root's monitor, in a file that only its user can read."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from matterstack.core.errors import StoreError
from matterstack.monitor.access import new_token
from matterstack.storage.layout import Root
from matterstack.storage.modes import make_folders
from matterstack.storage.openness import require_owner

LEAST_LENGTH: Final = 32
MOST_BYTES: Final = 200


def keep_token(path: Path) -> str:
    """Make the token of a root, or take the one that is there.

    It outlives the server, so that browsers stay in, for as long as nobody else can read it.  Blocking.

    Raises:
        RefusedError: the root is somebody else's.
        StoreError: the file cannot be written or read.
    """
    try:
        make_folders(path.parent)
        require_owner(Root(path.parent.parent))
        if (kept := _private_text(path)) is not None:
            return kept
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        part.unlink(missing_ok=True)
        token = new_token()
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{token}\n")
        part.replace(path)
    except OSError as error:
        raise StoreError(f"{path}: the monitor's token cannot be kept: {error.strerror or error}") from error
    return token


def _private_text(path: Path) -> str | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        is_private = stat.S_IMODE(status.st_mode) == 0o600 and status.st_uid == os.getuid()
        text = file.read(MOST_BYTES).decode(errors="replace").strip() if stat.S_ISREG(status.st_mode) else ""
    return text if is_private and len(text) >= LEAST_LENGTH else None
