"""A store is what it promises to be, or the first fact that breaks the promise is named."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import attrs
import pytest

from matterstack.core.errors import DatabaseCorruptError
from matterstack.core.ids import JobId, RunId, TaskId, UtcTime, attempt_token
from matterstack.core.model.resources import Resources
from matterstack.core.model.workflow import Workflow
from matterstack.core.nonces import sha256_of_nonce
from matterstack.core.run import apply as applying
from matterstack.core.run import facts as f
from matterstack.core.run import messages as m
from matterstack.core.run.apply import Touched
from matterstack.core.run.facts import OutputFile
from matterstack.core.run.history_rules import Problem
from matterstack.core.run.state import RunState
from matterstack.core.states import JobState, TaskStatus
from matterstack.storage.check import check_store
from matterstack.storage.fact_codec import encode_fact
from matterstack.storage.layout import AttemptFolder, Root
from matterstack.storage.schema import open_database
from tests.support.states import LOCAL, RUN_ID, task
from tests.support.stored import StoredRun, chain_again

OTHER = RunId("20260101T000001-bbbbbb")


@attrs.frozen
class Place:
    """A store with the files of its runs, and ways to tamper with it: the chains fit again afterwards."""

    root: Root
    connection: sqlite3.Connection

    def run(self, run_id: RunId = RUN_ID, *tasks: Any, **overrides: Any) -> StoredRun:
        """A run with these tasks, or with a <- b, and c."""
        stored = StoredRun.create(self.connection, self.root, run_id, **overrides)
        self.root.run_folder("demo", run_id).path.mkdir(parents=True)
        planned = tasks or (task("a"), task("b", "a"), task("c"))
        stored.tell(m.Start(), m.Planned(iteration=1, workflow=Workflow(planned)))
        return stored

    def folder(self, task_id: str, n: int = 1) -> AttemptFolder:
        return self.root.run_folder("demo", RUN_ID).attempt(TaskId(task_id), n)

    def claim(self, task_id: str, by: str, n: int = 1) -> None:
        self.folder(task_id, n).claim.mkdir(parents=True)
        (self.folder(task_id, n).claim / "job_id").write_text(by)

    def sql(self, statement: str, *values: object) -> None:
        assert self.connection.execute(statement, values).rowcount > 0
        if "events" in statement:
            chain_again(self.connection)

    def insert(self, fact: f.Fact, run_id: str = RUN_ID, at: str = "2026-01-02T00:00:00.000000Z") -> int:
        """Put a fact behind all others; returns its number."""
        kind, data = encode_fact(fact)
        cursor = self.connection.execute(
            "INSERT INTO events (run_id, at, type, data, previous) VALUES (?, ?, ?, ?, '')",
            (run_id, at, kind, data),
        )
        chain_again(self.connection)
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def seq_of(self, kind: type[f.Fact], containing: str = "") -> int:
        """Number of the first fact of a kind."""
        row = self.connection.execute(
            "SELECT min(seq) FROM events WHERE type = ? AND instr(data, ?)", (kind.__name__, containing)
        ).fetchone()
        return int(row[0])

    def found(self) -> list[tuple[str, int | None]]:
        """Rule and number of each problem."""
        return [(p.rule, p.seq) for p in self.problems()]

    def problems(self) -> list[Problem]:
        return check_store(self.root)


@pytest.fixture
def place(root: Root, connection: sqlite3.Connection) -> Place:
    return Place(root, connection)


def work(stored: StoredRun, *steps: Callable[[StoredRun], object]) -> StoredRun:
    """Take steps, and store each one."""
    for step in steps:
        step(stored)
        stored.commit()
    return stored


def succeed(*task_ids: str) -> Callable[[StoredRun], object]:
    return lambda stored: stored.run.succeed(*task_ids)


def fail(*task_ids: str) -> Callable[[StoredRun], object]:
    return lambda stored: stored.run.fail(*task_ids)


def tell(*messages: m.Message) -> Callable[[StoredRun], object]:
    return lambda stored: stored.run.tell(*messages)


def activate(*task_ids: str) -> Callable[[StoredRun], object]:
    return lambda stored: stored.run.activate(*task_ids)


DONE = (
    succeed("a", "b", "c"),
    tell(m.Analyzed(iteration=1, state={"best": 1}), m.Planned(iteration=2, workflow=None)),
)
HEALTHY: dict[str, tuple[Callable[[StoredRun], object], ...]] = {
    "planned": (),
    "running": (activate("a", "c"),),
    "paused": (activate("a"), tell(m.Pause(by="ann"))),
    "resumed": (tell(m.Pause(by="ann")), tell(m.Resume(by="ann")), activate("a")),
    "completed": DONE,
    "failed": (fail("a"), succeed("c"), tell(m.Settle())),
    "retried": (
        fail("a"),
        succeed("c"),
        tell(m.Settle()),
        tell(m.Retry(by="ann")),
        succeed("a"),
        succeed("b"),
    ),
    "rerun": (
        *DONE,
        tell(m.Rerun(by="ann", tasks=[TaskId("a")], recursive=True)),
        succeed("a"),
        activate("b"),
    ),
    "amended": (
        fail("a"),
        succeed("c"),
        tell(m.Settle()),
        tell(m.AmendTasks(by="ann", tasks=[TaskId("a")], changes={"resources.walltime_s": 7200})),
        tell(m.Retry(by="ann", changes={"env.X": "é"})),
        succeed("a", "b"),
    ),
    "being cancelled": (activate("a"), tell(m.Cancel(by="ann"))),
    "cancelled": (tell(m.Cancel(by="ann"), m.Settle()),),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_store_is_proved_without_a_word(place: Place, name: str) -> None:
    work(place.run(), *HEALTHY[name])
    assert place.problems() == []


def test_a_store_with_all_kinds_of_runs_is_proved_after_each_of_them(place: Place) -> None:
    wide = {"backends": {"local": {"type": "local", "max_jobs": 100}}}
    for number, steps in enumerate(HEALTHY.values()):
        work(place.run(RunId(f"20260101T0000{number:02}-aaaaaa"), **wide), *steps)
        assert place.problems() == []


def test_an_empty_store_is_proved(place: Place) -> None:
    assert place.problems() == []


@pytest.mark.usefixtures("processes")
def test_a_store_whose_writer_was_killed_is_proved(place: Place) -> None:
    stored = StoredRun.create(place.connection, place.root)
    place.root.run_folder("demo", RUN_ID).path.mkdir(parents=True)
    assert stored.lease is not None
    stored.lease.release(place.connection)
    command = [sys.executable, "-m", "tests.support.writer", str(place.root.path), RUN_ID]
    for after in (7, 40):
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            for _ in range(after):
                writer.stdout.readline()
            writer.send_signal(signal.SIGKILL)
        assert place.problems() == []


# ---- the history ----


def test_an_event_that_is_gone_is_a_gap(place: Place) -> None:
    work(place.run(), activate("a"))
    seq = place.seq_of(f.RunStarted)
    place.sql("DELETE FROM events WHERE seq = ?", seq)
    assert ("gap", seq + 1) in place.found()


def test_newest_events_that_are_gone_are_a_gap_too(place: Place) -> None:
    stored = work(place.run(), activate("a"))
    stored.tell(m.Observed(token=stored.run.token("a"), state=JobState.RUNNING, reason="x"))
    (last,) = place.connection.execute("SELECT max(seq) FROM events").fetchone()
    place.sql("DELETE FROM events WHERE seq = ?", last)
    problem = place.problems()[0]
    assert (problem.rule, problem.seq, problem.run_id) == ("gap", None, None)
    assert problem.problem == (
        f"the newest events are missing: {last} were stored, and the last one there is {last - 1}"
    )


def test_events_in_another_order_are_named_by_the_first_one_that_cannot_be(place: Place) -> None:
    work(place.run(), activate("a"))
    prepared, accepted = place.seq_of(f.AttemptPrepared), place.seq_of(f.JobAccepted)
    for old, new in ((prepared, -1), (accepted, prepared), (-1, accepted)):
        place.sql("UPDATE events SET seq = ? WHERE seq = ?", new, old)
    assert place.found()[0] == ("fold", prepared)


def test_a_second_job_of_an_attempt_is_named(place: Place) -> None:
    stored = work(place.run(), activate("a"))
    again = f.JobAccepted(token=stored.run.token("a"), job_id=JobId("job-a"))
    seq = place.insert(again)
    assert place.found() == [("fold", seq)]


def test_a_second_end_of_an_attempt_is_named(place: Place) -> None:
    stored = work(place.run(), succeed("a"))
    seq = place.insert(f.JobEnded(token=stored.run.token("a"), state=JobState.COMPLETED_OK))
    assert place.found() == [("fold", seq)]


def _next_attempt(stored: StoredRun) -> f.AttemptPrepared:
    """An attempt of a task that is ready, which nobody decided."""
    ready = next(t for t, one in stored.run.state.tasks.items() if one.status is TaskStatus.READY)
    token = attempt_token(stored.run_id, ready, 1)
    return f.AttemptPrepared(task_id=ready, n=1, token=token, backend=LOCAL, resources=Resources())


def test_an_attempt_above_a_cap_is_named(place: Place) -> None:
    stored = place.run(max_hpc_jobs_per_run=1)
    stored.tell(m.Prepare(backend=LOCAL, seats=1))
    seq = place.insert(_next_attempt(stored))
    assert place.found()[0] == ("cap", seq)


def test_an_attempt_during_a_pause_is_named(place: Place) -> None:
    stored = work(place.run(), tell(m.Pause(by="ann")))
    seq = place.insert(_next_attempt(stored))
    assert place.found()[0] == ("paused", seq)


def test_an_attempt_after_a_cancel_is_named(place: Place) -> None:
    stored = place.run()
    stored.tell(m.Prepare(backend=LOCAL, seats=1), m.Cancel(by="ann"))
    seq = place.insert(_next_attempt(stored))
    assert place.found()[0] == ("ended", seq)


def test_an_end_of_the_run_before_that_of_its_jobs_is_named(place: Place) -> None:
    work(place.run(), activate("a"))
    seq = place.insert(f.RunFailed(reason="too soon"))
    assert place.found()[0] == ("live", seq)


def test_whatever_happens_to_a_cancelled_run_is_named(place: Place) -> None:
    work(place.run(), tell(m.Cancel(by="ann"), m.Settle()))
    seq = place.insert(f.RunReopened(by="x"))
    assert place.found()[0] == ("fold", seq)
    place.sql("UPDATE events SET type = 'RunPaused' WHERE seq = ?", seq)
    assert place.found()[0] == ("ended", seq)


def test_a_fact_of_a_newer_version_is_a_problem_and_the_other_runs_are_still_checked(place: Place) -> None:
    work(place.run(), activate("a"))
    other = work(place.run(OTHER), tell(m.Pause(by="ann")))
    seq = place.seq_of(f.RunStarted)
    place.sql("UPDATE events SET type = 'RunTeleported' WHERE seq = ?", seq)
    late = place.insert(_next_attempt(other), OTHER)
    first, second, *_ = place.problems()
    assert (first.run_id, first.seq, first.rule) == (RUN_ID, seq, "fold")
    assert "knows no fact 'RunTeleported'" in first.problem
    assert (second.run_id, second.seq, second.rule) == (OTHER, late, "paused")
    assert not [p for p in place.problems() if p.run_id == RUN_ID and p.seq != seq]


@pytest.mark.parametrize(
    "data",
    ["{", "5", "null", "[]", '{"by": 1, "also": 2}', "{}", '{"by": "x", "reason": "y", "new": 1}', "\x00"],
)
def test_a_fact_that_cannot_be_decoded_is_a_problem(place: Place, data: str) -> None:
    work(place.run(), tell(m.Pause(by="ann")))
    seq = place.seq_of(f.RunPaused)
    place.sql("UPDATE events SET data = ? WHERE seq = ?", data, seq)
    (problem,) = place.problems()
    assert (problem.run_id, problem.seq, problem.rule) == (RUN_ID, seq, "fold")
    assert problem.problem.startswith("it is no RunPaused as this version of MatterStack writes them: ")


def _amended_and_prepared(place: Place) -> None:
    """Task a has the second version of its definition, and an attempt of that."""
    changes = {"resources.walltime_s": 7200, "command": ["longer"]}
    amend = m.AmendTasks(by="ann", tasks=[TaskId("a")], changes=changes)
    work(place.run(), tell(amend), activate("a"))
    assert place.problems() == []


def test_an_attempt_of_an_older_definition_than_the_last_amendment_is_named(place: Place) -> None:
    _amended_and_prepared(place)
    seq = place.seq_of(f.AttemptPrepared)
    place.sql("UPDATE events SET data = json_set(data, '$.version', 1) WHERE seq = ?", seq)
    (problem, *_) = place.problems()
    assert (problem.rule, problem.seq) == ("amended", seq)
    assert "is of version 1 of its task, which was amended to version 2" in problem.problem


def test_an_attempt_that_asks_for_what_its_task_had_before_an_amendment_is_named(place: Place) -> None:
    _amended_and_prepared(place)
    seq = place.seq_of(f.AttemptPrepared)
    place.sql("UPDATE events SET data = json_set(data, '$.resources.walltime_s', 60) WHERE seq = ?", seq)
    assert place.found()[0] == ("amended", seq)


def test_an_amendment_that_came_after_the_attempt_it_should_be_of_is_named(place: Place) -> None:
    _amended_and_prepared(place)
    amended, prepared = place.seq_of(f.TaskAmended), place.seq_of(f.AttemptPrepared)
    for old, new in ((amended, -1), (prepared, amended), (-1, prepared)):
        place.sql("UPDATE events SET seq = ? WHERE seq = ?", new, old)
    assert place.found()[0] == ("amended", amended)


# ---- the snapshot ----


TAMPERED: dict[str, tuple[str, str]] = {
    "a run": ("UPDATE runs SET status = 'COMPLETED'", "the run: status is 'COMPLETED', but"),
    "a task": ("UPDATE tasks SET tries = 7 WHERE task_id = 'a'", "task a: tries is 7, but"),
    "an attempt": (
        "UPDATE attempts SET exit_code = 3 WHERE task_id = 'a'",
        "attempt 1 of task a: exit_code is 3",
    ),
    "a task that is gone": (
        "DELETE FROM tasks WHERE task_id = 'b'",
        "task b has no row, though the facts give one",
    ),
    "an attempt that is gone": ("DELETE FROM attempts WHERE task_id = 'a'", "attempt 1 of task a has no row"),
    "a task too many": (
        (
            "INSERT INTO tasks SELECT run_id, 'z', 9, 1, task, status, reason, 0, '', data, 'null', 1, NULL "
            "FROM tasks LIMIT 1"
        ),
        f"the row of task {RUN_ID} z follows from no fact",
    ),
    "a run that is gone": ("DELETE FROM runs", "the run has no row, though the facts give one"),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_a_row_that_the_facts_do_not_give_is_named(place: Place, name: str) -> None:
    work(place.run(), succeed("a"))
    (last,) = place.connection.execute("SELECT max(seq) FROM events").fetchone()
    statement, words = TAMPERED[name]
    place.sql(statement)
    (problem,) = place.problems()
    assert (problem.run_id, problem.seq, problem.rule) == (RUN_ID, last, "snapshot")
    assert problem.problem.startswith(words)


@pytest.mark.parametrize("table", ["runs", "tasks", "attempts"])
def test_rows_of_a_run_without_a_history_are_named(place: Place, table: str) -> None:
    work(place.run(), activate("a"))
    place.connection.execute("PRAGMA foreign_keys = OFF")
    columns = [row[1] for row in place.connection.execute(f"PRAGMA table_info({table})")]
    values = ", ".join(
        f"'{OTHER}'" if c == "run_id" else "'t-' || token" if c == "token" else c for c in columns
    )
    place.sql(f"INSERT INTO {table} SELECT {values} FROM {table} LIMIT 1")  # noqa: S608
    (problem,) = place.problems()
    assert (problem.run_id, problem.seq, problem.rule) == (OTHER, None, "snapshot")
    assert problem.problem == f"it has rows in {table}, but no history that gives them"


def test_of_long_values_only_the_difference_is_told(place: Place) -> None:
    state = {"x" * 300: 1, "y": "z" * 500}
    work(place.run(), succeed("a", "b", "c"), tell(m.Analyzed(iteration=1, state=state)))
    place.sql("UPDATE runs SET campaign_state = replace(campaign_state, ':1,', ':2,')")
    (problem,) = place.problems()
    assert problem.problem.startswith('the run: campaign_state is ...\'2,"y"')
    assert len(problem.problem) < 300


def test_a_row_that_was_wrong_for_a_while_is_named_by_where_it_is_seen(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of a history may hide that a fact's row was not written when it happened."""
    stored = work(place.run(), activate("a"))

    def forgetful(state: RunState, fact: f.JobStateChanged, at: UtcTime, _touched: Touched) -> None:
        right(state, fact, at, Touched())

    handlers = dict(applying._HANDLERS)
    right = handlers[f.JobStateChanged]
    stored.tell(m.Observed(token=stored.run.token("a"), state=JobState.RUNNING))
    stored.run.end("a")
    stored.commit()
    assert place.problems() == []
    monkeypatch.setattr(applying, "_HANDLERS", handlers | {f.JobStateChanged: forgetful})
    seq = place.seq_of(f.JobStateChanged)
    assert place.found() == [("snapshot", seq)]
    assert "attempt 1 of task a: state is 'QUEUED', but the facts up to" in place.problems()[0].problem
    assert check_store(place.root, samples=0) == [], "at the end all is well again"


