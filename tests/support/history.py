"""What must hold in every store, whatever was done to it: what `check` proves, and a little more."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise

import attrs

from matterstack.core.errors import DatabaseCorruptError, DatabaseVersionError
from matterstack.core.run.apply import fold
from matterstack.core.run.facts import Event, RunDeleted
from matterstack.core.run.state import RunState
from matterstack.storage.check import check_store
from matterstack.storage.layout import Root
from matterstack.storage.read.events import events_after
from matterstack.storage.schema import open_database
from matterstack.storage.snapshot import load_run


def all_events(root: Root) -> list[Event]:
    """Every event of a store, the oldest first."""
    with closing(open_database(root.database)) as connection:
        return list(_events(connection))


def _events(connection: sqlite3.Connection) -> Iterator[Event]:
    seq = 0
    while events := events_after(connection, seq):
        yield from events
        seq = events[-1].seq


def assert_history(root: Root) -> None:
    """Check the whole store, that time goes forward in it, and that runs are loaded as they were made."""
    problems = check_store(root)
    assert not problems, problems
    with closing(open_database(root.database)) as connection:
        events = list(_events(connection))
        deleted = {event.run_id for event in events if isinstance(event.fact, RunDeleted)}
        for run_id in {event.run_id for event in events} - deleted:
            mine = [event for event in events if event.run_id == run_id]
            for earlier, later in pairwise(mine):
                assert earlier.at <= later.at, f"event {later.seq} is older than the one before it"
            stored = load_run(connection, run_id)
            assert stored is not None
            assert _comparable(fold(run_id, [(e.at, e.fact) for e in mine])) == _comparable(stored)


def assert_history_if_readable(root: Root) -> None:
    """Like `assert_history`, but for roots without a store and stores that a test has broken."""
    if not root.database.is_file():
        return
    try:
        open_database(root.database).close()
    except (DatabaseCorruptError, DatabaseVersionError):
        return
    assert_history(root)


def _comparable(state: RunState) -> RunState:
    return attrs.evolve(state, ready={backend: ready for backend, ready in state.ready.items() if ready})
