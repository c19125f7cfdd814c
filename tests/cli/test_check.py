"""``matterstack check``: silent on what is right, and what is wrong in words, rows and exit codes."""

from __future__ import annotations

import json
import signal
import sqlite3
from contextlib import closing
from itertools import cycle
from pathlib import Path

import attrs
import pytest

from tests.support.campaigns import Diary, write_tasks
from tests.support.command import PATIENCE_S, CommandLine
from tests.support.polling import wait_until
from tests.support.stored import chain_again

NOBODY = "20260101T000000-aaaaaa"
FITS = "everything fits: history, snapshots and files\n"


@attrs.frozen
class Tamperer:
    """Changes a store as nothing in the project does."""

    command_line: CommandLine

    @property
    def database(self) -> Path:
        return self.command_line.root / ".matterstack" / "state.db"

    def sql(self, statement: str, *values: object) -> None:
        with closing(sqlite3.connect(self.database, isolation_level=None)) as connection:
            assert connection.execute(statement, values).rowcount > 0

    def query(self, statement: str, *values: object) -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(self.database)) as connection:
            return connection.execute(statement, values).fetchall()

    def chain_again(self) -> None:
        """Let the chains fit the events that are there, and the folders of the runs too."""
        with closing(sqlite3.connect(self.database, isolation_level=None)) as connection:
            chain_again(connection)
        for run_id, head in self.query("SELECT run_id, head FROM heads"):
            summary = self.command_line.run_folder("w", str(run_id)) / "run.json"
            summary.write_text(json.dumps(json.loads(summary.read_text()) | {"head": head}))


@pytest.fixture
def store(command_line: CommandLine) -> Tamperer:
    return Tamperer(command_line)


def done_run(command_line: CommandLine, diary: Diary) -> str:
    """A run of two tasks that is COMPLETED."""
    task = diary.task("a", "echo 1 > energy.txt", outputs=["energy.txt"])
    write_tasks(command_line.root, "w", [task, diary.task("b", depends_on=["a"])])
    run_id = command_line.new_run("w")
    command_line.ok("run", "loop", "--until-done", run_id)
    return run_id


def test_a_root_without_a_store_and_one_with_finished_runs_fit(
    command_line: CommandLine, diary: Diary
) -> None:
    assert command_line.ok("check") == FITS
    done_run(command_line, diary)
    assert command_line.ok("check") == FITS
    assert command_line.json("check") == {"ok": True, "problems": []}


def test_a_store_fits_while_an_engine_uses_it_and_after_the_engine_was_killed(
    command_line: CommandLine, diary: Diary
) -> None:
    tasks = [diary.task(f"t{i}", diary.gate() if i > 3 else ":") for i in range(8)]
    write_tasks(command_line.root, "w", tasks, max_jobs=3)
    runs = [command_line.new_run("w") for _ in range(2)]
    engine = command_line.start("run", "loop", *runs)
    wait_until(lambda: len(diary.ended()) >= 4, PATIENCE_S)
    assert command_line.ok("check") == FITS
    engine.signal(signal.SIGKILL)
    engine.wait()
    assert command_line.ok("check") == FITS


def test_problems_are_listed_and_the_exit_code_is_1(
    command_line: CommandLine, diary: Diary, store: Tamperer
) -> None:
    command_line.check_at_end = False
    run_id = done_run(command_line, diary)
    ((seq,),) = store.query("SELECT seq FROM events WHERE type = 'JobEnded' ORDER BY seq LIMIT 1")
    store.sql("DELETE FROM events WHERE seq = ?", seq)

    done = command_line.run("check", "--json")

    assert done.exit_code == 1
    assert set(done.json) == {"ok", "problems"}
    assert done.json["ok"] is False
    assert all(set(problem) == {"run_id", "seq", "rule", "problem"} for problem in done.json["problems"])
    assert isinstance(seq, int)
    found = [(p["run_id"], p["seq"], p["rule"]) for p in done.json["problems"]]
    assert found[:2] == [(None, seq + 1, "gap"), (run_id, seq + 1, "live")]
    people = command_line.run("check")
    assert people.exit_code == 1
    assert people.stderr == ""
    for word in ("run", "event", "rule", "problem", run_id, "gap", f"number {seq} is missing"):
        assert word in people.stdout