def test_a_row_of_a_version_that_knew_fewer_fields_fits(place: Place) -> None:
    work(place.run(), activate("a"))
    place.sql("UPDATE tasks SET task = replace(task, ',\"qos\":null', '')")
    place.sql("UPDATE attempts SET resources = replace(resources, ',\"qos\":null', '')")
    assert place.problems() == []
    more = "replace(resources, '\"cpus\":1', '\"cpus\":2')"
    place.sql(f"UPDATE attempts SET resources = {more} WHERE task_id = 'a'")  # noqa: S608
    (problem,) = place.problems()
    assert problem.problem.startswith("attempt 1 of task a: resources is")


# ---- the files ----


def test_a_folder_that_another_job_claimed_is_named(place: Place) -> None:
    work(place.run(), activate("a", "c"))
    place.claim("a", by="job-a\n")
    place.claim("c", by="4711\n")
    (problem,) = place.problems()
    assert (problem.run_id, problem.seq, problem.rule) == (RUN_ID, None, "claim")
    assert problem.problem == "attempt 1 of task c has job job-c, but its folder was claimed by job '4711'"


def test_a_job_that_works_for_an_attempt_which_ended_without_one_is_named(place: Place) -> None:
    stored = place.run()
    stored.tell(m.Prepare(backend=LOCAL, seats=2))
    place.claim("a", by="12")
    assert place.problems() == [], "a live one may be about to be adopted"
    stored.tell(m.Refused(token=stored.run.token("a"), reason="no such partition"))
    (problem,) = place.problems()
    assert (
        problem.problem == "attempt 1 of task a ended without a job, but its folder was claimed by job '12'"
    )


