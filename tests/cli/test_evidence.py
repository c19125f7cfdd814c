"""``run export-evidence`` and ``evidence verify``, on runs whose jobs are real."""

import json
import shutil
from pathlib import Path

from tests.support.campaigns import write_tasks
from tests.support.command import PATIENCE_S, CommandLine
from tests.support.polling import wait_until


def tasks() -> list[dict[str, object]]:
    return [
        {"id": "a", "command": ["bash", "-c", "echo 1 > a.txt"], "outputs": ["a.txt"]},
        {"id": "b", "command": ["cat", "in.txt"], "inputs": {"in.txt": "a/a.txt"}},
        {"id": "bad", "command": ["bash", "-c", "echo no luck >&2; exit 3"], "depends_on": ["b"]},
    ]


def test_evidence_of_a_real_run_is_built_verified_and_found_to_be_changed(command_line: CommandLine) -> None:
    write_tasks(command_line.root, "demo", tasks())
    run_id = command_line.new_run("demo")
    pending = command_line.json("run", "export-evidence", run_id)
    assert (pending["status"], pending["is_complete"]) == ("PENDING", False)

    assert command_line.run("run", "loop", run_id, "--until-done").exit_code == 1
    exported = command_line.json("run", "export-evidence", run_id)
    folder = Path(exported["path"])
    assert folder == command_line.run_folder("demo", run_id) / "evidence"
    assert (exported["status"], exported["is_complete"]) == ("FAILED", False)
    assert "no luck" in (folder / "report.md").read_text()

    shutil.copytree(folder, command_line.home / "copy")
    verified = command_line.json("evidence", "verify", str(command_line.home / "copy"))
    assert (verified["ok"], verified["problems"]) == (True, [])
    checks = {file["path"]: file["check"] for file in verified["files"]}
    assert checks["outputs/a.1/a.txt"] == "bound"
    assert checks["tasks.csv"] == "bytes"
    assert sum(verified["checks"].values()) == len(checks)
    assert verified["signature"] == {"state": "none", "signer": "", "key": "", "problem": ""}
    assert command_line.json("evidence", "verify", str(folder), "--against-store")["ok"]

    (folder / "outputs" / "a.1" / "a.txt").write_text("2\n")
    done = command_line.run("evidence", "verify", str(folder), "--json")
    assert done.exit_code == 1
    (problem,) = json.loads(done.stdout)["problems"]
    assert problem["path"] == "outputs/a.1/a.txt"
    assert "was changed" in problem["problem"]
    done = command_line.run("evidence", "verify", str(folder))
    assert done.exit_code == 1
    assert "outputs/a.1/a.txt" in done.stdout


def test_every_way_in_which_a_job_can_end_is_bound_to_what_it_printed(command_line: CommandLine) -> None:
    def printing(task_id: str, then: str, **fields: object) -> dict[str, object]:
        return {"id": task_id, "command": ["bash", "-c", f"echo {task_id}; {then}"], **fields}

    write_tasks(
        command_line.root,
        "demo",
        [
            printing("well", "true"),
            printing("failed", "exit 3", allow_failure=True),
            printing("again", '[ "$MATTERSTACK_ATTEMPT" = 2 ]', retries=1),
            printing("slow", "sleep 60", allow_failure=True, resources={"walltime_s": 1}),
        ],
    )
    run_id = command_line.new_run("demo")
    command_line.ok("run", "loop", run_id, "--until-done")
    ends = [event["data"] for event in command_line.events(run_id) if event["type"] == "JobEnded"]
    assert sorted(end["raw_state"] for end in ends) == [
        "COMPLETED",
        "COMPLETED",
        "FAILED",
        "FAILED",
        "TIMEOUT",
    ]
    for end in ends:
        assert [log["path"] for log in end["logs"]] == ["stdout.log"], end
        assert [given["path"] for given in end["given"]] == ["manifest.json"], end
    folder = command_line.run_folder("demo", run_id) / "evidence"
    command_line.ok("run", "export-evidence", run_id)
    verified = command_line.json("evidence", "verify", str(folder), "--against-store", "--strict")
    assert verified["not_bound"] == []
    assert {file["check"] for file in verified["files"]} == {"bound", "bytes", "rules"}
    log = command_line.run_folder("demo", run_id) / "tasks" / "well" / "1" / "stdout.log"
    log.write_text(log.read_text() + "and more\n")
    command_line.ok("run", "export-evidence", run_id)
    assert "it grew after its job was seen to be over" in command_line.ok("evidence", "verify", str(folder))
    done = command_line.run("evidence", "verify", str(folder), "--strict")
    assert done.exit_code == 6
    assert "logs/well.1/stdout.log: hash only" in done.stdout


