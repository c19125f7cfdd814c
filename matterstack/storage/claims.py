"""Who waits for seats of a backend that several engines use, and what is to be left to them.

An engine takes a seat that has become free at once, so that runs of another one would look in vain.  A run
that was refused a seat therefore leaves a claim in the store, and from then on nobody takes so much that
others could not get their share.  Runs whose seats are shared out in one place (a backend of an engine: the
sharer) never leave anything to each other: that is decided there.  The claim of a run that nobody serves
counts for nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Final

import attrs

from matterstack.core.ids import BackendName, RunId, UtcTime, utc_moment, utc_text
from matterstack.core.run.seats import Claim, Room, Turn, room_of
from matterstack.storage.layout import Root
from matterstack.storage.leases import is_held

TURN_S: Final = 3.0
"""How long a seat that engines have in turn stays with one of them, as long as that has short jobs for it."""
_LIVE: Final = "SELECT run_id, count(*) FROM attempts WHERE backend = ? AND ended_at IS NULL GROUP BY run_id"
_CLAIMS: Final = "SELECT run_id, wanted, weight, served_at, sharer, turn_at FROM claims WHERE backend = ?"
_MAKE: Final = """
    INSERT INTO claims (backend, run_id, wanted, weight, served_at, sharer) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (backend, run_id) DO UPDATE
    SET wanted = excluded.wanted, weight = excluded.weight, sharer = excluded.sharer
"""
_WANT: Final = "UPDATE claims SET wanted = ? WHERE backend = ? AND run_id = ?"
_SERVE: Final = "UPDATE claims SET served_at = ? WHERE backend = ? AND run_id = ?"
_DROP: Final = "DELETE FROM claims WHERE backend = ? AND run_id = ?"
_HAS_TURN: Final = "SELECT 1 FROM claims WHERE backend = ? AND sharer = ? AND turn_at > ? AND turn_at <= ?"
_BEGIN_TURN: Final = """
    UPDATE claims SET served_at = ?, turn_at = ? WHERE backend = ? AND run_id = (
        SELECT run_id FROM claims WHERE backend = ? AND sharer = ? ORDER BY served_at, run_id LIMIT 1
    )