def test_a_claim_that_does_not_bear_the_nonce_of_its_attempt_is_named(place: Place) -> None:
    stored = place.run()
    stored.tell(m.Prepare(backend=LOCAL, seats=1, nonce_sha256=lambda _: sha256_of_nonce("n")))
    stored.tell(m.Accepted(token=stored.run.token("a"), job_id=JobId("12")))
    place.claim("a", by="12 n\n")
    assert place.problems() == []
    (place.folder("a").claim / "job_id").write_text("12\n")
    (problem,) = place.problems()
    assert problem.rule == "claim"
    assert "in a claim that does not bear the nonce of the attempt" in problem.problem


def test_what_else_is_in_the_place_of_a_claim_says_nothing(place: Place) -> None:
    work(place.run(), activate("a", "c"))
    place.claim("a", by="")
    place.folder("c").claim.mkdir(parents=True)
    os.mkfifo(place.folder("c").claim / "job_id")
    assert place.problems() == []


def _given(place: Place, **changes: Any) -> None:
    """Write the manifest that the job of task a was given."""
    row = place.connection.execute("SELECT resources FROM attempts WHERE task_id = 'a'").fetchone()
    manifest = {
        "command": ["longer"],
        "env": {"MATTERSTACK_TASK_ID": "a"},
        "params": {},
        "outputs": [],
        "resources": json.loads(row[0]),
        **changes,
    }
    place.folder("a").path.mkdir(parents=True, exist_ok=True)
    place.folder("a").manifest.write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"command": ["true"]}, "command ['true'], and its definition says ['longer']"),
        ({"env": {"A": "b"}}, "env {'A': 'b'}, and its definition says {}"),
        ({"params": {"n": 1}}, "params {'n': 1}, and its definition says {}"),
        ({"resources": {"walltime_s": 60}}, "walltime_s': 60}, and its definition says {'walltime_s': 7200}"),
    ],
)
def test_a_job_that_was_given_what_its_task_was_before_an_amendment_is_named(
    place: Place, changes: dict[str, Any], words: str
) -> None:
    _amended_and_prepared(place)
    _given(place)
    assert place.problems() == []
    _given(place, **changes)
    (problem,) = place.problems()
    assert (problem.run_id, problem.seq, problem.rule) == (RUN_ID, None, "given")
    assert problem.problem.startswith("attempt 1 of task a was given ")
    assert words in problem.problem


