"""Which files go to the cluster, and which come home."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Final

import attrs

from matterstack.core.model.patterns import matches
from matterstack.core.model.workflow_check import RESERVED_NAMES

CLAIM: Final = "claim/job_id"
LOGS: Final = ("stdout.log", "stderr.log")
ENVIRONMENT: Final = "claim/environment.json"
"""What the job of the first attempt in an environment found of that."""
TRACES: Final = (CLAIM, ENVIRONMENT, "exit.json", "scheduler.log", *LOGS, "result.json")
"""What every job may leave behind."""


@attrs.frozen
class Contents:
    """What an attempt's manifest says of its folder.

    Attributes:
        given: what was copied into it before its job.
        outputs: patterns of what the job is to leave there.
    """

    given: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()


def read_contents(folder: Path) -> Contents:
    """Read the manifest; blocking.  Without a whole one nothing was given, and nothing is declared."""
    try:
        manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_bytes())
        copies = [*manifest["files"], *manifest["inputs"]]
        return Contents(tuple(copy["name"] for copy in copies), tuple(manifest["outputs"]))
    except (OSError, ValueError, LookupError, TypeError):
        return Contents()


def to_push(folder: Path) -> list[str]:
    """Names of the files that the job needs, of those that are there; blocking."""
    names = ("job.sh", "manifest.json", *read_contents(folder).given)
    return [name for name in dict.fromkeys(names) if (folder / name).is_file()]


def is_wanted(name: str, contents: Contents) -> bool:
    """Whether a file that lies in the folder of a job that has ended is one of its outputs."""
    if not is_inside(name) or name.partition("/")[0] in RESERVED_NAMES:
        return False
    return any(matches(name, p) and (name not in contents.given or p == name) for p in contents.outputs)


def is_inside(name: str) -> bool:
    """Whether a path stays in the folder that it is relative to."""
    path = PurePosixPath(name)
    return name != "" and not path.is_absolute() and ".." not in path.parts


def pairs(listing: bytes) -> Iterator[tuple[str, str]]:
    """Folders and names from what `shell.LIST` tells."""
    words = [os.fsdecode(word) for word in listing.split(b"\0")[:-1]]
    return zip(words[::2], words[1::2], strict=False)


def encoded(names: Iterable[str]) -> list[bytes]:
    """As the file system has them."""
    return [os.fsencode(name) for name in names]
