"""Who waits for seats of a backend that several engines use, and what is to be left to them.

An engine takes a seat that has become free at once, so that runs of another one would look in vain.  A run
that was refused a seat therefore leaves a claim in the store, and from then on nobody takes so much that a
claimant could not get its share.  The claim of a run that nobody serves counts for nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

import attrs

from matterstack.core.ids import BackendName, RunId, UtcTime
from matterstack.core.run.seats import Claim, shares
from matterstack.storage.layout import Root
from matterstack.storage.leases import is_held

_LIVE = "SELECT run_id, count(*) FROM attempts WHERE backend = ? AND ended_at IS NULL GROUP BY run_id"
_OTHERS = "SELECT run_id, wanted, weight, served_at FROM claims WHERE backend = ? AND run_id != ?"
_MAKE = """
    INSERT INTO claims (backend, run_id, wanted, weight, served_at) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (backend, run_id) DO UPDATE SET wanted = excluded.wanted, weight = excluded.weight
"""


@attrs.frozen(kw_only=True)
class Waiting:
    """What a run waits for on a backend: how many seats it could use beside those that it has."""

    run: RunId
    wanted: int
    weight: int


def seats_taken(
    connection: sqlite3.Connection, root: Root, backend: BackendName, waiting: Waiting, cap: int
) -> int:
    """How many seats a run must leave alone: those of live attempts, and those that others may claim."""
    live = live_by_run(connection, backend)
    return sum(live.values()) + left_to_others(connection, root, backend, waiting, cap)


def live_by_run(connection: sqlite3.Connection, backend: BackendName) -> dict[RunId, int]:
    """How many attempts of each run hold a seat of a backend."""
    return dict(connection.execute(_LIVE, (backend,)))


def left_to_others(
    connection: sqlite3.Connection, root: Root, backend: BackendName, waiting: Waiting, cap: int
) -> int:
    """How many free seats a run must leave to those that wait for their share."""
    claims = _others(connection, root, backend, waiting.run)
    if not claims:
        return 0
    live = live_by_run(connection, backend)
    claims = [attrs.evolve(claim, live=live.get(claim.run, 0)) for claim in claims]
    mine = _served_at(connection, backend, waiting.run)
    asking = Claim(
        run=waiting.run,
        live=live.get(waiting.run, 0),
        wanted=waiting.wanted,
        weight=waiting.weight,
        served_at=mine,
    )
    claimants = {claim.run for claim in (*claims, asking)}
    beside = sum(count for run, count in live.items() if run not in claimants)
    due = shares(max(0, cap - beside), [asking, *claims])
    return sum(max(0, due[claim.run] - claim.live) for claim in claims)


def make_claim(connection: sqlite3.Connection, backend: BackendName, waiting: Waiting, at: UtcTime) -> None:
    """A run was refused a seat."""
    connection.execute(_MAKE, (backend, waiting.run, waiting.wanted, waiting.weight, at))


def serve_claims(
    connection: sqlite3.Connection, run_id: RunId, wanted: Mapping[BackendName, int], at: UtcTime
) -> None:
    """A run, if it had claims, has got seats, and could use so many more; without any more they are gone."""
    for backend, more in wanted.items():
        if more > 0:
            connection.execute(
                "UPDATE claims SET wanted = ?, served_at = ? WHERE backend = ? AND run_id = ?",
                (more, at, backend, run_id),
            )
        else:
            connection.execute("DELETE FROM claims WHERE backend = ? AND run_id = ?", (backend, run_id))


def claimed_backends(connection: sqlite3.Connection, run_id: RunId) -> list[BackendName]:
    """Where a run has claims."""
    rows = connection.execute("SELECT backend FROM claims WHERE run_id = ? ORDER BY backend", (run_id,))
    return [BackendName(backend) for (backend,) in rows]


def drop_claims(connection: sqlite3.Connection, run_id: RunId) -> None:
    """A run submits nothing more."""
    connection.execute("DELETE FROM claims WHERE run_id = ?", (run_id,))


def _others(connection: sqlite3.Connection, root: Root, backend: BackendName, run_id: RunId) -> list[Claim]:
    rows = connection.execute(_OTHERS, (backend, run_id)).fetchall()
    return [
        Claim(run=RunId(run), live=0, wanted=wanted, weight=weight, served_at=served_at)
        for run, wanted, weight, served_at in rows
        if is_held(root, RunId(run))
    ]


def _served_at(connection: sqlite3.Connection, backend: BackendName, run_id: RunId) -> str:
    """When the run that asks got its last seat; one without a claim is taken for the last one served."""
    row = connection.execute(
        "SELECT served_at FROM claims WHERE backend = ? AND run_id = ?", (backend, run_id)
    ).fetchone()
    return "~" if row is None else str(row[0])
