"""Read transactions: queries that see one commit."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_moment(connection: sqlite3.Connection) -> Iterator[None]:
    """A block whose queries all see the store as of the same commit.

    In a deferred transaction the first read fixes the snapshot: sqlite.org/isolation.html.  Inside of another
    such block it is that block's commit.
    """
    if connection.in_transaction:
        yield
        return
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("COMMIT")
