"""A store that is older than what the folders of its runs say: it was put back from a backup.

What tells it is ``run.json``, which names the head of the run's events as of its last change.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from typing import Any, Final

import attrs

from matterstack.core.ids import RUN_ID_PATTERN, RunId, UtcTime, utc_moment
from matterstack.storage.heads import has_been_head
from matterstack.storage.layout import Root, RunFolder
from matterstack.storage.small_files import read_small

_MOST_BYTES: Final = 1 << 20
_HEAD: Final = re.compile("[0-9a-f]{64}")
_NOTED: Final = (
    "SELECT 1 FROM events WHERE run_id = ? AND type = 'EventsLost' AND json_extract(data, '$.head') = ?"
)


@attrs.frozen
class KnownHead:
    """The head that a run's folder knows, and until when it knows what happened."""

    head: str
    until: UtcTime


def known_head(folder: RunFolder) -> KnownHead | None:
    """The head in a run's ``run.json``; None where there is none that can be read.

    Versions before there were heads wrote none, and a power cut may leave a part of the file.
    """
    try:
        document: Any = json.loads(read_small(folder.summary_file, _MOST_BYTES))
        head, until = document["head"], document["updated_at"]
        if not _HEAD.fullmatch(head):
            return None
        utc_moment(until)
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        return None
    return KnownHead(head, until)


def is_known(connection: sqlite3.Connection, run_id: RunId, head: str) -> bool:
    """Whether a run has, or once had, an event with this head, as far as the store knows."""
    return (
        has_been_head(connection, run_id, head)
        or connection.execute(_NOTED, (run_id, head)).fetchone() is not None
    )


def run_folders(root: Root) -> Iterator[tuple[RunId, RunFolder]]:
    """The folders of all runs that the workspaces have, whether the store knows these or not."""
    for path in sorted(root.workspaces.glob("*/runs/*")):
        if RUN_ID_PATTERN.fullmatch(path.name):
            yield RunId(path.name), RunFolder(path)
