"""Which files of an attempt hold the value of a secret."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Final

from matterstack.core.model.patterns import matches
from matterstack.core.model.workflow_check import RESERVED_NAMES
from matterstack.core.secret_words import Search
from matterstack.storage.confine import Confined, confined
from matterstack.storage.files import chunks

LOGS: Final = ("stdout.log", "stderr.log", "scheduler.log", "result.json")
"""What every job may write, beside what it was to leave."""
ENVIRONMENT: Final = "claim/environment.json"
"""What its script found of the software that it runs in."""


def files_with_secrets(
    folder: Path, patterns: Sequence[str], given: Collection[str], search: Search
) -> dict[str, tuple[str, ...]]:
    """Names of secrets by the files that hold their values: logs, outputs, and what the job was given.

    Blocking.  What cannot be read is passed over: nothing is copied from it either.
    """
    found: dict[str, tuple[str, ...]] = {}
    try:
        with confined(folder) as inside:
            for name in _looked_at(inside, patterns, given):
                if not search.names_in_text(name) and (names := _names_in(inside, name, search)):
                    found[name] = tuple(sorted(names))
    except OSError:
        return found
    return found


def _looked_at(folder: Confined, patterns: Sequence[str], given: Collection[str]) -> Iterator[str]:
    yield from (*LOGS, ENVIRONMENT)
    for name in folder.regular_files(leave_out=RESERVED_NAMES):
        if name not in LOGS and (name in given or any(matches(name, pattern) for pattern in patterns)):
            yield name


def _names_in(folder: Confined, name: str, search: Search) -> frozenset[str]:
    try:
        descriptor = folder.open_file(name)
    except OSError:
        return frozenset()
    try:
        return search.names_in_all(chunks(descriptor))
    except OSError:
        return frozenset()
    finally:
        os.close(descriptor)
