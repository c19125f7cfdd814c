"""Which runs need the files of which others, as far as what they were given names them."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Collection
from typing import Final

from matterstack.core.ids import RUN_ID_PATTERN, RunId

_NAMED: Final = re.compile(rf"\bruns/({RUN_ID_PATTERN.pattern})\b")
_TEXTS: Final = """
    SELECT run_id, 'task ' || task_id, task FROM tasks WHERE instr(task, 'runs/')
    UNION ALL SELECT run_id, 'its config', config FROM runs WHERE instr(config, 'runs/')
    UNION ALL SELECT run_id, 'what its campaign found', campaign_state FROM runs
    WHERE instr(campaign_state, 'runs/')
"""


def references_to(
    connection: sqlite3.Connection, wanted: Collection[RunId]
) -> dict[RunId, tuple[RunId, str]]:
    """Of these runs, those whose folders other runs name: by which run, and where in it.

    One look at all that runs were given, however many are asked for; those among ``wanted`` do not count.
    """
    found: dict[RunId, tuple[RunId, str]] = {}
    for run_id, where, text in connection.execute(_TEXTS):
        if run_id in wanted:
            continue
        for named in _NAMED.findall(text):
            if named in wanted:
                found.setdefault(RunId(named), (RunId(run_id), where))
    return found
