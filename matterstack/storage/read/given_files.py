"""What the attempts of a run were given: contents of files, as the ends of their jobs name them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping

from matterstack.core.ids import RunId, Token


def given_files(connection: sqlite3.Connection, run_id: RunId) -> dict[Token, Mapping[str, str]]:
    """SHA-256 of the files of each attempt whose job is over, by their name in its folder.

    Attempts of which nobody could look are left out.
    """
    rows = connection.execute(
        "SELECT json_extract(data, '$.token'), json_extract(data, '$.given') FROM events "
        "WHERE run_id = ? AND type = 'JobEnded'",
        (run_id,),
    )
    return {
        Token(token): {file["path"]: file["sha256"] for file in json.loads(given)}
        for token, given in rows
        if given is not None
    }
