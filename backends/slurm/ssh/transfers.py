"""Which files go to the cluster, and which come home."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import attrs

from matterstack.core.documents.strict_json import without_twins
from matterstack.core.file_names import name_problem
from matterstack.core.model.size_limits import size_problem
from matterstack.storage.confine import confined
from matterstack.storage.outputs import Declared

CLAIM: Final = "claim/job_id"
LOGS: Final = ("stdout.log", "stderr.log")
ENDED: Final = "exit.json"
RECORDS: Final = (CLAIM, ENDED)
"""How it is known whether a job has ended, and how."""
ENVIRONMENT: Final = "claim/environment.json"
"""What the job of the first attempt in an environment found of that."""
TRACES: Final = (*RECORDS, ENVIRONMENT, "scheduler.log", *LOGS, "result.json")
"""What every job may leave behind."""
_MANIFEST: Final = "manifest.json"
_MOST_MANIFEST_BYTES: Final = 1 << 30


@attrs.frozen
class Contents:
    """What an attempt's manifest says of its folder.

    Attributes:
        given: what was copied into it before its job.
        outputs: patterns of what the job is to leave there.
        most_gib: how large each of them may be; None: any size.
    """

    given: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    most_gib: float | None = None

    @property
    def most_bytes(self) -> float:
        """How large a file may be (bytes)."""
        return math.inf if self.most_gib is None else self.most_gib * 2**30


def read_contents(folder: Path) -> Contents:
    """Read the manifest; blocking.  Without a whole one nothing was given, and nothing is declared."""
    try:
        with confined(folder) as inside:
            text = inside.read(_MANIFEST, _MOST_MANIFEST_BYTES)
        manifest: dict[str, Any] = json.loads(text, object_pairs_hook=without_twins)
        copies = [*manifest["files"], *manifest["inputs"]]
        most = manifest.get("max_output_gib")
        given, outputs = tuple(copy["name"] for copy in copies), tuple(manifest["outputs"])
        return Contents(given, outputs, None if most is None else float(most))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return Contents()


def to_push(folder: Path) -> list[str]:
    """Names of the files that the job needs, of those that are there; blocking."""
    names = dict.fromkeys(("job.sh", _MANIFEST, *read_contents(folder).given))
    try:
        with confined(folder) as inside:
            return [name for name in names if _is_file(inside.open_file, name)]
    except FileNotFoundError:
        return []


def _is_file(opened: Any, name: str) -> bool:  # noqa: ANN401
    try:
        os.close(opened(name))
    except OSError:
        return False
    return True


@attrs.frozen
class Listed:
    """A file in the folder of a job that has ended, as the other side tells of it: anything may be in it."""

    folder: bytes
    name: str
    size: str


def listed(listing: bytes) -> Iterator[Listed]:
    """What `shell.LIST` tells, file by file."""
    words = listing.split(b"\0")[:-1]
    for folder, name, size in zip(words[::3], words[1::3], words[2::3], strict=False):
        yield Listed(folder, os.fsdecode(name), os.fsdecode(size))


@attrs.define
class Wanted:
    """What is to come home from one folder, and what of it is not, with the reason.

    ``total_bytes``: of the outputs, as the other side has it.
    """

    names: list[str] = attrs.field(factory=list)
    total_bytes: int = 0
    refused: dict[str, str] = attrs.field(factory=dict)


def wanted(listing: bytes, asked: Mapping[bytes, Contents]) -> dict[bytes, Wanted]:
    """What is wanted of all that was listed, by the folder as it was asked for.

    A name that is not the same in its normal form is none that ``find`` tells, and is not believed.
    """
    found = {folder: Wanted() for folder in asked}
    declared = {folder: Declared.of(each.outputs, each.given) for folder, each in asked.items()}
    for file in listed(listing):
        contents = asked.get(file.folder)
        if contents is None or not declared[file.folder].includes(file.name):
            continue
        into = found[file.folder]
        if problem := name_problem(file.name) or _too_large(file.size, contents):
            into.refused[file.name] = problem
        else:
            into.names.append(file.name)
            into.total_bytes += int(file.size)
    return found


def _too_large(size: str, contents: Contents) -> str | None:
    if not (size.isascii() and size.isdecimal() and len(size) < 20):
        return "has no size"
    return size_problem(int(size), contents.most_gib)


def encoded(names: Iterable[str]) -> list[bytes]:
    """As the file system has them."""
    return [os.fsencode(name) for name in names]
