"""What failed tasks said last: shown first wherever somebody looks at a run, and their logs."""

from __future__ import annotations

import resource
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from matterstack.usecases.task_logs import added_to, start_of_last
from matterstack.watch.sentences import sentence
from tests.support.campaigns import write_tasks
from tests.support.command import COMMAND, CommandLine

SAID = "no licence for vasp"


def write(command_line: CommandLine) -> None:
    line = f"echo step 1; echo an older line >&2; printf '\\033[31m{SAID}\\033[0m\\a\\n' >&2; exit 3"
    failing = [{"id": f"relax{n}", "command": ["bash", "-c", line]} for n in range(3)]
    other = {"id": "silent", "command": ["bash", "-c", "echo ended at 7; exit 4"], "allow_failure": True}
    fine = {"id": "fine", "command": ["bash", "-c", "echo warned >&2; echo done"]}
    write_tasks(command_line.root, "campaign", [*failing, other, fine])


@pytest.fixture
def failed(command_line: CommandLine) -> str:
    """A run whose tasks have failed."""
    write(command_line)
    run_id = command_line.new_run("campaign")
    command_line.run("run", "loop", "--until-done", run_id)
    return run_id


EXPECTED = [
    "FAILED relax0 and 2 more: its job ended with exit code 3",
    "  | an older line",
    f"  | {SAID}\\x07",
    "FAILED silent: its job ended with exit code 4",
    "  | ended at 7",
]


def told(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith(("FAILED ", "  | "))]


@pytest.mark.parametrize("words", [["start", "campaign"], ["loop", "--until-done"]])
def test_who_serves_a_run_reads_what_its_failed_tasks_said(
    command_line: CommandLine, words: list[str]
) -> None:
    write(command_line)
    if words[0] == "loop":
        command_line.new_run("campaign")
    done = command_line.run("run", *words)
    assert done.exit_code == 1
    assert told(done.stdout) == EXPECTED


def test_every_other_command_tells_it_too(command_line: CommandLine, failed: str) -> None:
    assert told(command_line.ok("run", "status", failed)) == EXPECTED
    table = command_line.ok("run", "tasks", failed)
    assert "last words" in table
    assert f"{SAID}\\x07" in table
    attempts = command_line.tasks(failed)["relax0"]["attempts"]
    assert attempts[-1]["last_words"] == f"an older line\n{SAID}\\x07"
    (cause,) = (
        c for c in command_line.json("run", "explain", failed)["causes"] if c["kind"] == "task_failed"
    )
    assert cause["last_words"] == f"an older line\n{SAID}\\x07"
    assert f"   | {SAID}\\x07" in command_line.ok("run", "explain", failed).splitlines()
    said = [sentence(event, "relax0") for event in command_line.events(failed) if event["type"] == "JobEnded"]
    assert any(line.endswith(f"exit code 3 | {SAID}\\x07") for line in said)


def test_the_report_tells_it_and_the_bundle_holds_against_its_store(
    command_line: CommandLine, failed: str
) -> None:
    bundle = Path(command_line.json("run", "export-evidence", failed)["path"])
    report = (bundle / "report.md").read_text()
    assert "Last lines that attempt 1 of silent printed:\n\n    ended at 7\n" in report
    assert "What attempt 1 of relax0 printed at last" in (bundle / "report.html").read_text()
    assert command_line.json("evidence", "verify", str(bundle), "--against-store")["ok"] is True


def test_folders_of_tasks_and_silence_make_no_difference_of_how_they_failed(
    command_line: CommandLine,
) -> None:
    line = "[ $MATTERSTACK_TASK_ID = t1 ] || echo $PWD/job.sh: not found >&2; exit 3"
    write_tasks(
        command_line.root, "campaign", [{"id": f"t{n}", "command": ["bash", "-c", line]} for n in range(4)]
    )
    done = command_line.run("run", "start", "campaign")
    first, *words = told(done.stdout)
    assert first == "FAILED t0 and 3 more: its job ended with exit code 3"
    assert len(words) == 1


