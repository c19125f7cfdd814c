"""The key from which the nonces of a root's attempts are made."""

from __future__ import annotations

import sqlite3

from matterstack.core.nonces import Nonces
from matterstack.storage.schema import readable_rows


def read_nonces(connection: sqlite3.Connection) -> Nonces:
    """Read the key; it was drawn when the store was made, or brought up to the version that has one.

    Raises:
        DatabaseCorruptError: there is none.
    """
    with readable_rows(connection, "the key of the root"):
        (key,) = connection.execute("SELECT key FROM root_key").fetchone()
    return Nonces(str(key))
