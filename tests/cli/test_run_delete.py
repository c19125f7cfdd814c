"""Runs that are deleted: what goes, what stays, who knows of it, and what is refused."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from matterstack.storage.crash_points import CRASH_VARIABLE, CRASHED
from tests.support.campaigns import write_tasks
from tests.support.command import CommandLine
from tests.support.on_terminal import on_terminal

TASKS = [{"id": "a", "command": ["bash", "-c", "echo 1 > a.txt"], "outputs": ["a.txt"]}]


@pytest.fixture
def runs(command_line: CommandLine) -> list[str]:
    """Three that COMPLETED, served together: their events lie between each other's."""
    write_tasks(command_line.root, "relax", TASKS)
    made = [command_line.new_run("relax") for _ in range(3)]
    command_line.ok("run", "loop", "--until-done")
    return made


@pytest.mark.parametrize(("answer", "is_gone"), [("n", False), ("", False), ("y", True)])
def test_on_a_terminal_it_says_what_is_left_and_asks(
    command_line: CommandLine, runs: list[str], answer: str, is_gone: bool
) -> None:
    bundle = command_line.json("run", "export-evidence", runs[0])["path"]
    command_line.ok("run", "export-evidence", runs[1])

    done = on_terminal(command_line, "run", "delete", *runs[:2], typed=f"{answer}\n", COLUMNS="500")

    assert f"{runs[0]} (relax) is COMPLETED; what is left of it: {bundle}" in done.stdout
    assert "delete 2 runs for ever?" in done.stdout
    assert ("nothing was deleted" in done.stdout) is not is_gone
    assert done.exit_code == (0 if is_gone else 4)
    left = {run["run_id"] for run in command_line.json("run", "list")}
    assert left == ({runs[2]} if is_gone else {*runs})


def test_without_a_terminal_it_has_to_be_said(command_line: CommandLine, runs: list[str]) -> None:
    done = command_line.run("run", "delete", runs[0], "--without-evidence")
    assert (done.exit_code, "give --yes" in done.stderr) == (4, True)
    assert len(command_line.json("run", "list")) == 3


def left_in(command_line: CommandLine, run_id: str) -> set[str]:
    folder = command_line.run_folder("relax", run_id)
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def size(command_line: CommandLine) -> int:
    private = command_line.root / ".matterstack"
    return sum(
        (private / name).stat().st_size for name in ("state.db", "state.db-wal") if (private / name).exists()
    )


def rows_of(command_line: CommandLine, run_id: str) -> dict[str, int]:
    tables = ["runs", "tasks", "attempts", "events", "changes", "commands", "claims", "labels", "notes"]
    tables += ["run_keys", "heads", "deletions"]

    def counts(store: sqlite3.Connection) -> dict[str, int]:
        sql = "SELECT count(*) FROM {} WHERE run_id = ?"
        return {table: store.execute(sql.format(table), (run_id,)).fetchone()[0] for table in tables}

    return command_line.read(counts)


def test_a_deleted_run_leaves_its_evidence_and_one_event_and_check_knows_which_numbers_are_gone(
    command_line: CommandLine, runs: list[str]
) -> None:
    gone, *kept = runs
    command_line.ok("run", "label", gone, "+x", "note=y")
    before = command_line.status(gone)["head"], [event["seq"] for event in command_line.events(gone)]
    bundle = Path(command_line.json("run", "export-evidence", gone)["path"])
    (deleted,) = command_line.json("run", "delete", gone, "--yes")
    assert deleted == {
        "run_id": gone,
        "events": len(before[1]),
        "head": before[0],
        "evidence": str(bundle),
    }
    assert left_in(command_line, gone) == {"evidence"}
    (event,) = command_line.events(gone)
    assert (event["type"], event["data"]["head"], event["data"]["events"]) == (
        "RunDeleted",
        before[0],
        len(before[1]),
    )
    assert event["data"]["by"]
    assert {table for table, count in rows_of(command_line, gone).items() if count} == {"events", "heads"}
    assert command_line.json("check") == {"ok": True, "problems": []}
    assert command_line.json("evidence", "verify", str(bundle), "--against-store")["ok"]
    assert {run["run_id"] for run in command_line.json("run", "list")} == set(kept)
    for words in (("status",), ("tasks",), ("events",), ("archive",), ("export-evidence",), ("explain",)):
        done = command_line.run("run", *words, gone)
        assert done.exit_code == 3, words
        assert f"no run {gone}: it was deleted by " in done.stderr
    for run_id in kept:
        assert command_line.events(run_id)[0]["type"] == "RunCreated"
    again = command_line.run("run", "delete", gone, "--yes")
    assert (again.exit_code, "it was deleted by" in again.stderr) == (3, True)
    new = command_line.new_run("relax")
    command_line.ok("run", "loop", new, "--until-done")
    assert command_line.json("check")["ok"]


