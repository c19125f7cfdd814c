"""The secret of a root's monitors, in a file that only its user can read."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

import attrs

from matterstack.core.errors import StoreError
from matterstack.monitor.access import new_token
from matterstack.storage.layout import Root
from matterstack.storage.modes import make_folders
from matterstack.storage.openness import require_owner

LEAST_LENGTH: Final = 32
MOST_BYTES: Final = 200


def token_file_of(root: Root) -> Path:
    """Where the token of a root is."""
    return root.private / "monitor-token"


def keep_token(path: Path) -> str:
    """Make the token of a root, or take the one that is there.

    It outlives the server, so that programs stay in, for as long as nobody else can read it.  Blocking.

    Raises:
        RefusedError: the root is somebody else's.
        StoreError: the file cannot be written or read.
    """
    try:
        make_folders(path.parent)
        require_owner(Root(path.parent.parent))
        kept = _private_text(path)
    except OSError as error:
        raise _unusable(path, error) from error
    return kept if kept is not None else replace_token(path)


def replace_token(path: Path) -> str:
    """Make a new token for a root: from now on, the old one is none.  Blocking.

    Raises:
        RefusedError: the root is somebody else's.
        StoreError: the file cannot be written.
    """
    try:
        make_folders(path.parent)
        require_owner(Root(path.parent.parent))
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        part.unlink(missing_ok=True)
        token = new_token()
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{token}\n")
        part.replace(path)
    except OSError as error:
        raise _unusable(path, error) from error
    return token


@attrs.define
class TokenFile:
    """The file as a server sees it, which somebody may replace at any time."""

    path: Path
    _seen: tuple[int, ...] | None = None

    def news(self) -> str | None:
        """The token, when the file is another one than at the last look; empty when it holds none.  Blocking.

        A file that cannot be looked at now changes nothing.
        """
        try:
            status = self.path.stat(follow_symlinks=False)
            seen: tuple[int, ...] = (
                status.st_dev,
                status.st_ino,
                status.st_mtime_ns,
                status.st_ctime_ns,
                status.st_mode,
            )
            if seen == self._seen:
                return None
            token = _private_text(self.path) or ""
        except FileNotFoundError:
            seen, token = (), ""
            if seen == self._seen:
                return None
        except OSError:
            return None
        self._seen = seen
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


def _unusable(path: Path, error: OSError) -> StoreError:
    return StoreError(f"{path}: the monitor's token cannot be kept: {error.strerror or error}")
