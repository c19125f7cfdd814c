"""Claims: what an engine must leave to runs of others."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from matterstack.core.ids import BackendName, RunId, UtcTime
from matterstack.storage.claims import (
    Waiting,
    claimed_backends,
    drop_claims,
    left_to_others,
    make_claim,
    serve_claims,
)
from matterstack.storage.layout import Root
from tests.support.stored import StoredRun

CLUSTER = BackendName("local")
CAP = 8
MINE = Waiting(run=RunId("mine"), wanted=100, weight=1)


@contextmanager
def served_run(connection: sqlite3.Connection, root: Root) -> Iterator[RunId]:
    """Some engine serves the run."""
    stored = StoredRun.create(connection, root)
    assert stored.lease is not None
    yield stored.run_id
    stored.lease.release(connection)


def claim(connection: sqlite3.Connection, run: RunId, wanted: int, at: str = "2026") -> None:
    """A run was refused seats."""
    make_claim(connection, CLUSTER, Waiting(run=run, wanted=wanted, weight=1), UtcTime(at))


def left(connection: sqlite3.Connection, root: Root, cap: int = CAP) -> int:
    """What is to be left by a run that has no claim and wants all."""
    return left_to_others(connection, root, CLUSTER, MINE, cap)


def test_without_claims_nothing_is_left(connection: sqlite3.Connection, root: Root) -> None:
    assert left(connection, root) == 0


def test_a_claimant_is_left_its_share_and_not_more_than_it_wants(
    connection: sqlite3.Connection, root: Root
) -> None:
    with served_run(connection, root) as run:
        claim(connection, run, 100)
        assert left(connection, root) == 4
        claim(connection, run, 3)
        assert left(connection, root) == 3
        serve_claims(connection, run, {CLUSTER: 1}, UtcTime("2027"))
        assert left(connection, root) == 1
        serve_claims(connection, run, {CLUSTER: 0}, UtcTime("2027"))
        assert left(connection, root) == 0
        assert claimed_backends(connection, run) == []


def test_the_only_seat_is_left_to_who_has_waited_longest(connection: sqlite3.Connection, root: Root) -> None:
    with served_run(connection, root) as run:
        claim(connection, run, 100, at="2026")
        assert left(connection, root, cap=1) == 1
        make_claim(connection, CLUSTER, MINE, UtcTime("2025"))
        assert left(connection, root, cap=1) == 0


def test_a_claim_of_a_run_that_nobody_serves_any_more_counts_for_nothing(
    connection: sqlite3.Connection, root: Root
) -> None:
    with served_run(connection, root) as run:
        claim(connection, run, 100)
        assert left(connection, root) == 4
    assert left(connection, root) == 0
    assert claimed_backends(connection, run) == [CLUSTER]


def test_a_run_that_submits_nothing_more_drops_its_claims(connection: sqlite3.Connection, root: Root) -> None:
    with served_run(connection, root) as run:
        claim(connection, run, 100)
        drop_claims(connection, run)
        assert left(connection, root) == 0


def test_claims_survive_the_process_that_made_them(root: Root, connection: sqlite3.Connection) -> None:
    with served_run(connection, root) as run:
        claim(connection, run, 5)
        other = sqlite3.connect(root.database)
        try:
            assert claimed_backends(other, run) == [CLUSTER]
        finally:
            other.close()
