"""The chain of a run's events: made by every commit, made for old stores, and whatever breaks it is named."""

from __future__ import annotations

import hashlib
import logging
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from matterstack.core.errors import MatterStackError, StoreError
from matterstack.core.ids import RunId
from matterstack.core.model.workflow import Workflow
from matterstack.core.run import messages as m
from matterstack.storage import schema
from matterstack.storage.check import check_store
from matterstack.storage.heads import Head, has_been_head, head_of
from matterstack.storage.journal import commit
from matterstack.storage.layout import Root
from matterstack.storage.leases import acquire_lease
from matterstack.storage.read.events import event_rows
from matterstack.storage.schema import open_database
from tests.support.states import RUN_ID, task
from tests.support.stored import StoredRun, copy_as_of_before, dump

OTHER = RunId("20260101T000001-bbbbbb")


def run(connection: sqlite3.Connection, root: Root, run_id: RunId = RUN_ID) -> StoredRun:
    """A run with one task that has ended."""
    root.run_folder("demo", run_id).path.mkdir(parents=True)
    stored = StoredRun.create(connection, root, run_id)
    stored.tell(m.Start(), m.Planned(iteration=1, workflow=Workflow([task("a")])))
    stored.run.succeed("a")
    stored.commit()
    return stored


def computed(connection: sqlite3.Connection, run_id: RunId = RUN_ID) -> list[str]:
    """The hash of each event, from the lines alone, in the words of the documentation."""
    heads, head = [], ""
    for row in event_rows(connection, run_id):
        head = hashlib.sha256(head.encode() + row.line()).hexdigest()
        heads.append(head)
    return heads


def carried(connection: sqlite3.Connection, run_id: RunId = RUN_ID) -> list[str]:
    rows = connection.execute("SELECT previous FROM events WHERE run_id = ? ORDER BY seq", (run_id,))
    return [previous for (previous,) in rows]


def found(root: Root) -> list[tuple[str | None, int | None, str]]:
    return [(p.run_id, p.seq, p.rule) for p in check_store(root)]


def test_each_event_carries_the_hash_of_the_one_before_it_in_its_run(
    connection: sqlite3.Connection, root: Root
) -> None:
    run(connection, root)
    run(connection, root, OTHER)
    for run_id in (RUN_ID, OTHER):
        heads = computed(connection, run_id)
        assert carried(connection, run_id) == ["", *heads[:-1]]
        head = head_of(connection, run_id)
        assert head is not None
        assert (head.head, head.chained_to) == (heads[-1], 0)
        assert all(has_been_head(connection, run_id, one) for one in heads)
        assert not any(has_been_head(connection, run_id, one) for one in computed(connection, _not(run_id)))
    assert check_store(root) == []


def _not(run_id: RunId) -> RunId:
    return OTHER if run_id == RUN_ID else RUN_ID


def test_appends_of_one_commit_go_on_with_the_chain_of_their_own_run(
    connection: sqlite3.Connection, root: Root
) -> None:
    """Some of them are left out, and one run comes twice."""
    first, second = run(connection, root), run(connection, root, OTHER)
    appends = []
    for number in range(2):
        for stored in (first, second):
            stored.run.tell(m.Pause(by=f"ann {number}"), m.Resume(by=f"bea {number}"))
            appends.append(stored.append())
    assert second.lease is not None
    connection.execute("UPDATE runs SET lease_epoch = 99 WHERE run_id = ?", (OTHER,))
    outcomes = commit(connection, root.database, appends)
    assert [isinstance(outcome, MatterStackError) for outcome in outcomes] == [False, True, False, True]
    (last,) = connection.execute("SELECT max(seq) FROM events").fetchone()
    assert outcomes[2] == last
    for run_id in (RUN_ID, OTHER):
        assert carried(connection, run_id) == ["", *computed(connection, run_id)[:-1]]
    assert check_store(root) == []


def test_an_engine_that_takes_a_run_over_goes_on_with_its_chain(
    connection: sqlite3.Connection, root: Root
) -> None:
    first = run(connection, root)
    assert first.lease is not None
    first.lease.release(connection)
    with closing(open_database(root.database)) as other:
        lease = acquire_lease(other, root, RUN_ID)
        taken = StoredRun(other, root, first.run, lease, first.stored)
        taken.tell(m.Pause(by="ann"))
        assert lease is not None
        lease.release(other)
    first.lease = acquire_lease(connection, root, RUN_ID)
    first.stored = taken.stored
    first.tell(m.Resume(by="ann"))
    assert carried(connection) == ["", *computed(connection)[:-1]]
    assert check_store(root) == []


