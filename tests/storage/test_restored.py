"""A store that was put back from a backup is told from one that is up to date, by what run.json knows."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from matterstack.core.ids import RunId, UtcTime
from matterstack.core.model.workflow import Workflow
from matterstack.core.run import messages as m
from matterstack.storage.check import check_store
from matterstack.storage.heads import head_of
from matterstack.storage.layout import Root, RunFolder
from matterstack.storage.restored import KnownHead, is_known, known_head
from tests.support.states import RUN_ID, task
from tests.support.stored import StoredRun

AT = UtcTime("2026-01-02T00:00:00.000000Z")
UNHEARD = "ab" * 32


def run(connection: sqlite3.Connection, root: Root) -> StoredRun:
    root.run_folder("demo", RUN_ID).path.mkdir(parents=True)
    stored = StoredRun.create(connection, root)
    stored.tell(m.Start(), m.Planned(iteration=1, workflow=Workflow([task("a")])))
    return stored


def write_summary(root: Root, head: str, run_id: RunId = RUN_ID) -> RunFolder:
    folder = root.run_folder("demo", run_id)
    folder.path.mkdir(parents=True, exist_ok=True)
    folder.summary_file.write_text(json.dumps({"run_id": run_id, "updated_at": AT, "head": head}))
    return folder


def head(connection: sqlite3.Connection) -> str:
    found = head_of(connection, RUN_ID)
    assert found is not None
    return found.head


def test_a_run_json_of_now_or_of_earlier_is_no_problem(connection: sqlite3.Connection, root: Root) -> None:
    stored = run(connection, root)
    folder = write_summary(root, head(connection))
    assert known_head(folder) == KnownHead(head(connection), AT)
    assert check_store(root) == []
    stored.tell(m.Pause(by="ann"))
    assert check_store(root) == []


def test_a_run_json_that_knows_more_than_the_store_is_a_problem_until_the_history_notes_it(
    connection: sqlite3.Connection, root: Root
) -> None:
    stored = run(connection, root)
    write_summary(root, UNHEARD)
    (problem,) = check_store(root)
    assert (problem.run_id, problem.seq, problem.rule) == (RUN_ID, None, "restored")
    assert problem.problem.startswith(f"its run.json knows of events until {AT} that the store does not have")
    assert "put the newer one back" in problem.problem
    stored.tell(m.Behind(head=UNHEARD, until=AT))
    assert is_known(connection, RUN_ID, UNHEARD)
    assert check_store(root) == []


def test_what_was_lost_of_a_run_that_has_ended_can_be_noted_too(
    connection: sqlite3.Connection, root: Root
) -> None:
    stored = run(connection, root)
    stored.tell(m.Cancel(by="ann"), m.Settle(), m.Behind(head=UNHEARD, until=AT))
    assert check_store(root) == []
    assert stored.loaded().has_ended


def test_a_folder_of_a_run_that_the_store_never_had_is_a_problem(
    connection: sqlite3.Connection, root: Root
) -> None:
    run(connection, root)
    other = RunId("20260301T000000-bbbbbb")
    folder = write_summary(root, UNHEARD, other)
    (problem,) = check_store(root)
    assert (problem.run_id, problem.rule) == (other, "restored")
    assert str(folder.path) in problem.problem


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "5",
        '{"head": 5}',
        '{"head": "ab"}',
        '{"run_id": "x", "updated_at": "2026"}',
        "[" * 100_000,
    ],
)
def test_a_run_json_that_names_no_head_says_nothing(
    connection: sqlite3.Connection, root: Root, text: str
) -> None:
    run(connection, root)
    folder = write_summary(root, UNHEARD)
    folder.summary_file.write_text(text)
    assert known_head(folder) is None
    assert check_store(root) == []


def test_a_link_in_the_place_of_run_json_is_not_followed(
    connection: sqlite3.Connection, root: Root, tmp_path: Path
) -> None:
    run(connection, root)
    folder = write_summary(root, UNHEARD)
    folder.summary_file.rename(tmp_path / "elsewhere")
    folder.summary_file.symlink_to(tmp_path / "elsewhere")
    assert known_head(folder) is None
