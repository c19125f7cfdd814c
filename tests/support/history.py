"""What must hold in every store, whatever was done to it: checked over all of its events."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise

import attrs

from matterstack.core import facts as f
from matterstack.core.apply import fold
from matterstack.core.facts import Event
from matterstack.core.ids import BackendName, RunId, Token
from matterstack.core.run_state import RunState
from matterstack.storage.layout import Root
from matterstack.storage.queries import events_after
from matterstack.storage.schema import open_database
from matterstack.storage.snapshot import load_run

_ENDS = (f.JobEnded, f.SubmissionRefused, f.SubmissionWithdrawn)
_RUN_ENDS = (f.RunCancelled, f.RunFailed, f.RunCompleted)


@attrs.define
class _Run:
    created: f.RunCreated
    live: dict[Token, BackendName] = attrs.field(factory=dict)
    accepted: set[Token] = attrs.field(factory=set)
    prepared: set[Token] = attrs.field(factory=set)
    is_paused: bool = False
    is_ending: bool = False
    has_ended: bool = False


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
    """Check sequence numbers, snapshots, attempts, caps, pauses and ends over the whole store."""
    with closing(open_database(root.database)) as connection:
        events = list(_events(connection))
        _assert_snapshots(connection, events)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    runs: dict[RunId, _Run] = {}
    for event in events:
        if isinstance(event.fact, f.RunCreated):
            runs[event.run_id] = _Run(event.fact)
        else:
            _check(event, runs)
    for run_id, run in runs.items():
        assert not (run.has_ended and run.live), f"run {run_id} has ended and left attempts: {run.live}"


def _assert_snapshots(connection: sqlite3.Connection, events: list[Event]) -> None:
    for run_id in {event.run_id for event in events}:
        mine = [event for event in events if event.run_id == run_id]
        for earlier, later in pairwise(mine):
            assert earlier.at <= later.at, f"event {later.seq} is older than the one before it"
        folded = fold(run_id, [(event.at, event.fact) for event in mine])
        stored = load_run(connection, run_id)
        assert stored is not None
        assert _comparable(folded) == _comparable(stored)


def _comparable(state: RunState) -> RunState:
    return attrs.evolve(state, ready={backend: ready for backend, ready in state.ready.items() if ready})


def _check(event: Event, runs: dict[RunId, _Run]) -> None:
    run, fact, where = runs[event.run_id], event.fact, f"event {event.seq}: {event.fact}"
    if isinstance(fact, f.RunReopened):
        run.has_ended = run.is_ending = False
    assert not run.has_ended, f"{where} came after the end of its run"
    match fact:
        case f.RunPaused():
            run.is_paused = True
        case f.RunResumed():
            run.is_paused = False
        case f.RunCancelRequested() | f.RunFailureRequested():
            run.is_ending = True
        case f.AttemptPrepared():
            assert not run.is_paused, f"{where} while the run is paused"
            assert not run.is_ending, f"{where} while the run is ending"
            assert fact.token not in run.prepared, f"{where} was prepared before"
            run.prepared.add(fact.token)
            run.live[fact.token] = fact.backend
            _check_caps(where, fact, run, runs)
        case f.JobAccepted():
            assert fact.token in run.live, f"{where} has no live attempt"
            assert fact.token not in run.accepted, f"{where} is the second job of its attempt"
            run.accepted.add(fact.token)
        case _ if isinstance(fact, _ENDS):
            assert fact.token in run.live, f"{where} ended an attempt that is not live"
            del run.live[fact.token]
        case _ if isinstance(fact, _RUN_ENDS):
            run.has_ended = True


def _check_caps(where: str, fact: f.AttemptPrepared, run: _Run, runs: dict[RunId, _Run]) -> None:
    config = run.created.config
    own = len(run.live)
    assert own <= config["max_hpc_jobs_per_run"], f"{where} is live job {own} of its run"
    shared = sum(backend == fact.backend for other in runs.values() for backend in other.live.values())
    cap = config["backends"][fact.backend]["max_jobs"]
    assert shared <= cap, f"{where} is live job {shared} of {cap} of its backend"