"""
_NEWEST: Final = "~"
"""When a run without a claim was served last: after all others."""


@attrs.frozen(kw_only=True)
class Waiting:
    """What a run waits for on a backend.

    Attributes:
        wanted: how many seats it could use beside those that it has.
        sharer: who shares seats out to it, as `matterstack.core.run.seats.Claim` has it.
    """

    run: RunId
    wanted: int
    weight: int
    sharer: str = ""


@attrs.frozen
class RoomInStore:
    """What a sharer finds when it asks.

    Attributes:
        live: seats that are taken, by anybody.
        claimed: runs of which the store knows that they wait.
        alone: whether nobody else has seats or waits for any.
    """

    room: Room
    live: int
    claimed: Collection[RunId]
    alone: bool


def room_in_store(
    connection: sqlite3.Connection,
    root: Root,
    backend: BackendName,
    runs: Collection[RunId],
    waiting: Sequence[Waiting],
    cap: int,
    now: UtcTime,
) -> RoomInStore:
    """What there is for all runs of one sharer together: the one question that it asks for all of them.

    Where others wait, too, only those of its runs count that have claims, as they would for the others.

    Args:
        runs: all that it shares seats out to.
        waiting: those that could use some; at least one.
    """
    live = live_by_run(connection, backend)
    claims = {claim.run: claim for claim in _claims(connection, backend, live)}
    known = [one for one in waiting if one.run in claims]
    room = _room(root, known or waiting[:1], cap, live, claims, now)
    alone = not room.shared and set(live) <= set(runs)
    return RoomInStore(room, sum(live.values()), frozenset(claims), alone)


def room_for(
    connection: sqlite3.Connection,
    root: Root,
    backend: BackendName,
    waiting: Waiting,
    cap: int,
    now: UtcTime,
) -> Room:
    """How many seats the sharer of one run may take beside those that it has."""
    live = live_by_run(connection, backend)
    claims = {claim.run: claim for claim in _claims(connection, backend, live)}
    return _room(root, [waiting], cap, live, claims, now)


def live_by_run(connection: sqlite3.Connection, backend: BackendName) -> dict[RunId, int]:
    """How many attempts of each run hold a seat of a backend."""
    return dict(connection.execute(_LIVE, (backend,)))


def left_to_others(
    connection: sqlite3.Connection, root: Root, backend: BackendName, waiting: Waiting, cap: int
) -> int:
    """How many free seats a run must leave to those that wait for their share, if it has its own."""
    return room_for(connection, root, backend, waiting, cap, UtcTime("")).kept


def make_claim(connection: sqlite3.Connection, backend: BackendName, waiting: Waiting, at: UtcTime) -> None:
    """A run was refused a seat, or waits for one that it would be refused."""
    row = (backend, waiting.run, waiting.wanted, waiting.weight, at, waiting.sharer)
    connection.execute(_MAKE, row)


def serve_claims(
    connection: sqlite3.Connection,
    run_id: RunId,
    wanted: Mapping[BackendName, int],
    at: UtcTime,
    in_turn: Collection[BackendName] = (),
) -> None:
    """A run, if it had claims, has got seats, and could use so many more; without any more they are gone.

    Args:
        in_turn: where others wait, so that `begin_turn` says when a turn of its sharer was.
    """
    for backend, more in wanted.items():
        if more <= 0:
            connection.execute(_DROP, (backend, run_id))
            continue
        connection.execute(_WANT, (more, backend, run_id))
        if backend not in in_turn:
            connection.execute(_SERVE, (at, backend, run_id))


def begin_turn(connection: sqlite3.Connection, backend: BackendName, sharer: str, at: UtcTime) -> None:
    """A sharer has a seat that goes from one to the other, on the account of its run that waited longest.

    Nothing changes as long as its turn goes on.
    """
    turn = _turn(at)
    if turn and not connection.execute(_HAS_TURN, (backend, sharer, turn.since, turn.until)).fetchone():
        connection.execute(_BEGIN_TURN, (at, at, backend, backend, sharer))


def claimed_backends(connection: sqlite3.Connection, run_id: RunId) -> list[BackendName]:
    """Where a run has claims."""
    rows = connection.execute("SELECT backend FROM claims WHERE run_id = ? ORDER BY backend", (run_id,))
    return [BackendName(backend) for (backend,) in rows]


def drop_claims(connection: sqlite3.Connection, run_id: RunId) -> None:
    """A run submits nothing more."""
    connection.execute("DELETE FROM claims WHERE run_id = ?", (run_id,))


def _room(
    root: Root,
    waiting: Sequence[Waiting],
    cap: int,
    live: Mapping[RunId, int],
    claims: Mapping[RunId, Claim],
    now: UtcTime,
) -> Room:
    """What the sharer of those that wait may take; they know better what they want than their claims do."""
    asking = [_asking(one, claims.get(one.run), live.get(one.run, 0)) for one in waiting]
    group = asking[0].group
    beside = [claim for run, claim in claims.items() if run not in {one.run for one in waiting}]
    if all(claim.group == group for claim in beside):
        beside = []  # no lock need be looked at: nobody else waits
    beside = [claim for claim in beside if is_held(root, claim.run)]
    return room_of(group, cap, sum(live.values()), [*asking, *beside], _turn(now))


def _claims(
    connection: sqlite3.Connection, backend: BackendName, live: Mapping[RunId, int]
) -> Iterator[Claim]:
    for run, wanted, weight, served_at, sharer, turn_at in connection.execute(_CLAIMS, (backend,)):
        yield Claim(
            run=RunId(run),
            live=live.get(run, 0),
            wanted=wanted,
            weight=weight,
            served_at=served_at,
            sharer=sharer,
            turn_at=turn_at,
        )


def _asking(waiting: Waiting, claim: Claim | None, live: int) -> Claim:
    return Claim(
        run=waiting.run,
        live=live,
        wanted=waiting.wanted,
        weight=waiting.weight,
        served_at=_NEWEST if claim is None else claim.served_at,
        sharer=waiting.sharer,
        turn_at="" if claim is None else claim.turn_at,
    )


def _turn(now: UtcTime) -> Turn | None:
    """The stretch of time in which a turn that goes on now began; None where no time was told."""
    return Turn(utc_text(utc_moment(now) - timedelta(seconds=TURN_S)), now) if now else None
