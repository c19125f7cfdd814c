"""What is left of a deleted run, for those who read on, and what is done when files cannot go."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from matterstack.core.errors import RefusedError, StoreError
from matterstack.core.ids import RunId, UtcTime
from matterstack.core.model.workflow import Workflow
from matterstack.core.run import messages as m
from matterstack.core.run.facts import RunDeleted
from matterstack.monitor.batches import read_batch
from matterstack.storage import deletion
from matterstack.storage.check import check_store
from matterstack.storage.deletion import finish_all, unfinished
from matterstack.storage.layout import Root
from matterstack.storage.leases import acquire_lease, is_held
from matterstack.storage.read.events import event_lines, events_after, last_seq
from matterstack.usecases.deleting_runs import Candidate, delete, look_at
from matterstack.watch.known import Known
from tests.support.states import RUN_ID, task
from tests.support.stored import StoredRun, dump

OTHER = RunId("20260101T000001-bbbbbb")
THIRD = RunId("20260101T000002-cccccc")


def made(connection: sqlite3.Connection, root: Root, *run_ids: RunId) -> list[StoredRun]:
    """Runs that have ended, their events between each other's."""
    runs = []
    for run_id in run_ids:
        root.run_folder("demo", run_id).path.mkdir(parents=True)
        runs.append(StoredRun.create(connection, root, run_id))
    for run in runs:
        run.tell(m.Start(), m.Planned(iteration=1, workflow=Workflow([task("a")])))
    for run in runs:
        run.tell(m.Cancel(by="ann"), m.Settle())
        assert run.lease is not None
        run.lease.release(connection)
    return runs


def gone(connection: sqlite3.Connection, root: Root, run_id: RunId) -> RunDeleted:
    (candidate,) = look_at(connection, root, [run_id], with_evidence=False)
    assert isinstance(candidate, Candidate)
    (fact,) = delete(connection, root, [candidate], "ann", lambda: UtcTime("2026-01-02T00:00:00.000000Z"))
    return fact


def test_numbers_that_lie_between_those_of_others_are_named(
    connection: sqlite3.Connection, root: Root
) -> None:
    made(connection, root, RUN_ID, OTHER, THIRD)
    before = {
        run_id: [seq for seq, _ in event_lines(connection, 0, run_id)] for run_id in (RUN_ID, OTHER, THIRD)
    }
    fact = gone(connection, root, OTHER)
    assert fact.events == len(before[OTHER])
    assert "," in fact.numbers
    assert check_store(root) == []
    gone(connection, root, THIRD)
    gone(connection, root, RUN_ID)
    assert check_store(root) == []
    assert [event.seq for event in events_after(connection, 0)] == list(
        range(sum(map(len, before.values())) + 1, last_seq(connection) + 1)
    )


@pytest.mark.parametrize("with_rows", [False, True])
def test_streams_pass_over_what_is_gone(connection: sqlite3.Connection, root: Root, with_rows: bool) -> None:
    made(connection, root, RUN_ID, OTHER)
    kept = [seq for seq, _ in event_lines(connection, 0, RUN_ID)]
    gone(connection, root, OTHER)
    batch = read_batch(connection, 0, None, 500, with_rows=with_rows)
    assert [told.seq for told in batch] == [*kept, last_seq(connection)]
    assert [told.run for told in batch][-1] == OTHER
    assert not read_batch(connection, last_seq(connection), None, 500, with_rows=with_rows)
    if with_rows:
        assert batch.rows is not None
        assert [rows.run for rows in batch.rows] == [RUN_ID]


def test_who_watches_sees_the_run_go(connection: sqlite3.Connection, root: Root) -> None:
    made(connection, root, RUN_ID)
    known = Known.of({"seq": last_seq(connection), "jobs": {}, "runs": [{"run_id": RUN_ID}]})
    gone(connection, root, RUN_ID)
    ((seq, event),) = event_lines(connection, known.seq)
    known.take({"seq": seq, "events": [event], "rows": []})
    assert known.runs == {}
    assert known.changed == set()


def test_files_that_cannot_be_removed_are_told_and_go_the_next_time(
    connection: sqlite3.Connection, root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(connection, root, RUN_ID)
    folder = root.run_folder("demo", RUN_ID).path
    (folder / "file").write_text("x")

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(deletion, "_remove", refuse)
        with pytest.raises(StoreError, match="file: cannot be removed: Permission denied"):
            gone(connection, root, RUN_ID)
        (problem,) = finish_all(connection, root)
        assert "goes with the next" in problem
    assert [one.run_id for one in unfinished(connection)] == [RUN_ID]
    assert check_store(root) == []
    assert finish_all(connection, root) == []
    assert not folder.exists()
    assert unfinished(connection) == []


def test_what_a_link_points_to_stays(connection: sqlite3.Connection, root: Root, tmp_path: Path) -> None:
    made(connection, root, RUN_ID)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "kept").write_text("x")
    folder = root.run_folder("demo", RUN_ID).path
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    gone(connection, root, RUN_ID)
    assert (tmp_path / "elsewhere" / "kept").read_text() == "x"
    assert not folder.exists()


def test_of_runs_that_go_at_once_none_goes_when_one_is_served(
    connection: sqlite3.Connection, root: Root
) -> None:
    made(connection, root, RUN_ID, OTHER)
    candidates = look_at(connection, root, [RUN_ID, OTHER], with_evidence=False)
    lease = acquire_lease(connection, root, OTHER)
    assert lease is not None
    before = dump(connection)
    with pytest.raises(RefusedError, match=f"run {OTHER} is served by an engine"):
        delete(connection, root, candidates, "ann", lambda: UtcTime("2026-01-02T00:00:00.000000Z"))
    assert [row for row in dump(connection) if row[0] != "runs"] == [
        row for row in before if row[0] != "runs"
    ]
    assert root.run_folder("demo", RUN_ID).path.exists()
    assert not is_held(root, RUN_ID)
    lease.release(connection)
    delete(connection, root, candidates, "ann", lambda: UtcTime("2026-01-02T00:00:00.000000Z"))
    assert check_store(root) == []


def test_a_run_that_goes_on_between_the_question_and_the_answer_stays(
    connection: sqlite3.Connection, root: Root
) -> None:
    (run,) = made(connection, root, RUN_ID)
    candidates = look_at(connection, root, [RUN_ID], with_evidence=False)
    run.lease = acquire_lease(connection, root, RUN_ID)
    run.tell(m.AmendAbout(by="ann", about={"title": "new"}))
    assert run.lease is not None
    run.lease.release(connection)
    with pytest.raises(RefusedError, match="went on meanwhile"):
        delete(connection, root, candidates, "ann", lambda: UtcTime("2026-01-02T00:00:00.000000Z"))
    assert root.run_folder("demo", RUN_ID).path.exists()
    assert check_store(root) == []