def test_nothing_is_told_where_nothing_failed(command_line: CommandLine) -> None:
    write_tasks(command_line.root, "campaign", [{"id": "a", "command": ["bash", "-c", "echo warned >&2"]}])
    done = command_line.run("run", "start", "campaign")
    assert (done.exit_code, told(done.stdout)) == (0, [])
    run_id = command_line.json("run", "list")[0]["run_id"]
    assert "last words" not in command_line.ok("run", "tasks", run_id)


# ---- logs ----


def test_the_logs_of_a_failed_task_are_both_of_its_streams(command_line: CommandLine, failed: str) -> None:
    both = command_line.ok("run", "logs", failed, "relax0")
    assert (
        both == f"==> stdout.log <==\nstep 1\n==> stderr.log <==\nan older line\n\x1b[31m{SAID}\x1b[0m\\x07\n"
    )
    assert command_line.ok("run", "logs", failed, "relax0", "--stdout") == "step 1\n"
    assert command_line.ok("run", "logs", failed, "relax0", "--stderr").startswith("an older line\n")
    assert command_line.ok("run", "logs", failed, "silent") == "ended at 7\n"
    assert command_line.ok("run", "logs", failed, "fine") == "done\n"
    told = command_line.json("run", "logs", failed, "relax0")
    assert (told["text"], told["stderr"]) == ("step 1\n", f"an older line\n\x1b[31m{SAID}\x1b[0m\a\n")
    assert "stderr" not in command_line.json("run", "logs", failed, "fine")


def test_only_the_last_lines_are_printed_where_somebody_wants_that(
    command_line: CommandLine, failed: str
) -> None:
    assert command_line.ok("run", "logs", failed, "relax0", "--stderr", "--tail", "1") == (
        f"\x1b[31m{SAID}\x1b[0m\\x07\n"
    )
    assert command_line.ok("run", "logs", failed, "relax0", "--tail", "0") == ""
    told = command_line.json("run", "logs", failed, "relax0", "--tail", "1")
    assert (told["text"], told["stderr"]) == ("step 1\n", f"\x1b[31m{SAID}\x1b[0m\a\n")
    assert command_line.run("run", "logs", failed, "relax0", "--stdout", "--stderr").exit_code == 2


LINES = st.lists(st.sampled_from([b"", b"a", b"long " * 9000]), max_size=12)


@given(LINES, st.booleans(), st.integers(0, 14))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_last_lines_begin_where_tail_has_them(
    tmp_path: Path, lines: list[bytes], is_ended: bool, count: int
) -> None:
    text = b"\n".join(lines) + (b"\n" if is_ended and lines else b"")
    path = tmp_path / "stdout.log"
    path.write_bytes(text)
    begin = start_of_last(path, count)
    expected = b"".join(text.splitlines(keepends=True)[-count:]) if count else b""
    assert b"".join(added_to(path, begin)) == expected


def test_what_logs_take_of_memory_does_not_grow_with_the_log(command_line: CommandLine) -> None:
    line = "yes 'step 1 energy -1.234567' | head -c 160000000; exit 1"
    write_tasks(command_line.root, "campaign", [{"id": "big", "command": ["bash", "-c", line]}])
    done = command_line.run("run", "start", "campaign")
    assert done.exit_code == 1
    run_id = command_line.json("run", "list")[0]["run_id"]

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (300 << 20, 300 << 20))

    for options in ([], ["--json"], ["--tail", "3"], ["--raw"]):
        said = subprocess.run(
            [COMMAND, "run", "logs", run_id, "big", *options],
            cwd=command_line.root,
            env=command_line.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            preexec_fn=limit,
            check=False,
            timeout=300,
        )
        assert (options, said.returncode, said.stderr) == (options, 0, b"")