@pytest.mark.parametrize("text", ["", "[1]", "{", "[" * 100_000, '{"command": ["longer"]'])
def test_a_manifest_that_a_job_has_written_over_says_nothing(place: Place, text: str) -> None:
    _amended_and_prepared(place)
    place.folder("a").path.mkdir(parents=True)
    place.folder("a").manifest.write_text(text)
    assert place.problems() == []


def _with_output(place: Place, content: bytes) -> Path:
    stored = work(place.run(), activate("a"), lambda s: s.run.end("a"))
    path = place.folder("a").path / "out" / "energy.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    output = OutputFile(path="out/energy.json", size_bytes=3, sha256="0" * 64)
    stored.tell(m.Collected(token=stored.run.token("a"), outputs=(output,)))
    return path


def test_an_output_that_is_missing_or_has_another_size_is_named(place: Place) -> None:
    path = _with_output(place, b"123")
    assert place.problems() == []
    for change, words in (
        (lambda: path.write_bytes(b"1234"), " has 4 bytes, not 3"),
        (path.unlink, ": No such file or directory"),
        (lambda: path.symlink_to("123"), " is no regular file any more"),
    ):
        change()
        (problem,) = place.problems()
        assert (problem.run_id, problem.seq, problem.rule) == (RUN_ID, None, "files")
        assert problem.problem == f"task a: output out/energy.json{words}"


