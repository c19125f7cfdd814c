"""The script of a job, run by bash."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from matterstack.backends.exit_record import ExitRecord, read_exit_record
from matterstack.backends.local import local_clock
from matterstack.backends.prologue import Prologue
from matterstack.backends.script import JobScript, LocalClock, render
from matterstack.backends.secrets_file import secrets_text
from matterstack.core.ids import utc_moment
from tests.support.polling import wait_until

words = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)


@attrs.frozen
class Job:
    """A folder with a script in it, which jobs with any id may run."""

    folder: Path

    def write(self, *command: str, **options: Any) -> None:
        """Write the script; `finish` runs it."""
        options = {"env": {}, "find_job_id": ["MATTERSTACK_JOB_ID=$TEST_JOB_ID"], **options}
        script = render(JobScript(folder=str(self.folder), command=command, **options))
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "job.sh").write_text(script, newline="")

    def start(self, job_id: str = "1", **variables: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            ["bash", str(self.folder / "job.sh")],
            env={**os.environ, "TEST_JOB_ID": job_id, **variables},
            cwd="/",
            stderr=subprocess.PIPE,
        )

    def finish(self, job_id: str = "1", **variables: str) -> tuple[int, str]:
        """Run the script; its exit code, and what it told the scheduler."""
        with self.start(job_id, **variables) as process:
            _, complaint = process.communicate(timeout=30)
        return process.returncode, complaint.decode()

    def run(self, *command: str, **options: Any) -> ExitRecord:
        """Write the script, run it, and read how it ended."""
        self.write(*command, **options)
        assert self.finish() == (self.record.exit_code, "")
        return self.record

    @property
    def record(self) -> ExitRecord:
        found = read_exit_record(self.folder, "1", None)
        assert found is not None, list(self.folder.iterdir())
        return found

    @property
    def stdout(self) -> str:
        return (self.folder / "stdout.log").read_text()


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path / "job")


# ---- the claim ----


def test_a_job_claims_its_folder_and_works_in_it(job: Job) -> None:
    job.run("pwd")

    assert (job.folder / "claim" / "job_id").read_text() == "1\n"
    assert job.stdout == f"{job.folder}\n"


def test_a_second_job_leaves_without_touching_anything(job: Job) -> None:
    job.run("bash", "-c", "echo worked")
    before = {path: path.stat().st_mtime_ns for path in job.folder.rglob("*")}

    exit_code, complaint = job.finish("2")

    assert exit_code == 0
    assert "job 2 does no work: another job has claimed" in complaint
    assert before == {path: path.stat().st_mtime_ns for path in job.folder.rglob("*")}


@pytest.mark.parametrize("clock", [None, local_clock()], ids=["anywhere", "on this machine"])
def test_of_many_jobs_at_once_one_works(job: Job, clock: LocalClock | None) -> None:
    job.write("bash", "-c", "echo $MATTERSTACK_TEST >> ../worked; sleep 0.1", local_clock=clock)
    if clock is not None:
        (job.folder / "claim").mkdir()

    processes = [job.start(str(i)) for i in range(12)]
    for process in processes:
        with process:
            process.communicate(timeout=30)

    assert (job.folder.parent / "worked").read_text().count("\n") == 1
    assert [process.returncode for process in processes] == [0] * 12


def test_a_requeued_job_goes_on_and_its_record_is_the_new_one(job: Job) -> None:
    job.write("bash", "-c", "echo again; exit $(wc -l < stdout.log)")

    codes = [job.finish()[0] for _ in range(3)]

    assert codes == [1, 2, 3]
    assert job.record.exit_code == 3
    assert job.stdout == "again\n" * 3, "what the first try printed is kept"


def test_a_requeued_job_that_is_killed_does_not_end_as_its_first_try_did(job: Job) -> None:
    job.write("bash", "-c", '[ -e "$HOLD" ] && sleep 60')
    job.finish(HOLD="/nowhere")
    assert job.record.exit_code == 1

    with job.start(HOLD="/dev/null") as process:
        wait_until(lambda: not (job.folder / "exit.json").exists(), 10)
        process.kill()

    assert not (job.folder / "exit.json").exists()


def test_a_claim_whose_maker_died_before_it_wrote_its_id_is_taken_over_by_one_job(job: Job) -> None:
    job.write("bash", "-c", "echo worked >> ../worked")
    (job.folder / "claim").mkdir()

    processes = [job.start(str(i)) for i in range(4)]
    for process in processes:
        with process:
            process.communicate(timeout=30)

    assert (job.folder.parent / "worked").read_text() == "worked\n"


# ---- the record ----


def test_the_record_says_when_where_and_how(job: Job) -> None:
    before = datetime.now(UTC)
    record = job.run("bash", "-c", "sleep 0.05; exit 9")
    after = datetime.now(UTC)

    assert json.loads((job.folder / "exit.json").read_text()) == {
        "exit_code": 9,
        "started_at": record.started_at,
        "ended_at": record.ended_at,
        "host": os.uname().nodename,
        "job_id": "1",
        "environment": record.environment,
    }
    assert before <= utc_moment(record.started_at) <= utc_moment(record.ended_at) <= after
    assert (utc_moment(record.ended_at) - utc_moment(record.started_at)).total_seconds() >= 0.05
    assert not (job.folder / ".exit.json.part").exists()


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Kolkata", ""])
def test_times_are_utc_in_every_zone_and_locale(job: Job, zone: str) -> None:
    job.write("true")
    job.finish(TZ=zone, LC_ALL="de_DE.UTF-8")

    assert abs((utc_moment(job.record.started_at) - datetime.now(UTC)).total_seconds()) < 30
    assert job.record.started_at.endswith("Z")


def test_times_are_right_under_a_bash_without_epochrealtime(job: Job, tmp_path: Path) -> None:
    old = tmp_path / "old.sh"
    old.write_text("unset EPOCHREALTIME\n")
    job.write("true")

    job.finish(BASH_ENV=str(old))

    assert abs((utc_moment(job.record.started_at) - datetime.now(UTC)).total_seconds()) < 30
    assert len(job.record.started_at) == len("2026-01-02T03:04:05.000000Z")


@pytest.mark.parametrize(
    ("command", "exit_code"),
    [
        (["exit", "0"], 127),
        (["leave"], 127),
        (["now"], 127),
        (["if"], 127),
        (["A=b", "true"], 127),
        (["-x"], 127),
        (["/"], 126),
        (["cd", "/"], 127),
        (["echo", "a program too"], 0),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_command_is_a_program_and_no_word_of_the_shell(
    job: Job, command: list[str], exit_code: int
) -> None:
    assert job.run(*command).exit_code == exit_code


# ---- words, variables, folders ----


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(arguments=st.lists(words, max_size=4), value=words)
def test_every_word_reaches_the_command(job: Job, arguments: list[str], value: str) -> None:
    program = Path(job.folder.parent / "show.sh")
    program.write_text('printf "%s\\0" "$@" "$VALUE"\n')
    for path in sorted(job.folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()

    job.run("bash", str(program), *arguments, env={"VALUE": value})

    shown = (job.folder / "stdout.log").read_bytes().decode().split("\0")
    assert shown == [*arguments, value, ""]


def test_the_script_holds_no_carriage_return(job: Job) -> None:
    job.run("bash", "-c", 'printf "%s" "$0"', "a\r\nb'\\n\r", env={"X": "\r"})

    assert b"\r" not in (job.folder / "job.sh").read_bytes(), "sbatch refuses such a script"
    assert (job.folder / "stdout.log").read_bytes() == b"a\r\nb'\\n\r"


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(
    "name", ["with space", "it's", 'a"b', "$HOME", "two\nlines", "电池", "-rf", "a;b", "\\"]
)
def test_the_folder_may_have_any_name(tmp_path: Path, name: str) -> None:
    job = Job(tmp_path / name)

    assert job.run("touch", "here").exit_code == 0
    assert (tmp_path / name / "here").exists()


@pytest.mark.parametrize(
    "env",
    [
        {"HOSTNAME": "liar", "started": "x", "code": "5", "timed_out": ', "x": 1', "MATTERSTACK_JOB_ID": "2"},
        {"IFS": "0123", "PATH": "/nowhere", "BASH_ENV": "/nowhere", "POSIXLY_CORRECT": "1"},
        {"no name": "x", "a;touch injected": "y", "1": "2", "": "z"},
    ],
    ids=["names of the script", "names of the shell", "no names"],
)
def test_no_variable_of_a_task_spoils_the_record(job: Job, env: Mapping[str, str]) -> None:
    job.run("/bin/true", env=env)

    assert (job.record.host, job.record.job_id) == (os.uname().nodename, "1")
    assert not (job.folder / "injected").exists()


def test_nothing_is_typed_into_the_command(job: Job) -> None:
    assert job.run("cat").exit_code == 0
    assert job.stdout == ""


# ---- prologue and walltime ----


def test_the_prologue_prepares_the_environment_of_the_command(job: Job) -> None:
    job.run(
        "bash", "-c", 'echo "$A $B"', prologue=Prologue(entries=["export A=1", "# a remark", "export B=$A$A"])
    )

    assert job.stdout == "1 11\n"


def test_a_tasks_own_variable_wins_over_the_prologue(job: Job) -> None:
    job.run("bash", "-c", "echo $A", prologue=Prologue(entries=["export A=site"]), env={"A": "task"})

    assert job.stdout == "task\n"


@pytest.mark.parametrize(
    ("prologue", "exit_code"),
    [
        (["exit 5"], 5),
        (["set -e", "false"], 1),
        (["set -u", "echo $NOT_SET"], 1),
        (["set -euo pipefail -C"], 3),
        (["code=8; started=; now() { :; }; exec 2>&1"], 3),
        (["no-such-command"], 127),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_however_the_prologue_ends_it_is_recorded(job: Job, prologue: Sequence[str], exit_code: int) -> None:
    job.run("bash", "-c", "exit 3", prologue=Prologue(entries=prologue))

    assert job.record.exit_code == exit_code
    assert job.record.started_at <= job.record.ended_at


def test_the_folder_of_our_python_is_first_in_path(job: Job, tmp_path: Path) -> None:
    (tmp_path / "it's").mkdir()
    job.run("bash", "-c", "echo ${PATH%%:*}", path=str(tmp_path / "it's"))

    assert job.stdout == f"{tmp_path}/it's\n"


def test_a_command_that_outlasts_its_walltime_is_ended_and_that_is_told(job: Job) -> None:
    record = job.run("sleep", "60", walltime_s=1)

    assert (record.exit_code, record.timed_out) == (124, True)


@pytest.mark.parametrize("exit_code", [0, 124, 137])
def test_a_command_within_its_walltime_has_not_timed_out(job: Job, exit_code: int) -> None:
    job.write("bash", "-c", f"exit {exit_code}", walltime_s=100)
    job.finish(SECONDS="5000")

    assert (job.record.exit_code, job.record.timed_out) == (exit_code, False)


# ---- a disk that is full, a folder that is gone ----


def test_a_folder_that_takes_no_claim_fails_the_job_aloud(job: Job) -> None:
    job.write("touch", "worked")
    (job.folder / "claim").write_text("a file where a folder should be")

    exit_code, complaint = job.finish()

    assert exit_code == 1
    assert "does no work: it cannot claim" in complaint
    assert not (job.folder / "worked").exists()


def test_a_folder_that_is_gone_fails_the_job_aloud(job: Job, tmp_path: Path) -> None:
    job.write("touch", "worked")
    text = (job.folder / "job.sh").read_text()
    script = tmp_path / "job.sh"
    script.write_text(text.replace(str(job.folder), str(tmp_path / "gone")))

    done = subprocess.run(["bash", str(script)], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "gone" in done.stderr


def test_a_full_disk_at_the_claim_fails_the_job_aloud_and_it_does_not_work(job: Job) -> None:
    job.write("touch", "worked")

    exit_code, complaint = _finish_without_room(job)

    assert exit_code == 1
    assert "does no work: it cannot write to" in complaint
    assert not (job.folder / "worked").exists()


def test_a_full_disk_at_the_end_leaves_no_half_record(job: Job) -> None:
    # The command fills the disk: here, it makes the part file a link to a device without room.
    job.write("ln", "-s", "/dev/full", ".exit.json.part")

    job.finish()

    assert not (job.folder / "exit.json").is_symlink()
    assert read_exit_record(job.folder, "1", None) is None


def _finish_without_room(job: Job) -> tuple[int, str]:
    """Run the script where no file may grow beyond 0 bytes, as on a full disk."""
    # SIGXFSZ is ignored, so that writing fails with an error instead.
    limit = "trap '' XFSZ; ulimit -f 0; exec bash \"$1\""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 0
    done = subprocess.run(
        ["bash", "-c", limit, "-", str(job.folder / "job.sh")],
        env={**os.environ, "TEST_JOB_ID": "1"},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=30,
    )
    return done.returncode, done.stderr


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash"])
def test_every_byte_but_nul_comes_through_the_file_of_secrets(tmp_path: Path, shell: str) -> None:
    value = bytes(range(1, 256)) * 2 + b"\n\n'$(id)`\\"
    (tmp_path / "secrets").write_bytes(secrets_text({"A_TOKEN": value, "OTHER": b"x'"}))
    told = "import os, sys; sys.stdout.buffer.write(os.environb[b'A_TOKEN'] + os.environb[b'OTHER'])"
    done = subprocess.run(
        [shell, "-c", '. ./secrets; exec "$0" -c "$1"', sys.executable, told],
        cwd=tmp_path, stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    assert done.stdout == value + b"x'"
