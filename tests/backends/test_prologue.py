"""What a prologue does to its job: it prepares the command, or ends the job and says why."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from matterstack.backends.exit_record import ExitRecord
from matterstack.backends.prologue import Prologue, parsing_problem
from matterstack.core.ids import Token
from matterstack.core.run.retry_rules import failure_kind
from matterstack.core.secret_words import Search
from matterstack.core.states import FailureKind
from matterstack.storage.log_ends import read_said
from tests.backends.test_script import Job

pytestmark = pytest.mark.usefixtures("processes")


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path / "attempt")


def run(
    job: Job, *entries: str, may_fail: bool = False, command: Sequence[str] = ("echo", "began")
) -> ExitRecord:
    return job.run(*command, prologue=Prologue(entries=entries, may_fail=may_fail), nonce="n0nce")


def reason(job: Job, record: ExitRecord) -> str:
    """As people see it."""
    seen = record.observed(Token("t"))
    assert seen.said_from is not None
    said = read_said(job.folder, seen.said_from, Search())
    return f"{seen.reason}: {said}" if said else seen.reason


def test_the_first_entry_that_fails_ends_the_job_before_its_command_begins(job: Job) -> None:
    record = run(job, "echo a warning >&2", "no-such-command vasp/6.4", "touch went-on")
    assert record.exit_code == 127
    assert job.stdout == ""
    assert not (job.folder / "went-on").exists()
    assert reason(job, record) == (
        "prologue line 2 failed with 127: no-such-command vasp/6.4: no-such-command: command not found"
    )
    seen = record.observed(Token("t"))
    assert failure_kind(seen.state, seen.raw_state) is FailureKind.ENVIRONMENT


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        (["exit 5"], "prologue line 1 failed with 5: exit 5"),
        (["true", "exit"], "prologue line 2 ended the job before its command began: exit"),
        (["exec true"], "prologue line 1 ended the job before its command began: exec true"),
        (["exec sh -c 'exit 7'"], "prologue line 1 failed with 7: exec sh -c 'exit 7'"),
        (['[ -n "$NOT_SET" ] && echo it'], 'prologue line 1 failed with 1: [ -n "$NOT_SET" ] && echo it'),
        (["# fine", "", "if true; then\n  false\nfi"], "prologue line 3 failed with 1: if true; then …"),
        (["set -e", "false"], "prologue line 2 failed with 1: false"),
        (["IFS=0123", "set -C; set -f", "false"], "prologue line 3 failed with 1: false"),
        (["f() { return 4; }", "f # \"quoted\" and 'so' \\n"], None),
    ],
    ids=lambda value: value[-1][:20] if isinstance(value, list) else "",
)
def test_however_an_entry_ends_the_job_its_words_say_so(
    job: Job, entries: list[str], told: str | None
) -> None:
    record = run(job, *entries)
    assert record.exit_code != 0
    assert job.stdout == ""
    expected = told or f"prologue line 2 failed with 4: {entries[1]}"
    assert reason(job, record) == expected


def test_an_entry_that_is_killed_has_ended_the_job_too(job: Job) -> None:
    record = run(job, "true", "kill -9 $BASHPID", "true")
    assert reason(job, record).startswith("prologue line 2 failed with 137: kill -9 $BASHPID: ")


def test_what_an_entry_prints_when_it_fails_is_told_whole(job: Job) -> None:
    record = run(job, "printf 'Lmod has detected an error:\\n\\n  unknown: x/1\\n' >&2; false")
    assert reason(job, record).endswith("false: Lmod has detected an error: unknown: x/1")


def test_entries_set_variables_functions_and_the_folder_of_the_command(job: Job) -> None:
    record = run(
        job,
        "export A=1",
        "twice() { A=$A$A; }",
        "twice",
        "mkdir inner && cd inner",
        "exec 3> told-by-three",
        command=["bash", "-c", 'echo "$A"; echo three >&3; touch here; ls /proc/self/fd | wc -l >&2'],
    )
    assert (record.exit_code, record.prologue, job.stdout) == (0, None, "11\n")
    assert (job.folder / "inner" / "here").exists()
    assert (job.folder / "inner" / "told-by-three").read_text() == "three\n"
    # 0 to 3, and what ls itself has open: nothing of ours is left.
    assert (job.folder / "stderr.log").read_text().strip() == "5"


@pytest.mark.parametrize("option", ["set -e", "set -euo pipefail"])
def test_options_of_the_prologue_do_not_reach_the_command(job: Job, option: str) -> None:
    record = run(job, option, command=["bash", "-c", "false; echo went on; exit 3"])
    assert (record.exit_code, record.prologue, job.stdout) == (3, None, "went on\n")


def test_where_it_may_fail_only_what_leaves_the_shell_ends_the_job(job: Job, tmp_path: Path) -> None:
    record = run(job, "false", "no-such-command", "(exit 9)", may_fail=True)
    assert (record.exit_code, record.prologue, job.stdout) == (0, None, "began\n")
    other = Job(tmp_path / "other")
    assert (
        reason(other, run(other, "false", "exit 9", may_fail=True)) == "prologue line 2 failed with 9: exit 9"
    )


def test_no_command_can_say_that_its_prologue_had_failed(job: Job) -> None:
    trick = "for n in $(seq 3 30); do { echo 1 0 >&$n; } 2>/dev/null; done; exit 6"
    record = run(job, "true", command=["bash", "-c", trick])
    assert (record.exit_code, record.prologue) == (6, None)


def test_an_entry_that_leaves_something_running_holds_up_nobody(job: Job) -> None:
    record = run(job, "sleep 20 >/dev/null 2>&1 & echo $! > pid")
    assert (record.exit_code, job.stdout) == (0, "began\n")


def test_a_record_with_the_longest_entry_is_read(job: Job) -> None:
    entry = "false || false # " + "\U0001f600\"'\\" * 500
    record = run(job, entry)
    assert record.prologue is not None
    assert (record.prologue.line, record.prologue.exit_code) == (1, 1)


def test_a_record_of_an_older_script_is_read_as_it_was() -> None:
    text = {
        "exit_code": 1,
        "started_at": "2026-01-01T00:00:00.000000Z",
        "ended_at": "2026-01-01T00:00:01.000000Z",
        "host": "n1",
        "job_id": "1",
    }
    seen = ExitRecord.model_validate_json(json.dumps(text)).observed(Token("t"))
    assert (seen.raw_state, seen.said_from) == ("FAILED", None)


WHOLE = "if [ -d /opt ]; then\n  module load vasp\nfi"


@pytest.mark.parametrize(
    "entry",
    [
        WHOLE,
        "# only a remark",
        "",
        "module load a b; export A='x y'",
        "cat > in <<END\nline\nEND",
        "case $A in x) echo;; esac",
        "shopt -s extglob; rm -f !(a|b)",
        "# not joined \\",
        "echo \\\\",
    ],
)
def test_what_is_a_whole_piece_of_shell_is_taken(entry: str) -> None:
    assert parsing_problem([entry]) is None


@pytest.mark.parametrize(
    ("entries", "index"),
    [
        (WHOLE.split("\n"), 0),
        (["true", "for i in 1 2; do", "echo $i", "done"], 1),
        (["f() {", "echo f", "}"], 0),
        (["cat > in <<END", "line", "END"], 0),
        (["export A='x", "y'"], 0),
        (["module load a \\", "b"], 0),
        (["a && ", "b"], 0),
    ],
)
def test_what_is_spread_over_entries_is_told_with_what_would_be_whole(entries: list[str], index: int) -> None:
    found = parsing_problem(entries)
    assert found is not None
    assert (found[0], found[2]) == (index, "\n".join(entries[index:]))
    assert found[1]
    assert "bash" not in found[1]


def test_what_nothing_makes_whole_is_told_all_the_same() -> None:
    assert parsing_problem(["echo )", "true"]) == (0, "syntax error near unexpected token `)'", "")