CHANGES: dict[str, tuple[str, int]] = {
    "what happened": ("UPDATE events SET data = json_set(data, '$.by', 'eve') WHERE seq = 1", 1),
    "when it happened": ("UPDATE events SET at = '2026-01-01T00:00:00.000001Z' WHERE seq = 2", 2),
    "the last one": ("UPDATE events SET at = '2026-02-01T00:00:00.000001Z' WHERE seq = {last}", -1),
    "what an event carries": ("UPDATE events SET previous = '{head}' WHERE seq = 4", 3),
    "what the first one carries": ("UPDATE events SET previous = '{head}' WHERE seq = 1", 1),
    "the head": ("UPDATE heads SET head = 'f'", -1),
    "the number of the head": ("UPDATE heads SET seq = 2", -1),
    "no head": ("DELETE FROM heads", -1),
}


@pytest.mark.parametrize("name", CHANGES)
def test_whatever_is_changed_of_a_chain_is_named_once(
    connection: sqlite3.Connection, root: Root, name: str
) -> None:
    run(connection, root)
    (last,) = connection.execute("SELECT max(seq) FROM events").fetchone()
    statement, blamed = CHANGES[name]
    statement = statement.format(last=last, head="0" * 64)
    assert connection.execute(statement).rowcount == 1
    assert found(root) == [(RUN_ID, last if blamed < 0 else blamed, "chain")]


def test_a_last_event_that_was_dropped_without_a_trace_elsewhere_is_named(
    connection: sqlite3.Connection, root: Root
) -> None:
    """With all that the store itself counts made to fit."""
    run(connection, root).tell(m.Pause(by="ann"))
    (last,) = connection.execute("SELECT max(seq) FROM events").fetchone()
    connection.execute("DELETE FROM events WHERE seq = ?", (last,))
    connection.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = 'events'", (last - 1,))
    connection.execute("UPDATE runs SET status = 'RUNNING', status_reason = ''")
    (problem,) = check_store(root)
    assert (problem.run_id, problem.seq, problem.rule) == (RUN_ID, last - 1, "chain")
    assert problem.problem == (
        f"its history ends with event {last - 1}, and the last one that was stored is event {last}"
    )


def unchained(root: Root, old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copy a store into one of the version before there were chains."""
    copy_as_of_before("heads", root.database, old, monkeypatch)


def test_the_events_of_an_older_store_are_chained_and_that_is_said(
    connection: sqlite3.Connection,
    root: Root,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    run(connection, root)
    run(connection, root, OTHER)
    monkeypatch.setattr("matterstack.storage.chaining._AT_ONCE", 2)
    old = Root(tmp_path / "old")
    unchained(root, old.database, monkeypatch)
    with caplog.at_level(logging.WARNING), closing(open_database(old.database)) as upgraded:
        assert [row for row in dump(upgraded) if row[0] == "events"] == [
            row for row in dump(connection) if row[0] == "events"
        ]
        for run_id in (RUN_ID, OTHER):
            now, then = head_of(upgraded, run_id), head_of(connection, run_id)
            assert then is not None
            assert now == Head(then.seq, then.head, chained_to=then.seq)
    (count,) = connection.execute("SELECT count(*) FROM events").fetchone()
    assert f"the {count} events of 2 runs that were there are chained from now on" in caplog.text
    caplog.clear()
    open_database(old.database).close()
    assert caplog.text == ""


def test_an_engine_of_before_there_were_chains_writes_nothing_more(
    connection: sqlite3.Connection, root: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has the store open while it is brought up to date: what it writes would be in no chain."""
    run(connection, root)
    old = Root(tmp_path / "old").database
    unchained(root, old, monkeypatch)
    with closing(sqlite3.connect(old)) as engine:
        open_database(old).close()
        with (
            pytest.raises(StoreError, match="a newer MatterStack has brought it up to date"),
            schema.translated_errors(old),
        ):
            engine.execute(
                "INSERT INTO events (run_id, at, type, data) SELECT run_id, at, type, data FROM events"
            )


def test_a_number_that_was_used_is_not_used_again_after_the_upgrade(
    connection: sqlite3.Connection, root: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Newest events that were gone before are still missing."""
    run(connection, root)
    old = Root(tmp_path / "old").database
    unchained(root, old, monkeypatch)
    with closing(sqlite3.connect(old, isolation_level=None)) as store:
        (last,) = store.execute("SELECT max(seq) FROM events").fetchone()
        store.execute("DELETE FROM events WHERE seq = ?", (last,))
    with closing(open_database(old)) as upgraded:
        assert upgraded.execute("SELECT name, seq FROM sqlite_sequence").fetchall() == [("events", last)]
        assert upgraded.execute("SELECT max(seq) FROM events").fetchone() == (last - 1,)
