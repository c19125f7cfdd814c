"""What the commands print, for people and for programs."""

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from matterstack.core.states import TaskStatus
from tests.support.campaigns import Diary, write_tasks
from tests.support.command import COMMAND, PATIENCE_S, CommandLine
from tests.support.polling import wait_until

COMMANDS = [
    (),
    ("init",),
    ("check",),
    ("doctor",),
    ("self-test",),
    ("run",),
    *(
        ("run", name)
        for name in (
            "init", "loop", "start", "list", "status", "tasks", "logs", "events",
            "pause", "resume", "cancel", "retry", "rerun", "explain",
        )
    ),
]  # fmt: skip


@pytest.fixture
def command_line(command_line: CommandLine) -> CommandLine:
    """Each command as people run it, in a process of its own."""
    command_line.apart = True
    return command_line


def test_every_command_explains_itself(command_line: CommandLine) -> None:
    # One process for all of them: each call ends with SystemExit, as in a process of its own.
    program = (
        "import contextlib, io, json, sys\n"
        "from matterstack.cli import run_command_line\n"
        "texts = []\n"
        "for words in json.loads(sys.argv[1]):\n"
        "    sys.argv = ['matterstack', *words, '--help']\n"
        "    with contextlib.redirect_stdout(io.StringIO()) as text, contextlib.suppress(SystemExit):\n"
        "        run_command_line()\n"
        "    texts.append(text.getvalue())\n"
        "print(json.dumps(texts))\n"
    )
    command = [sys.executable, "-c", program, json.dumps(COMMANDS)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    for words, text in zip(COMMANDS, json.loads(done.stdout), strict=True):
        assert text.startswith(f"Usage: matterstack {' '.join(words)}".rstrip()), words
        assert "..." not in text.partition("Commands:")[2], "no summary of a command is cut off"
    listed = command_line.ok("run", "--help")
    assert all(f"  {words[1]} " in listed for words in COMMANDS if len(words) == 2)


def test_a_group_alone_shows_its_help_as_a_usage_error(command_line: CommandLine) -> None:
    for words in ((), ("run",)):
        done = command_line.run(*words)
        assert (done.exit_code, done.stdout) == (2, "")
        assert done.stderr.startswith("Usage: matterstack")


# What takes a command's time is what it imports: these keep the quick ones quick, whatever the machine.
HEAVY = {
    "anyio._backends._trio",
    "ase",
    "matterstack.core.documents.config",
    "matterstack.core.run.facts",
    "matterstack.engine",
    "numpy",
    "pydantic",
    "trio",
    "trio_websocket",
}


def loaded_by(*commands: str, cwd: Path) -> set[str]:
    """Modules that a process has loaded which ran these commands, each with success."""
    program = (
        "import sys\n"
        "from matterstack.cli import run_command_line\n"
        f"for words in {[command.split() for command in commands]}:\n"
        "    sys.argv = ['matterstack', *words]\n"
        "    try:\n"
        "        run_command_line()\n"
        "    except SystemExit as end:\n"
        "        assert end.code == 0, end.code\n"
        "print('loaded', *sorted(sys.modules), file=sys.stderr)\n"
    )
    # What measures coverage loads modules of its own.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=True, env=environment)
    loaded = set(done.stderr.rpartition("loaded ")[2].split())
    assert "asyncclick" in loaded
    return loaded


@pytest.mark.usefixtures("processes")
def test_help_needs_none_of_the_heavy_modules(tmp_path: Path) -> None:
    lighter = {"cattrs", "matterstack.core.model.workflow", "rich", "sqlite3"}
    needless = loaded_by("--help", "run list --help", cwd=tmp_path) & (HEAVY | lighter)
    assert not needless


def test_a_look_at_runs_needs_none_of_the_heavy_modules(command_line: CommandLine) -> None:
    write_tasks(command_line.root, "one", [{"id": "a", "command": ["true"]}])
    run_id = command_line.new_run("one")
    look = (
        "run list --last 20",
        "run list --status PENDING --workspace one --label x --since 1d --json",
        f"run status {run_id[:18]}",
        "run status @last --json",
        "run tasks one",
    )
    needless = loaded_by(*look, f"--root {command_line.root} run list", cwd=command_line.root) & HEAVY
    assert not needless
    needless = loaded_by(look[0], cwd=command_line.root) & {"cattrs", "matterstack.core.model.workflow"}
    assert not needless


def test_help_is_asked_for_where_only_commands_stand_before_it(command_line: CommandLine) -> None:
    assert command_line.ok("--version").startswith("matterstack, version ")
    unknown = command_line.run("rnu", "--help")
    assert (unknown.exit_code, unknown.stdout) == (2, "")
    assert "No such command 'rnu'" in unknown.stderr
    # Here it is the value of an option.
    reason = command_line.run("run", "pause", "20260101T000000-aaaaaa", "--reason", "--help")
    assert reason.exit_code == 3
    assert "20260101T000000-aaaaaa" in reason.stderr


def test_a_fresh_folder_becomes_a_root_whose_workspace_completes(
    command_line: CommandLine, tmp_path: Path
) -> None:
    fresh = tmp_path / "fresh"

    made = command_line.run("init", str(fresh), cwd=tmp_path)

    assert made.exit_code == 0
    assert made.stdout.splitlines()[-1] == "  matterstack run start quickstart"
    done = command_line.run("run", "start", "quickstart", cwd=fresh / "workspaces" / "quickstart")
    assert (done.exit_code, done.stderr) == (0, "")
    assert "COMPLETED" in done.stdout
    (folder,) = (fresh / "workspaces" / "quickstart" / "runs").iterdir()
    assert f"Everything that was done is in {folder}" in done.stdout
    results = [line.strip() for line in done.stdout.splitlines() if line.endswith("/result.json")]
    assert len(results) == 5
    energies = {
        data["distance_angstrom"]: data["energy_ev"]
        for data in (json.loads(Path(result).read_text()) for result in results)
    }
    # The minimum of the Lennard-Jones potential is at sigma * 2^(1/6) = 3.816 angstrom, epsilon deep.
    best = min(energies, key=lambda distance: energies[distance])
    assert best == pytest.approx(3.40 * 2 ** (1 / 6), abs=0.05)
    assert energies[best] == pytest.approx(-0.0104, rel=0.01)

    again = command_line.run("init", str(fresh), "--json")
    assert (again.exit_code, again.error["code"]) == (4, "refused")
    assert len(command_line.run("run", "list", "--json", cwd=fresh).json) == 1


def test_the_root_is_given_found_or_inherited(command_line: CommandLine, tmp_path: Path) -> None:
    workspace = write_tasks(command_line.root, "w", [])
    run_id = command_line.new_run("w")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    other = tmp_path / "other"
    command_line.run("init", str(other))

    def runs(**how: object) -> list[str]:
        done = command_line.run("run", "list", "--json", **how)  # type: ignore[arg-type]
        assert done.exit_code == 0, done.stderr
        return [run["run_id"] for run in done.json]

    variable = {"MATTERSTACK_ROOT": str(command_line.root)}
    assert runs(cwd=workspace / "runs" / run_id) == [run_id]
    assert runs(cwd=elsewhere, env=variable) == [run_id]
    assert runs(cwd=elsewhere, root=command_line.root) == [run_id]
    assert runs(cwd=workspace, env=variable, root=other) == [], "the option beats all others"
    assert runs(cwd=other, env=variable) == [run_id], "the variable beats the working directory"
    lost = command_line.run("run", "list", "--json", cwd=elsewhere)
    assert (lost.exit_code, lost.error["code"]) == (3, "not_found")
    assert "matterstack init" in lost.error["hint"]


def test_json_documents_have_the_keys_that_programs_rely_on(command_line: CommandLine, diary: Diary) -> None:
    write_tasks(command_line.root, "w", [diary.task("a"), diary.task("b", "exit 3", depends_on=["a"])])

    made = command_line.json("run", "init", "w")
    run_id = made["run_id"]
    finished = command_line.run("run", "loop", "--until-done", run_id, "--json")

    assert set(made) == {"run_id", "is_new"}
    assert (finished.exit_code, finished.stderr) == (1, "")
    status = command_line.json("run", "status", run_id)
    assert set(status) >= {
        "run_id", "workspace", "status", "status_reason", "iteration", "tasks", "created_at", "updated_at"
    }  # fmt: skip
    assert (status["run_id"], status["workspace"], status["status"]) == (run_id, "w", "FAILED")
    assert status["tasks"] == {status.value: 0 for status in TaskStatus} | {"SUCCEEDED": 1, "FAILED": 1}
    assert status.pop("backends") == {}, "no engine is there to tell of any"
    assert finished.json == [status]
    assert command_line.json("run", "list") == [status]
    kept = json.loads((command_line.run_folder("w", run_id) / "run.json").read_text())
    assert {**kept, "labels": [], "note": ""} == status, "labels and notes are in the store alone"
    listed = command_line.json("run", "tasks", run_id)
    assert [task["task_id"] for task in listed] == ["a", "b"]
    for task in listed:
        assert set(task) >= {"task_id", "status", "reason", "attempts"}
        (attempt,) = task["attempts"]
        assert set(attempt) >= {
            "n", "token", "backend", "job_id", "state", "raw_state", "exit_code",
            "submitted_at", "started_at", "ended_at",
        }  # fmt: skip
    events = [json.loads(line) for line in command_line.ok("run", "events", run_id).splitlines()]
    assert all(set(event) == {"seq", "at", "run", "type", "data"} for event in events)
    numbers = [event["seq"] for event in events]
    assert numbers == sorted(set(numbers))
    assert (events[0]["type"], events[-1]["type"]) == ("RunCreated", "RunFailed")
    after = numbers[3]
    rest = command_line.ok("run", "events", run_id, "--after", str(after)).splitlines()
    assert [json.loads(line) for line in rest] == [event for event in events if event["seq"] > after]
    logs = command_line.json("run", "logs", run_id, "a")
    assert (logs["task_id"], logs["attempt"], logs["text"]) == ("a", 1, "")


def test_tables_in_a_pipe_are_whole_and_plain(command_line: CommandLine, diary: Diary) -> None:
    long_id = "task-with-a-long-name-" + "x" * 70
    write_tasks(command_line.root, "w", [diary.task(long_id, "exit 9")])
    assert command_line.ok("run", "list") == "no runs yet; start one with: matterstack run start WORKSPACE\n"

    started = command_line.run("run", "start", "w")

    assert started.exit_code == 1
    run_id = command_line.json("run", "list")[0]["run_id"]
    reason = f"task {long_id} failed: its job ended with exit code 9"
    for text in (
        started.stdout,
        command_line.ok("run", "list"),
        command_line.ok("run", "tasks", run_id),
        command_line.ok("run", "status", run_id),
    ):
        assert "\x1b" not in text
        assert long_id in text
        assert "exit code 9" in text
    lines = started.stdout.splitlines()
    assert any(line.endswith(f"FAILED  iteration 1: 1/1 done, 1 failed  {reason}") for line in lines)


def test_a_reader_that_stops_reading_stops_the_command_quietly(
    command_line: CommandLine, diary: Diary
) -> None:
    write_tasks(command_line.root, "w", [diary.task("a", "seq 100000")])
    run_id = command_line.new_run("w")
    command_line.ok("run", "loop", "--until-done", run_id)

    for words in (f"events {run_id}", f"logs {run_id} a", f"tasks {run_id}", "list --json"):
        done = subprocess.run(
            ["bash", "-c", f"set -o pipefail; {COMMAND} run {words} | head -n 1"],
            cwd=command_line.root,
            env=command_line.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), words
        assert done.stdout.count("\n") == 1


def test_logs_show_each_stream_of_each_attempt(command_line: CommandLine, diary: Diary) -> None:
    words = (
        'echo "out $MATTERSTACK_ATTEMPT"; echo "err $MATTERSTACK_ATTEMPT" >&2; test $MATTERSTACK_ATTEMPT = 2'
    )
    tasks = [diary.task("a", words, retries=1), diary.task("b", depends_on=["a"])]
    write_tasks(command_line.root, "w", tasks)
    run_id = command_line.new_run("w")

    nothing = command_line.run("run", "logs", run_id, "a")
    assert nothing.exit_code == 3
    assert "has no task 'a'" in nothing.stderr
    command_line.ok("run", "loop", "--until-done", run_id)

    assert command_line.ok("run", "logs", run_id, "a") == "out 2\n"
    assert command_line.ok("run", "logs", run_id, "a", "--stderr") == "err 2\n"
    assert command_line.ok("run", "logs", run_id, "a", "--attempt", "1") == (
        "==> stdout.log <==\nout 1\n==> stderr.log <==\nerr 1\n"
    )
    assert command_line.ok("run", "logs", run_id, "a", "--attempt", "1", "--stdout") == "out 1\n"
    missing = command_line.run("run", "logs", run_id, "a", "--attempt", "3")
    assert (missing.exit_code, missing.stderr) == (3, "Error: task a has no attempt 3 (it has 2)\n")
    assert command_line.run("run", "logs", run_id, "a", "--attempt", "0").exit_code == 2


def test_followers_see_what_happens_until_the_end(command_line: CommandLine, diary: Diary) -> None:
    words = f"echo first; {diary.gate()}; echo last"
    write_tasks(command_line.root, "w", [diary.task("a", words)])
    run_id = command_line.new_run("w")
    engine = command_line.start("run", "loop", "--until-done", run_id)
    wait_until(lambda: diary.started() == ["a"], PATIENCE_S)
    logs = command_line.start("run", "logs", run_id, "a", "--follow")
    events = command_line.start("run", "events", run_id, "--follow")
    status = command_line.start("run", "status", run_id, "--follow")
    wait_until(lambda: logs.stdout == "first\n", PATIENCE_S, "the first line of the log")
    wait_until(lambda: "JobAccepted" in events.stdout, PATIENCE_S, "the events so far")
    wait_until(lambda: "1 running" in status.stdout, PATIENCE_S, "the progress so far")

    diary.open()

    assert engine.wait().exit_code == 0
    assert logs.wait().stdout == "first\nlast\n"
    followed = [json.loads(line) for line in events.wait().stdout.splitlines()]
    assert followed == command_line.events(run_id)
    done = status.wait()
    assert (done.exit_code, done.stderr) == (0, "")
    assert "COMPLETED  iteration 1: 1/1 done" in done.stdout


def test_a_terminal_shows_live_bars_and_the_summary_once(command_line: CommandLine, diary: Diary) -> None:
    write_tasks(command_line.root, "w", [diary.task(f"t{i}", diary.gate()) for i in range(3)])
    main, terminal = pty.openpty()
    process = subprocess.Popen(
        [COMMAND, "run", "start", "w"],
        cwd=command_line.root,
        env={**command_line.environment, "TERM": "xterm-256color"},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
    )
    os.close(terminal)
    seen = ""
    try:
        while "2 running, 1 waiting" not in seen:
            seen += os.read(main, 4096).decode(errors="replace")
        diary.open()
        while chunk := _read(main):
            seen += chunk
    finally:
        process.wait(PATIENCE_S)
        os.close(main)

    assert process.returncode == 0
    assert "\x1b[2K" in seen, "lines are redrawn in place"
    assert "━" in seen
    final = seen[seen.rindex("\x1b[2K") :]
    assert final.count("COMPLETED") == 1, "the bars are wiped before the summary is printed"
    assert "3/3" in final
    assert "Everything that was done is in" in final


def _read(terminal: int) -> str:
    try:
        return os.read(terminal, 4096).decode(errors="replace")
    except OSError:  # the other side is closed
        return ""


def test_a_run_that_waits_for_seats_of_unserved_jobs_says_so(command_line: CommandLine, diary: Diary) -> None:
    write_tasks(command_line.root, "w", [diary.task(f"t{i}", diary.gate()) for i in range(2)])
    left = command_line.new_run("w")
    engine = command_line.start("run", "loop", left)
    wait_until(lambda: len(diary.started()) == 2, PATIENCE_S)
    engine.signal(signal.SIGTERM)
    engine.wait(timeout_s=10)
    new = command_line.new_run("w")

    waiting = command_line.start("run", "loop", new)

    wait_until(lambda: f"matterstack run loop {left}" in waiting.stdout, PATIENCE_S, "the reason of the wait")
    diary.open()
    command_line.ok("run", "loop", "--until-done", left)
    wait_until(lambda: command_line.status(new)["status"] == "COMPLETED", PATIENCE_S)
