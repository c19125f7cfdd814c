"""The name of a root on clusters: two roots that share a workdir never share a folder in it."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path
from typing import Final

from matterstack.core.errors import StoreError
from matterstack.storage.files import sync_folder
from matterstack.storage.modes import make_folders, open_shared

FOLDER: Final = "matterstack"
"""What a workdir gets from us."""
_NAME: Final = "root-id"
_FORM: Final = re.compile(r"[0-9a-f]{16}")


def base_there(workdir: str, own_id: str) -> str:
    """The folder of a root in a workdir; the same tree of runs is in it as here."""
    return f"{workdir.rstrip('/')}/{FOLDER}/{own_id}"


def root_id(private: Path) -> str:
    """Read it, or make it up if there is none; blocking.  It is durable before it is returned.

    Raises:
        StoreError: it cannot be kept.
    """
    path = private / _NAME
    try:
        if not path.exists():
            _make(path)
        text = path.read_text().strip()
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror or error}") from error
    if not _FORM.fullmatch(text):
        raise StoreError(f"{path}: is damaged: with another name, jobs on clusters would not be found again")
    return text


def _make(path: Path) -> None:
    make_folders(path.parent)
    mine = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.part")
    with os.fdopen(open_shared(mine), "w") as file:
        file.write(f"{secrets.token_hex(8)}\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(mine, path)  # whoever comes second takes the name of the first
    except FileExistsError:
        return
    finally:
        mine.unlink()
    sync_folder(path.parent)
