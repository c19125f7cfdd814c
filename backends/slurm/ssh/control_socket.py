"""Where the shared connection of a host is found: a socket in a private folder."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from matterstack.core.errors import BackendError

_MOST_BYTES: Final = 50
"""A socket's path has 107 bytes at most (unix(7)); ssh puts 40 for the host and 18 of its own behind ours."""


def private_folder(environment: Mapping[str, str], shared: Path = Path("/tmp")) -> Path:  # noqa: S108
    """A folder that is this user's alone, with a short path, and the same one for every engine.

    Blocking, but short.

    Args:
        shared: where it is if the session has no folder for such things.

    Raises:
        BackendError: somebody else's folder is in its place.
    """
    runtime = environment.get("XDG_RUNTIME_DIR", "")
    folder = Path(runtime) / "matterstack"
    if (
        not runtime.startswith("/")
        or not os.access(runtime, os.W_OK)
        or len(os.fsencode(folder)) > _MOST_BYTES
    ):
        folder = shared / f"matterstack-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError as error:
        raise BackendError(
            f"{folder}, for the connections of ssh, cannot be made: {error.strerror}"
        ) from error
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise BackendError(f"{folder}, for the connections of ssh, is not this user's alone: remove it")
    return folder