def test_what_else_is_missing_is_still_found(command_line: CommandLine, runs: list[str]) -> None:
    gone, other, _ = runs
    command_line.ok("run", "delete", gone, "--yes", "--without-evidence")
    assert left_in(command_line, gone) == set()
    seq = command_line.events(other)[3]["seq"]
    command_line.check_at_end = False
    command_line.read(lambda store: store.execute("DELETE FROM events WHERE seq = ?", (seq,)))
    problems = json.loads(command_line.run("check", "--json").stdout)["problems"]
    assert {"gap", "chain"} <= {problem["rule"] for problem in problems}
    assert any(f"number {seq} is missing" in problem["problem"] for problem in problems)


@pytest.mark.parametrize("field", ["head", "numbers", "events"])
def test_a_deletion_that_was_changed_is_found(command_line: CommandLine, runs: list[str], field: str) -> None:
    command_line.ok("run", "delete", runs[0], "--yes", "--without-evidence")
    command_line.check_at_end = False
    value = {"head": "0" * 64, "numbers": "1", "events": 1}[field]
    change = "UPDATE events SET data = json_set(data, ?, ?) WHERE type = 'RunDeleted'"
    command_line.read(lambda store: store.execute(change, (f"$.{field}", value)))
    assert not json.loads(command_line.run("check", "--json").stdout)["ok"]


def test_the_store_shrinks(command_line: CommandLine, runs: list[str]) -> None:
    filler = "x" * 4000
    command_line.read(
        lambda store: store.execute(
            "UPDATE events SET data = json_set(data, '$.by', ?) WHERE run_id = ? AND type = 'RunCreated'",
            (filler * 100, runs[0]),
        )
    )
    before = size(command_line)
    command_line.ok("run", "delete", runs[0], "--yes", "--without-evidence")
    after = size(command_line)
    assert after < before - 300_000
    command_line.ok("run", "delete", *runs[1:], "--yes", "--without-evidence")
    assert command_line.read(lambda store: store.execute("PRAGMA freelist_count").fetchone()[0]) == 0
    assert command_line.read(lambda store: store.execute("PRAGMA auto_vacuum").fetchone()[0]) == 2
    assert command_line.json("run", "list") == []


def test_without_evidence_nothing_goes_unless_that_is_meant(
    command_line: CommandLine, runs: list[str]
) -> None:
    done = command_line.run("run", "delete", *runs, "--yes")
    assert (done.exit_code, done.stdout) == (4, "")
    assert f"run {runs[0]} has no evidence that would be left of it" in done.stderr
    command_line.ok("run", "export-evidence", runs[0])
    (command_line.run_folder("relax", runs[0]) / "evidence" / "tasks.csv").write_text("changed")
    done = command_line.run("run", "delete", runs[0], "--yes")
    assert (done.exit_code, "is not whole" in done.stderr) == (4, True)
    command_line.ok("run", "export-evidence", runs[0])
    command_line.ok("run", "rerun", runs[0], "a")
    done = command_line.run("run", "delete", runs[0], "--yes")
    assert (done.exit_code, "is RUNNING: only runs that have ended go" in done.stderr) == (4, True)
    command_line.ok("run", "loop", runs[0], "--until-done")
    done = command_line.run("run", "delete", runs[0], "--yes")
    assert (done.exit_code, "and the run went on" in done.stderr) == (4, True)
    assert len(command_line.json("run", "list")) == 3


def test_a_bundle_without_all_outputs_is_not_enough_and_an_archive_elsewhere_is(
    command_line: CommandLine, runs: list[str], tmp_path: Path
) -> None:
    run_id, other, _ = runs
    command_line.ok("run", "export-evidence", run_id, "--copy-below", "0")
    done = command_line.run("run", "delete", run_id, "--yes")
    assert (done.exit_code, "has of output a.txt of a the hash alone" in done.stderr) == (4, True), (
        done.stderr
    )
    file = tmp_path / "kept.zip"
    command_line.ok("run", "archive", run_id, "--output", str(file))
    done = command_line.run("run", "delete", other, "--yes", "--evidence", str(file))
    assert (done.exit_code, f"is of run {run_id}" in done.stderr) == (4, True)
    (deleted,) = command_line.json("run", "delete", run_id, "--yes", "--evidence", str(file))
    assert deleted["evidence"] == str(file)
    assert left_in(command_line, run_id) == set(), "what is left of it lies elsewhere"

    command_line.ok("run", "import", str(file))
    assert command_line.json("run", "status", run_id)["status"] == "COMPLETED"
    assert command_line.json("run", "tasks", run_id)[0]["task_id"] == "a"
    damaged = tmp_path / "damaged.zip"
    damaged.write_bytes(file.read_bytes()[:-200])
    done = command_line.run("run", "delete", other, "--yes", "--evidence", str(damaged))
    assert (done.exit_code, "cannot be read" in done.stderr) == (4, True)