def test_a_job_that_was_cancelled_is_bound_to_what_it_printed(command_line: CommandLine) -> None:
    task = {"id": "long", "command": ["bash", "-c", "echo begun; sleep 60"]}
    write_tasks(command_line.root, "demo", [task])
    run_id = command_line.new_run("demo")
    engine = command_line.start("run", "loop", run_id, "--until-done")
    log = command_line.run_folder("demo", run_id) / "tasks" / "long" / "1" / "stdout.log"
    wait_until(lambda: log.is_file() and log.read_text() == "begun\n", PATIENCE_S, "the job's first word")
    command_line.ok("run", "cancel", run_id)
    engine.wait()
    (end,) = [event["data"] for event in command_line.events(run_id) if event["type"] == "JobEnded"]
    assert end["state"] == "CANCELLED"
    assert [(log["path"], log["size_bytes"]) for log in end["logs"]] == [("stdout.log", 6)]


def test_evidence_goes_where_it_is_told_and_verify_needs_no_root(command_line: CommandLine) -> None:
    write_tasks(command_line.root, "demo", tasks()[:2])
    run_id = command_line.new_run("demo")
    command_line.ok("run", "loop", run_id, "--until-done")
    out = command_line.home / "out"
    done = command_line.run("run", "export-evidence", run_id, "--output", str(out))
    assert done.exit_code == 0
    assert done.stdout.strip() == str(out)
    assert not (command_line.run_folder("demo", run_id) / "evidence").exists()
    assert command_line.run("evidence", "verify", str(out), cwd=command_line.home).exit_code == 0
    again = command_line.run("run", "export-evidence", run_id, "--output", "../home/out", "--json")
    assert again.exit_code == 0
    assert json.loads(again.stdout)["is_complete"]


def test_what_cannot_be_exported_or_verified_is_refused_in_one_sentence(command_line: CommandLine) -> None:
    done = command_line.run("run", "export-evidence", "20200101T000000-aaaaaa", "--json")
    assert (done.exit_code, done.error["code"]) == (3, "not_found")
    done = command_line.run("evidence", "verify", "nowhere", "--json")
    assert (done.exit_code, done.error["code"]) == (3, "not_found")
    write_tasks(command_line.root, "demo", tasks())
    run_id = command_line.new_run("demo")
    (command_line.home / "x").write_text("")
    done = command_line.run("run", "export-evidence", run_id, "--output", str(command_line.home), "--json")
    assert (done.exit_code, done.error["code"]) == (4, "refused")


def test_a_run_is_archived_cleaned_and_looked_at_in_another_root(command_line: CommandLine) -> None:
    task = {"id": "a", "command": ["bash", "-c", "echo 1 > a.txt; echo 2 > scratch"], "outputs": ["a.txt"]}
    write_tasks(command_line.root, "demo", [task])
    run_id = command_line.new_run("demo")
    command_line.ok("run", "loop", run_id, "--until-done")
    assert command_line.run("run", "clean", run_id).exit_code == 4, "there is no evidence yet"

    archived = command_line.json("run", "archive", run_id, "--output", str(command_line.home / "run.zip"))
    assert (archived["status"], archived["is_complete"]) == ("COMPLETED", True)
    scratch = command_line.run_folder("demo", run_id) / "tasks" / "a" / "1" / "scratch"
    shown = command_line.json("run", "clean", run_id)
    assert [file["path"] for file in shown["files"]] == ["tasks/a/1/scratch"]
    assert scratch.exists()
    assert command_line.json("run", "clean", run_id, "--delete")["bytes"] == 2
    assert not scratch.exists()

    other = command_line.home / "other"
    (other / "workspaces").mkdir(parents=True)
    imported = json.loads(command_line.run("run", "import", archived["path"], "--json", root=other).stdout)
    status = json.loads(command_line.run("run", "status", run_id, "--json", root=other).stdout)
    assert status == imported
    assert status["status"] == "COMPLETED"
    assert command_line.run("evidence", "verify", imported["path"]).exit_code == 0
    assert command_line.json("evidence", "show", imported["path"]) == imported
    assert "COMPLETED" in command_line.ok("evidence", "show", imported["path"])
    assert command_line.run("run", "pause", run_id, root=other).exit_code == 3, "it is there to be looked at"
