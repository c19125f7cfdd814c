"""The config of a run as it is now, and what of it was set for this run alone."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from matterstack.core.ids import RunId
from matterstack.storage.read.deleted_runs import no_such_run
from matterstack.storage.read.transactions import one_moment

_OVERRIDES: Final = """
    SELECT json_extract(data, '$.overrides') FROM events
    WHERE run_id = ? AND type IN ('RunCreated', 'ConfigAmended') ORDER BY seq DESC LIMIT 1
"""


@attrs.frozen
class ConfigInForce:
    """What a run goes by.

    Attributes:
        overrides: what was set for it alone, over the files; of runs that an older version made, as far as it
            has been amended since.
    """

    workspace: str
    config: Mapping[str, Any]
    overrides: Mapping[str, Any]


def config_in_force(connection: sqlite3.Connection, run_id: RunId) -> ConfigInForce:
    """Read it, all at one moment.

    Raises:
        NotFoundError: there is no such run.
    """
    with one_moment(connection):
        row = connection.execute("SELECT workspace, config FROM runs WHERE run_id = ?", (run_id,)).fetchone()
        if row is None:
            raise no_such_run(connection, run_id)
        (overrides,) = connection.execute(_OVERRIDES, (run_id,)).fetchone() or (None,)
    return ConfigInForce(row[0], json.loads(row[1]), json.loads(overrides) if overrides else {})


def config_texts(connection: sqlite3.Connection, run_ids: Sequence[RunId]) -> dict[RunId, str]:
    """The configs of runs, as JSON text."""
    marks = ", ".join("?" * len(run_ids))
    rows = connection.execute(
        f"SELECT run_id, config FROM runs WHERE run_id IN ({marks})",  # noqa: S608  only our own words
        tuple(run_ids),
    )
    return {RunId(run_id): config for run_id, config in rows}