def test_outputs_of_a_task_that_failed_in_the_end_are_looked_for_too(place: Place) -> None:
    stored = work(place.run(), activate("a"), lambda s: s.run.end("a", JobState.COMPLETED_ERROR))
    place.folder("a").path.mkdir(parents=True)
    output = OutputFile(path="log.txt", size_bytes=1, sha256="0" * 64)
    stored.tell(m.Collected(token=stored.run.token("a"), outputs=(output,)))
    assert place.found() == [("files", None)]


def test_a_run_folder_that_is_gone_is_one_problem(place: Place) -> None:
    _with_output(place, b"123")
    folder = place.root.run_folder("demo", RUN_ID).path
    folder.rename(folder.with_name("elsewhere"))
    (problem,) = place.problems()
    assert problem.problem == f"the run's folder {folder} is not there"


# ---- the database ----


def _closed(place: Place) -> bytearray:
    """The database's bytes, all in one file."""
    place.run(RUN_ID, *(task(f"t{n}") for n in range(60))).tell(m.Prepare(backend=LOCAL, seats=2))
    place.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    place.connection.close()
    return bytearray(place.root.database.read_bytes())


def test_a_row_that_an_index_does_not_know_is_a_problem_of_the_database(place: Place) -> None:
    work(place.run(), activate("a"))
    place.connection.execute("PRAGMA writable_schema = ON")
    place.connection.execute(
        "UPDATE sqlite_schema SET sql = replace(sql, 'status)', 'reason)') WHERE type = 'index'"
    )
    place.connection.close()
    assert ("database", None) in {(p.rule, p.seq) for p in check_store(place.root)}


