"""Appends: together or not at all, fenced by leases, within caps, numbered without gaps."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import attrs
import pytest

from matterstack.core.errors import CapReachedError, LeaseLostError, NotFoundError, StoreError
from matterstack.core.ids import RunId, TaskId
from matterstack.core.model.workflow import Workflow
from matterstack.core.run import messages as m
from matterstack.core.states import RunStatus
from matterstack.storage.commands import command_outcome, insert_command, open_commands
from matterstack.storage.journal import Append, commit
from matterstack.storage.layout import Root
from matterstack.storage.leases import acquire_lease
from matterstack.storage.read.events import events_after, facts_of
from matterstack.storage.schema import open_database
from tests.support.states import CLUSTER, LOCAL, config, kinds, task
from tests.support.stored import StoredRun, assert_snapshot_is_fold, dump

FIRST = RunId("20260101T000001-aaaaaa")
SECOND = RunId("20260101T000002-bbbbbb")


@pytest.fixture
def other(root: Root, connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """A second connection, as another process has."""
    del connection  # it made the store
    with closing(open_database(root.database)) as second:
        yield second


def busy(connection: sqlite3.Connection, root: Root, run_id: RunId = FIRST, **overrides: Any) -> StoredRun:
    """A run with six ready tasks on each backend, at most 4 jobs on ``local``."""
    stored = StoredRun.create(connection, root, run_id, **overrides)
    tasks = [task(f"{b}{n}", backend=b) for b in ("local", "cluster") for n in range(6)]
    stored.tell(m.Start(), m.Planned(iteration=1, workflow=Workflow(tasks)))
    return stored


def test_an_append_stores_its_facts_with_the_rows_that_they_change(
    connection: sqlite3.Connection, root: Root
) -> None:
    stored = busy(connection, root)
    stored.tell(m.Prepare(backend=LOCAL, seats=2))
    facts = [event.fact for event in facts_of(connection, FIRST)]
    assert facts == [fact for _, fact in stored.run.facts]
    assert len(assert_snapshot_is_fold(connection, FIRST).live) == 2


def test_sequence_numbers_have_no_gap_over_all_runs_also_after_a_refusal_and_a_failure(
    connection: sqlite3.Connection, root: Root
) -> None:
    first, second = busy(connection, root), busy(connection, root, SECOND)
    first.run.tell(m.Pause(by="ann"))
    foreign = attrs.evolve(first.append(), epoch=99)
    assert isinstance(commit(connection, root.database, [foreign])[0], LeaseLostError)
    second.run.tell(m.Pause(by="ann"))
    broken = attrs.evolve(second.append(), run=("too", "few"))
    with pytest.raises(StoreError):
        commit(connection, root.database, [broken])
    second.run.tell(m.Resume(by="ann"))
    assert second.commit() == len(events_after(connection, 0))
    assert [event.seq for event in events_after(connection, 0)] == list(range(1, second.commit() + 1))


def test_an_append_returns_the_last_sequence_number(connection: sqlite3.Connection, root: Root) -> None:
    stored = StoredRun.create(connection, root)
    for expected in (2, 3, 4):
        stored.run.tell(
            m.Start() if expected == 2 else m.Pause(by="a") if expected == 3 else m.Resume(by="a")
        )
        assert stored.commit() == expected


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param({"run": ("too", "few")}, id="the run's row"),
        pytest.param({"attempts": [("too", "few")]}, id="an attempt's row"),
        pytest.param({"outcomes": {"c1": {"x": float("nan")}}}, id="an outcome that is no JSON"),
    ],
)
def test_a_failure_in_the_middle_leaves_nothing_of_the_whole_group(
    connection: sqlite3.Connection, root: Root, broken: dict[str, Any]
) -> None:
    first, second = busy(connection, root), busy(connection, root, SECOND)
    insert_command(connection, SECOND, m.Pause(by="ann"), second.run.now, "c1")
    before = dump(connection)
    first.run.tell(m.Prepare(backend=LOCAL, seats=1))
    second.run.tell(m.Prepare(backend=LOCAL, seats=1))
    group = [first.append(), attrs.evolve(second.append(), **broken)]
    with pytest.raises((StoreError, ValueError)):
        commit(connection, root.database, group)
    assert dump(connection) == before
    assert not connection.in_transaction


def test_an_append_that_is_refused_leaves_the_others_of_its_group_in(
    connection: sqlite3.Connection, root: Root
) -> None:
    first, second = busy(connection, root), busy(connection, root, SECOND)
    first.run.tell(m.Pause(by="ann"))
    second.run.tell(m.Pause(by="bob"))
    unknown = Append(run_id=RunId("20260101T000000-zzzzzz"), epoch=1, facts=second.run.facts[-1:])
    group = [attrs.evolve(first.append(), epoch=7), unknown, second.append()]
    lost, missing, stored = commit(connection, root.database, group)
    assert isinstance(lost, LeaseLostError)
    assert isinstance(missing, NotFoundError)
    assert isinstance(stored, int)
    assert assert_snapshot_is_fold(connection, FIRST).status is RunStatus.RUNNING
    assert assert_snapshot_is_fold(connection, SECOND).status is RunStatus.PAUSED


def test_a_holder_that_lost_its_lease_writes_nothing_any_more(
    connection: sqlite3.Connection, other: sqlite3.Connection, root: Root
) -> None:
    stored = busy(connection, root)
    assert stored.lease is not None
    stored.lease.release(connection)
    newer = acquire_lease(other, root, FIRST)
    assert newer is not None
    before = dump(connection)
    stored.run.tell(m.Prepare(backend=LOCAL, seats=1))
    with pytest.raises(LeaseLostError, match="taken over by another engine"):
        stored.commit()
    assert dump(connection) == before
    newer.release(other)


# ---- caps ----


def test_the_cap_of_a_backend_holds_over_connections(
    connection: sqlite3.Connection, other: sqlite3.Connection, root: Root
) -> None:
    first, second = busy(connection, root), busy(other, root, SECOND)
    first.tell(m.Prepare(backend=LOCAL, seats=3))
    second.run.tell(m.Prepare(backend=LOCAL, seats=2))
    with pytest.raises(CapReachedError) as refused:
        second.commit()
    assert (refused.value.backend, refused.value.cap, refused.value.live) == ("local", 4, 3)
    assert not assert_snapshot_is_fold(connection, SECOND).live

    second.run.state = second.loaded()
    second.tell(m.Prepare(backend=LOCAL, seats=1))
    assert live_jobs(connection) == 4


def test_seats_are_counted_within_a_group_too(connection: sqlite3.Connection, root: Root) -> None:
    first, second = busy(connection, root), busy(connection, root, SECOND)
    first.run.tell(m.Prepare(backend=LOCAL, seats=3))
    second.run.tell(m.Prepare(backend=LOCAL, seats=2))
    stored, refused = commit(connection, root.database, [first.append(), second.append()])
    assert isinstance(stored, int)
    assert isinstance(refused, CapReachedError)
    assert live_jobs(connection) == 3


def test_a_seat_is_free_for_others_when_its_attempt_has_ended(
    connection: sqlite3.Connection, other: sqlite3.Connection, root: Root
) -> None:
    first, second = busy(connection, root), busy(other, root, SECOND)
    first.tell(m.Prepare(backend=LOCAL, seats=4))
    first.tell(m.Refused(token=first.run.token("local0"), reason="no"))
    assert kinds(second.tell(m.Prepare(backend=LOCAL, seats=1))) == ["AttemptPrepared"]
    assert live_jobs(connection) == 4


def test_backends_have_seats_of_their_own(connection: sqlite3.Connection, root: Root) -> None:
    stored = busy(connection, root)
    stored.tell(m.Prepare(backend=LOCAL, seats=4), m.Prepare(backend=CLUSTER, seats=6))
    assert len(stored.loaded().live) == 10


def test_a_cap_that_was_lowered_ends_no_job_and_admits_no_other(
    connection: sqlite3.Connection, root: Root
) -> None:
    first = busy(connection, root)
    first.tell(m.Prepare(backend=LOCAL, seats=3))
    lower = {"local": {"type": "local", "max_jobs": 2}}
    second = busy(connection, root, SECOND, backends={**config()["backends"], **lower})
    second.run.tell(m.Prepare(backend=LOCAL, seats=1))
    with pytest.raises(CapReachedError):
        second.commit()
    assert live_jobs(connection) == 3


def test_what_prepares_nothing_is_stored_while_the_backend_is_full(
    connection: sqlite3.Connection, root: Root
) -> None:
    stored = busy(connection, root)
    stored.tell(m.Prepare(backend=LOCAL, seats=4))
    stored.tell(m.Pause(by="ann"))
    assert stored.loaded().status is RunStatus.PAUSED


def live_jobs(connection: sqlite3.Connection) -> int:
    (count,) = connection.execute(
        "SELECT count(*) FROM attempts WHERE backend = 'local' AND ended_at IS NULL"
    ).fetchone()
    return int(count)


# ---- commands ----


def test_an_outcome_is_stored_with_the_facts_and_only_once(
    connection: sqlite3.Connection, root: Root
) -> None:
    stored = StoredRun.create(connection, root)
    stored.tell(m.Start())
    insert_command(connection, stored.run_id, m.Pause(by="ann", reason="x"), stored.run.now, "c1")
    (command,) = open_commands(connection, stored.run_id)
    assert command.command == m.Pause(by="ann", reason="x")
    assert command_outcome(connection, "c1") is None
    stored.run.tell(command.command)
    stored.commit({"c1": {"ok": True}})
    stored.commit({"c1": {"ok": False}})
    assert command_outcome(connection, "c1") == {"ok": True}
    assert open_commands(connection) == []


def test_a_refused_append_answers_no_command(connection: sqlite3.Connection, root: Root) -> None:
    stored = StoredRun.create(connection, root)
    insert_command(connection, stored.run_id, m.Cancel(by="ann"), stored.run.now, "c1")
    append = attrs.evolve(stored.append({"c1": {"ok": True}}), epoch=9)
    commit(connection, root.database, [append])
    assert command_outcome(connection, "c1") is None


@pytest.mark.parametrize(
    "request_",
    [
        m.Pause(by="Å", reason="r"),
        m.Resume(by="b"),
        m.Cancel(by="c", reason="why"),
        m.Retry(by="d", tasks=(TaskId("a"),)),
    ],
)
def test_a_command_comes_back_as_it_was_asked(
    connection: sqlite3.Connection, root: Root, request_: Any
) -> None:
    stored = StoredRun.create(connection, root)
    made = insert_command(connection, stored.run_id, request_, stored.run.now)
    (command,) = open_commands(connection)
    assert (command.id, command.run_id) == (made.id, stored.run_id)
    assert command.command == request_
    assert type(command.command) is type(request_)


def test_the_same_command_id_twice_is_one_command(connection: sqlite3.Connection, root: Root) -> None:
    stored = StoredRun.create(connection, root)
    for _ in range(2):
        insert_command(connection, stored.run_id, m.Pause(by="ann"), stored.run.now, "once")
    assert [command.id for command in open_commands(connection)] == ["once"]


def test_commands_of_one_moment_keep_their_order(connection: sqlite3.Connection, root: Root) -> None:
    stored = StoredRun.create(connection, root)
    names = ["z", "m", "a", "q"]
    for name in names:
        insert_command(connection, stored.run_id, m.Resume(by=name), stored.run.now, name)
    assert [command.id for command in open_commands(connection)] == names
    assert [command.id for command in open_commands(connection, stored.run_id)] == names


def test_commands_of_other_runs_are_left_alone(connection: sqlite3.Connection, root: Root) -> None:
    first, second = StoredRun.create(connection, root, FIRST), StoredRun.create(connection, root, SECOND)
    insert_command(connection, first.run_id, m.Resume(by="a"), first.run.now, "one")
    insert_command(connection, second.run_id, m.Resume(by="a"), second.run.now, "two")
    assert [command.id for command in open_commands(connection, SECOND)] == ["two"]
    assert command_outcome(connection, "three") is None


# ---- a full or locked disk ----


def test_a_full_disk_is_a_store_error_and_leaves_the_store_as_it_was(
    connection: sqlite3.Connection, root: Root
) -> None:
    stored = busy(connection, root)
    before = dump(connection)
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    big = Workflow([task(f"big{n}", params={"text": "x" * 5000}) for n in range(20)])
    stored.run.succeed(*(f"local{n}" for n in range(6)), *(f"cluster{n}" for n in range(6)))
    stored.run.tell(m.Analyzed(iteration=1, state={}), m.Planned(iteration=2, workflow=big))
    whole = attrs.evolve(stored.append(), seats={})
    with pytest.raises(StoreError, match=r"state\.db: the disk is full") as full:
        commit(connection, root.database, [whole])
    assert "nothing is lost" in full.value.hint
    assert full.value.exit_code == 5
    assert dump(connection) == before
    connection.execute("PRAGMA max_page_count = 1073741823")
    assert isinstance(commit(connection, root.database, [whole])[0], int), "with room it goes in"
    assert_snapshot_is_fold(connection, FIRST)


def test_a_store_that_another_process_keeps_locked_is_a_store_error(
    connection: sqlite3.Connection, other: sqlite3.Connection, root: Root
) -> None:
    stored = StoredRun.create(connection, root)
    other.execute("BEGIN IMMEDIATE")
    connection.execute("PRAGMA busy_timeout = 1")
    stored.run.tell(m.Start())
    with pytest.raises(StoreError, match="another process kept it locked"):
        stored.commit()
    other.execute("ROLLBACK")