def test_a_run_that_another_one_needs_is_refused_with_its_name(
    command_line: CommandLine, runs: list[str]
) -> None:
    needed = command_line.run_folder("relax", runs[0]) / "tasks" / "a" / "1" / "a.txt"
    write_tasks(command_line.root, "bands", [{"id": "b", "command": ["cat", str(needed)]}])
    by = command_line.new_run("bands")
    command_line.ok("run", "loop", by, "--until-done")
    done = command_line.run("run", "delete", runs[1], runs[0], "--yes", "--without-evidence")
    assert (done.exit_code, done.stdout) == (4, "")
    assert f"run {runs[0]} is needed: task b of run {by} names its folder" in done.stderr
    assert len(command_line.json("run", "list")) == 4, "none went"
    command_line.ok("run", "delete", runs[0], by, "--yes", "--without-evidence")
    assert len(command_line.json("run", "list")) == 2


def test_ordinary_mistakes_delete_nothing(command_line: CommandLine, runs: list[str]) -> None:
    pending = command_line.new_run("relax")
    for words, code, said in (
        (("relax", "--yes"), 2, "this takes no workspace"),
        (("20260102T030405-abcdef", "--yes"), 3, "no run 20260102T030405-abcdef"),
        ((runs[0], "--without-evidence"), 4, "nobody can be asked here"),
        ((runs[0], "--without-evidence", "--json"), 4, "nobody can be asked here"),
        ((pending, "--yes", "--without-evidence"), 4, "is PENDING: only runs that have ended go"),
        ((runs[0], pending, "--yes", "--without-evidence"), 4, f"run {pending} is PENDING"),
        ((), 2, "Missing argument"),
    ):
        done = command_line.run("run", "delete", *words)
        assert (done.exit_code, done.stdout, said in done.stderr) == (code, "", True), (words, done.stderr)
    done = command_line.run("run", "forget", runs[0], "--yes")
    assert (done.exit_code, "is there" in done.stderr) == (4, True)
    assert len(command_line.json("run", "list")) == 4


def test_a_run_whose_folder_has_gone_is_forgotten(command_line: CommandLine, runs: list[str]) -> None:
    shutil.rmtree(command_line.run_folder("relax", runs[0]))
    done = command_line.run("run", "delete", runs[0], "--yes", "--without-evidence")
    assert (done.exit_code, f"matterstack run forget {runs[0]}" in done.stderr) == (4, True)
    assert not json.loads(command_line.run("check", "--json").stdout)["ok"]
    (gone,) = command_line.json("run", "forget", runs[0], "--yes")
    assert (gone["run_id"], gone["evidence"]) == (runs[0], None)
    assert command_line.json("check")["ok"]
    done = command_line.run("run", "status", runs[0])
    assert (done.exit_code, "it was forgotten by" in done.stderr) == (3, True)


@pytest.mark.parametrize("point", ["before_commit", "inside_commit", "after_commit", "before_removal"])
def test_a_deletion_that_was_killed_is_whole_or_is_finished_later(
    command_line: CommandLine, runs: list[str], point: str
) -> None:
    run_id = runs[0]
    words = ("run", "delete", run_id, "--yes", "--without-evidence")
    assert command_line.run(*words, env={CRASH_VARIABLE: point}).exit_code == CRASHED
    assert command_line.json("check")["ok"]
    if point in {"before_commit", "inside_commit"}:
        assert command_line.status(run_id)["status"] == "COMPLETED"
        command_line.ok(*words)
    else:
        assert rows_of(command_line, run_id)["deletions"] == 1
        assert left_in(command_line, run_id) != set()
        command_line.ok("run", "loop", "--until-done")
    assert left_in(command_line, run_id) == set()
    assert rows_of(command_line, run_id)["deletions"] == 0
    assert [event["type"] for event in command_line.events(run_id)] == ["RunDeleted"]
    assert command_line.json("check")["ok"]


def test_the_key_of_a_deleted_run_makes_a_new_one(command_line: CommandLine) -> None:
    write_tasks(command_line.root, "relax", TASKS)
    run_id = command_line.json("run", "init", "relax", "--key", "k")["run_id"]
    command_line.ok("run", "cancel", run_id)
    command_line.ok("run", "delete", run_id, "--yes", "--without-evidence")
    again = command_line.json("run", "init", "relax", "--key", "k")
    assert again["is_new"]
    assert again["run_id"] != run_id
