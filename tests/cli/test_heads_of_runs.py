"""The head of a run on the command line: where it is printed, and what it proves."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from matterstack.cli.wording import HEAD_NOTE
from matterstack.core.run.chain import chain_of
from tests.support.campaigns import Diary, write_tasks
from tests.support.command import PATIENCE_S, CommandLine
from tests.support.polling import wait_until
from tests.support.stored import chain_again


def one_task(command_line: CommandLine, *, command: str = "true") -> None:
    write_tasks(command_line.root, "w", [{"id": "a", "command": ["sh", "-c", command]}])


def chained(path: Path) -> list[str]:
    return list(chain_of((path / "events.jsonl").read_bytes().splitlines(keepends=True)))


def test_the_head_is_printed_when_a_run_ends_and_stands_wherever_the_run_is_told_of(
    command_line: CommandLine,
) -> None:
    one_task(command_line)
    run_id = command_line.new_run("w")
    said = command_line.ok("run", "loop", "--until-done", run_id)
    head = command_line.status(run_id)["head"]
    line = f"head of run {run_id} at event {len(command_line.events(run_id))}: {head}"
    assert re.fullmatch("[0-9a-f]{64}", head)
    assert said.splitlines()[-2:] == [line, HEAD_NOTE]
    assert f"{line}\n{HEAD_NOTE}\n" in command_line.ok("run", "status", run_id)
    assert json.loads((command_line.run_folder("w", run_id) / "run.json").read_text())["head"] == head
    assert [run["head"] for run in command_line.json("run", "list")] == [head]
    started = command_line.ok("run", "start", "w")
    assert [line for line in started.splitlines() if line.startswith("head of run ")] != []
    assert started.count("head of run ") == started.count(HEAD_NOTE) == 1
    others = [command_line.new_run("w") for _ in range(2)]
    ended = command_line.ok("run", "loop", "--until-done", *others)
    assert (ended.count("head of run "), ended.count(HEAD_NOTE)) == (2, 1)


def test_a_head_proves_a_bundle_an_archive_and_what_was_imported_from_it(
    command_line: CommandLine, tmp_path: Path
) -> None:
    one_task(command_line)
    run_id = command_line.new_run("w")
    command_line.ok("run", "loop", "--until-done", run_id)
    head = command_line.status(run_id)["head"]
    command_line.ok("run", "archive", run_id)
    bundle = command_line.run_folder("w", run_id) / "evidence"
    assert chained(bundle)[-1] == head
    assert "no event came after it" in command_line.ok("evidence", "verify", str(bundle), "--head", head)
    archive = command_line.run_folder("w", run_id) / f"{run_id}.zip"
    (tmp_path / "other" / "workspaces").mkdir(parents=True)
    other = ("--root", str(tmp_path / "other"))
    assert command_line.json(*other, "run", "import", str(archive))["head"] == head
    assert head in command_line.ok(*other, "run", "status", run_id)
    imported = tmp_path / "other" / "imported" / run_id / "evidence"
    command_line.ok("evidence", "verify", str(imported), "--head", head)

    command_line.ok("run", "rerun", run_id, "a")
    command_line.ok("run", "loop", "--until-done", run_id)
    assert command_line.status(run_id)["head"] != head
    command_line.ok("run", "export-evidence", run_id)
    done = command_line.json("evidence", "verify", str(bundle), "--head", head)
    assert (done["ok"], done["head"]["seq"]) == (True, chained(bundle).index(head) + 1)
    later = command_line.events(run_id)[done["head"]["seq"] :]
    assert done["head"]["later"] == [{key: e[key] for key in ("seq", "at", "type")} for e in later]
    said = command_line.ok("evidence", "verify", str(bundle), "--head", head)
    assert f"{len(later)} events came after it:" in said
    assert all(f"  {e['seq']}  {e['at']}  {e['type']}" in said for e in later[:20])


def test_a_history_that_was_forged_with_all_that_follows_from_it_is_found_by_the_head_alone(
    command_line: CommandLine,
) -> None:
    """In the store itself, by its own tables, and then exported: everything fits but the head."""
    command_line.check_at_end = False
    one_task(command_line)
    run_id = command_line.new_run("w")
    command_line.ok("run", "loop", "--until-done", run_id)
    head = command_line.status(run_id)["head"]
    with closing(sqlite3.connect(command_line.root / ".matterstack/state.db", isolation_level=None)) as store:
        forged = "UPDATE events SET data = json_set(data, '$.by', 'somebody') WHERE type = 'RunCreated'"
        assert store.execute(forged).rowcount == 1
        refused = command_line.run("run", "export-evidence", run_id)
        assert refused.exit_code == 5
        assert "are not those that were stored" in refused.stderr
        assert "chain" in command_line.run("check").stdout
        chain_again(store)
    (problem,) = command_line.run("check", "--json").json["problems"]
    assert (problem["rule"], "or changed by hand" in problem["problem"]) == ("restored", True)
    summary = command_line.run_folder("w", run_id) / "run.json"
    summary.write_text(summary.read_text().replace(head, command_line.status(run_id)["head"]))
    command_line.ok("check")
    command_line.ok("run", "export-evidence", run_id)
    bundle = str(command_line.run_folder("w", run_id) / "evidence")
    assert "no event of the store came after" in command_line.ok(
        "evidence", "verify", bundle, "--against-store"
    )
    done = command_line.run("evidence", "verify", bundle, "--head", head, "--json")
    assert done.exit_code == 1
    assert [problem["path"] for problem in done.json["problems"]] == ["events.jsonl"]
    assert head in done.json["problems"][0]["problem"]
    assert done.json["head"]["seq"] is None
    wrong = command_line.run("evidence", "verify", bundle, "--head", head[:12])
    assert wrong.exit_code == 2
    assert "64 hexadecimal digits" in wrong.stderr


def test_a_store_that_was_put_back_is_told_once_with_what_to_do(
    command_line: CommandLine, diary: Diary, tmp_path: Path
) -> None:
    write_tasks(command_line.root, "w", [diary.task("a", diary.gate()), diary.task("b", depends_on=["a"])])
    run_id = command_line.new_run("w")
    engine = command_line.start("run", "loop", "--until-done", run_id)
    wait_until(lambda: diary.started() == ["a"], PATIENCE_S, "the first task")
    database = command_line.root / ".matterstack" / "state.db"
    with closing(sqlite3.connect(database)) as store, closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        store.backup(copy)
    before = command_line.status(run_id)["head"]
    diary.open()
    assert engine.wait().exit_code == 0
    head = command_line.status(run_id)["head"]
    for beside in ("-wal", "-shm"):
        database.with_name(f"state.db{beside}").unlink(missing_ok=True)
    shutil.copyfile(tmp_path / "copy.db", database)
    assert command_line.status(run_id)["head"] == before

    done = command_line.run("check", "--json")
    assert [(p["run_id"], p["rule"]) for p in done.json["problems"] if p["rule"] == "restored"] == [
        (run_id, "restored")
    ]
    engine = command_line.start("run", "loop", "--until-done", run_id)
    said = engine.wait()
    assert "was put back from a backup" in said.stderr
    assert "look for jobs that were submitted since" in said.stderr
    lost = [event["data"] for event in command_line.events(run_id) if event["type"] == "EventsLost"]
    assert [event["head"] for event in lost] == [head]
    problems = command_line.run("check", "--json").json["problems"]
    assert "restored" not in {problem["rule"] for problem in problems}
    command_line.run("run", "retry", run_id)
    again = command_line.run("run", "loop", "--until-done", run_id)
    assert "backup" not in again.stderr
    command_line.check_at_end = False  # folders that were claimed since the backup are named for ever
    bundle = command_line.run_folder("w", run_id) / "evidence"
    command_line.ok("run", "export-evidence", run_id)
    assert head in (bundle / "report.md").read_text()
    assert command_line.run("evidence", "verify", str(bundle), "--head", head).exit_code == 1
    command_line.ok("evidence", "verify", str(bundle), "--head", before)