def test_a_database_with_overwritten_pages_says_which_tables_are_not_whole(place: Place) -> None:
    data = _closed(place)
    named: set[str] = set()
    unreadable = 0
    for page in range(1, len(data) // 4096):
        broken = data[:]
        broken[page * 4096 : (page + 1) * 4096] = b"\xff" * 4096
        place.root.database.write_bytes(broken)
        try:
            problems = check_store(place.root)
        except DatabaseCorruptError:  # the list of the tables itself, which takes more than a page
            unreadable += 1
            continue
        assert problems, page
        assert {p.rule for p in problems} == {"database"}
        named |= {p.problem.partition(":")[0] for p in problems[1:]}
    assert named >= {"table attempts", "table commands", "table events", "table runs", "table tasks"}
    assert unreadable <= 4


@pytest.mark.parametrize("keep", [0.95, 0.5, 0.1])
def test_a_truncated_database_is_corrupt(place: Place, keep: float) -> None:
    data = _closed(place)
    place.root.database.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(DatabaseCorruptError, match="is no intact database"):
        check_store(place.root)


def test_a_database_that_was_emptied_is_corrupt_and_its_log_is_kept(place: Place) -> None:
    work(place.run(), activate("a"))
    log = place.root.database.with_name("state.db-wal")
    assert log.stat().st_size > 0
    before = log.read_bytes()
    copy = Root(place.root.path.with_name("copy"))
    copy.locks.mkdir(parents=True)
    copy.database.touch()
    (copy.private / "state.db-wal").write_bytes(before)
    open_database(copy.database).close()  # nothing was ever served here: this is a new store

    copy.database.unlink()
    copy.database.touch()
    (copy.private / "state.db-wal").write_bytes(before)
    (copy.locks / f"{RUN_ID}.lock").touch()
    with pytest.raises(DatabaseCorruptError, match="it is empty, though runs were served here"):
        open_database(copy.database)
    assert (copy.private / "state.db-wal").read_bytes() == before


def test_the_files_are_looked_at_without_keeping_a_writer_out(
    root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a rollback journal, a reader that takes its time keeps the engine from committing."""
    with closing(open_database(root.database, file_system="nfs")) as connection:
        place = Place(root, connection)
        stored = place.run()
        wrote: list[int] = []

        def slow(*_arguments: object) -> list[Problem]:
            wrote.append(len(stored.tell(m.Pause(by="ann"))))
            return []

        monkeypatch.setattr(
            "matterstack.storage.check.open_database", lambda path: open_database(path, file_system="nfs")
        )
        monkeypatch.setattr("matterstack.storage.check._check_files", slow)
        connection.execute("PRAGMA busy_timeout = 0")
        assert check_store(root) == []
    assert wrote == [1]