def test_files_that_are_gone_or_claimed_by_another_job_are_problems(
    command_line: CommandLine, diary: Diary
) -> None:
    command_line.check_at_end = False
    run_id = done_run(command_line, diary)
    attempt = command_line.run_folder("w", run_id) / "tasks" / "a" / "1"
    (attempt / "energy.txt").unlink()
    (attempt / "claim" / "job_id").write_text("4711\n")

    problems = command_line.run("check", "--json").json["problems"]

    assert [(p["run_id"], p["seq"], p["rule"]) for p in problems] == [
        (run_id, None, "claim"),
        (run_id, None, "files"),
    ]


def test_a_fact_of_a_newer_version_is_a_problem_and_no_crash(
    command_line: CommandLine, diary: Diary, store: Tamperer
) -> None:
    command_line.check_at_end = False
    run_id = done_run(command_line, diary)
    store.sql("UPDATE events SET type = 'RunTeleported' WHERE seq = 2")
    store.chain_again()

    done = command_line.run("check", "--json")

    assert done.exit_code == 1
    (problem,) = done.json["problems"]
    assert (problem["run_id"], problem["seq"], problem["rule"]) == (run_id, 2, "fold")


def broken(data: bytearray) -> dict[str, bytes]:
    """What may become of a database file."""
    overwritten = data[:]
    overwritten[4096:] = b"\xff" * (len(data) - 4096)
    return {
        "truncated": bytes(data[: len(data) // 2]),
        "cut within a page": bytes(data[:5000]),
        "cut within its head": bytes(data[:50]),
        "emptied": b"",
        "overwritten": bytes(overwritten),
        "no database": b"this is no database\n" * 300,
    }


def test_a_broken_database_is_a_problem_and_all_else_is_refused_with_how_to_restore_it(
    command_line: CommandLine, diary: Diary, store: Tamperer
) -> None:
    run_id = done_run(command_line, diary)
    with closing(sqlite3.connect(store.database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    intact = store.database.read_bytes()
    commands = (["run", "list"], ["run", "loop", run_id], ["run", "retry", run_id], ["run", "init", "w"])
    turns = cycle((commands[:2], commands[2:]))
    for name, content in broken(bytearray(intact)).items():
        store.database.write_bytes(content)

        done = command_line.run("check", "--json")
        assert done.exit_code == 1, name
        assert {p["rule"] for p in done.json["problems"]} == {"database"}, name
        assert all(p["problem"] for p in done.json["problems"])
        # To find it out is the same for all commands: each meets half of the broken files.
        for words in next(turns):
            refused = command_line.run(*words, "--json")
            assert (refused.exit_code, refused.error["code"]) == (5, "database_corrupt"), (name, words)
            assert refused.error["message"].startswith(f"{store.database}: is no intact database ("), name
            assert "put back a copy" in refused.error["hint"]
        assert store.database.read_bytes() == content, name

    store.database.write_bytes(intact)
    assert command_line.ok("check") == FITS


@pytest.mark.parametrize(
    ("statement", "command"),
    [
        ("UPDATE tasks SET task = '{' WHERE task_id = 'b'", "loop"),
        ("UPDATE runs SET config = '{' ", "loop"),
        ("UPDATE attempts SET resources = '[]'", "loop"),
        ("UPDATE tasks SET status = 'READx' WHERE task_id = 'b'", "status"),
        ("UPDATE attempts SET resources = '{'", "tasks"),
    ],
)
def test_a_row_that_holds_nonsense_is_a_broken_database_too(
    command_line: CommandLine, diary: Diary, store: Tamperer, statement: str, command: str
) -> None:
    command_line.check_at_end = False
    write_tasks(command_line.root, "w", [diary.task("a"), diary.task("b", diary.gate())], max_jobs=1)
    run_id = command_line.new_run("w")
    engine = command_line.start("run", "loop", run_id)
    wait_until(lambda: "start b" in diary.notes, PATIENCE_S)
    engine.kill()
    store.sql(statement)

    done = command_line.run("run", command, run_id, "--json")

    assert (done.exit_code, done.error["code"]) == (5, "database_corrupt")
    assert "cannot be read from its rows" in done.error["message"]
    assert command_line.run("check").exit_code == 1


# ---- leases ----


def write_holder(store: Tamperer, run_id: str) -> None:
    """As another machine would have done it, or one that died."""
    store.sql(
        "UPDATE runs SET lease_host = 'login2', lease_boot_id = 'another', lease_pid = 4711, "
        "lease_epoch = lease_epoch + 1 WHERE run_id = ?",
        run_id,
    )


def test_a_run_of_a_dead_machine_waits_for_a_person_and_goes_on_then(
    command_line: CommandLine, diary: Diary, store: Tamperer
) -> None:
    write_tasks(command_line.root, "w", [diary.task("a")])
    theirs, mine = command_line.new_run("w"), command_line.new_run("w")
    write_holder(store, theirs)
    engine = command_line.start("run", "loop", "--until-done")
    wait_until(lambda: command_line.status(mine)["status"] == "COMPLETED", PATIENCE_S)
    asking = command_line.start("run", "pause", theirs)
    wait_until(lambda: asking.stderr != "", PATIENCE_S, "a word about whom it waits for")
    assert asking.stderr == (
        f"waiting for process 4711 on login2, which serves run {theirs}; if that machine is dead, "
        f"free the run with: matterstack check --break-lease {theirs} "
        "(Ctrl-C ends only this waiting: what you asked for stays asked)\n"
    )
    assert command_line.status(theirs)["status"] == "PENDING"
    assert asking.process.poll() is None
    asking.kill()
    assert command_line.ok("check") == FITS

    said = command_line.ok("check", "--break-lease", theirs)

    assert said == f"run {theirs} was held by process 4711 on login2; it is free now\n"
    wait_until(lambda: command_line.status(theirs)["status"] == "PAUSED", PATIENCE_S, "what was asked for")
    command_line.ok("run", "resume", theirs)
    assert engine.wait().exit_code == 0
    assert diary.ended() == ["a", "a"]
    assert command_line.json("check", "--break-lease", theirs) == {"run_id": theirs, "was_held_by": None}


def test_the_run_of_a_living_engine_is_not_taken_away(
    command_line: CommandLine, diary: Diary, store: Tamperer
) -> None:
    write_tasks(command_line.root, "w", [diary.task("a", diary.gate())])
    run_id = command_line.new_run("w")
    engine = command_line.start("run", "loop", run_id)
    wait_until(lambda: diary.started() == ["a"], PATIENCE_S)

    done = command_line.run("check", "--break-lease", run_id, "--json")

    assert (done.exit_code, done.error["code"]) == (4, "refused")
    assert f"is served by process {engine.process.pid} on " in done.error["message"]
    assert done.error["hint"] == "stop that engine instead"
    assert store.query("SELECT lease_pid FROM runs") == [(engine.process.pid,)]
    assert command_line.run("check", "--break-lease", NOBODY).exit_code == 3
    assert command_line.run("check", "--break-lease", "nonsense").exit_code == 3


def test_who_waits_for_an_engine_that_does_not_answer_says_so(
    command_line: CommandLine, diary: Diary
) -> None:
    write_tasks(command_line.root, "w", [diary.task("a", diary.gate())])
    run_id = command_line.new_run("w")
    engine = command_line.start("run", "loop", run_id)
    wait_until(lambda: diary.started() == ["a"], PATIENCE_S)
    # Then it has nothing to write any more: stopped while it writes, it would keep the store to itself.
    wait_until(lambda: command_line.tasks(run_id)["a"]["attempts"][0]["state"] == "RUNNING", PATIENCE_S)
    engine.signal(signal.SIGSTOP)
    asking = command_line.start("run", "pause", run_id, "--json")
    wait_until(lambda: asking.stderr != "", PATIENCE_S)
    assert asking.stderr.startswith(f"waiting for process {engine.process.pid} on ")
    assert "break-lease" not in asking.stderr
    engine.signal(signal.SIGCONT)
    done = asking.wait()
    assert (done.exit_code, json.loads(done.stdout)["status"]) == (0, "PAUSED")
    assert done.stderr.count("\n") == 1, "it says so once"


def test_an_engine_whose_run_was_taken_away_writes_nothing_more(
    command_line: CommandLine, diary: Diary, store: Tamperer
) -> None:
    write_tasks(command_line.root, "w", [diary.task("a", diary.gate())])
    run_id = command_line.new_run("w")
    engine = command_line.start("run", "loop", run_id)
    wait_until(lambda: "JobAccepted" in command_line.event_types(run_id), PATIENCE_S)
    before = command_line.event_types(run_id)
    write_holder(store, run_id)
    diary.open()

    done = engine.wait()

    assert done.exit_code == 5
    assert f"run {run_id} was taken over by another engine" in done.stderr
    assert command_line.event_types(run_id) == before
    command_line.ok("check", "--break-lease", run_id)
    command_line.ok("run", "loop", "--until-done", run_id)
    assert diary.ended() == ["a"]
