"""The script of a job whose attempt has a nonce, in a folder where others have planted things before."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

from matterstack.backends.exit_record import read_claim, read_exit_record
from matterstack.backends.local import local_clock
from matterstack.backends.script import JobScript, LocalClock, render
from matterstack.core.nonces import sha256_of_nonce

NONCE = "0123456789abcdef0123456789abcdef"
SHA256 = sha256_of_nonce(NONCE)


@attrs.frozen
class Job:
    """A folder with a script in it, for a plain sh(1) of this machine or for bash anywhere."""

    folder: Path
    clock: LocalClock | None

    def write(self, *command: str, **options: Any) -> None:
        self.folder.mkdir(exist_ok=True)
        script = JobScript(
            folder=str(self.folder),
            command=command,
            find_job_id=["MATTERSTACK_JOB_ID=$TEST_JOB_ID"],
            env={},
            nonce=NONCE,
            local_clock=self.clock,
            **options,
        )
        (self.folder / "job.sh").write_text(render(script))
        (self.folder / "manifest.json").write_text("{}")
        if self.clock is not None and not os.path.lexists(self.folder / "claim"):
            (self.folder / "claim").mkdir()

    def start(self, job_id: str = "1") -> subprocess.Popen[bytes]:
        script = self.folder / "job.sh"
        shell = script.read_text().partition("\n")[0].removeprefix("#!")
        return subprocess.Popen(
            [shell, str(script)], env={**os.environ, "TEST_JOB_ID": job_id}, stderr=subprocess.PIPE
        )

    def finish(self, job_id: str = "1") -> tuple[int, str]:
        """Run the script; its exit code, and what it told the scheduler."""
        with self.start(job_id) as process:
            _, said = process.communicate(timeout=30)
        return process.returncode, said.decode()

    @property
    def kept(self) -> list[str]:
        """What was set aside, without the numbers."""
        before = self.folder / "claim" / "before"
        return sorted(path.name.partition("-")[2] for path in before.iterdir()) if before.exists() else []

    @property
    def names(self) -> set[str]:
        return {path.name for path in self.folder.iterdir()}


@pytest.fixture(params=["bash", "sh"])
def job(request: pytest.FixtureRequest, tmp_path: Path) -> Job:
    return Job(tmp_path / "job", local_clock() if request.param == "sh" else None)


def test_the_claim_and_the_record_bear_the_nonce_and_the_command_does_not(job: Job) -> None:
    job.write("env")

    assert job.finish() == (0, "")

    assert (job.folder / "claim" / "job_id").read_text() == f"1 {NONCE}\n"
    assert json.loads((job.folder / "exit.json").read_text())["nonce"] == NONCE
    assert NONCE not in (job.folder / "stdout.log").read_text()
    assert read_claim(job.folder, SHA256) == "1"
    assert read_exit_record(job.folder, "1", SHA256) is not None
    assert read_claim(job.folder, sha256_of_nonce("of another attempt")) is None
    assert read_exit_record(job.folder, "1", sha256_of_nonce("of another attempt")) is None


def test_a_requeued_job_goes_on_with_what_it_had_left(job: Job) -> None:
    job.write("bash", "-c", "[ -e checkpoint ] && exit 0; touch checkpoint; echo {} > result.json; exit 5")

    assert [job.finish()[0], job.finish()[0]] == [5, 0]

    assert job.kept == []
    assert (job.folder / "result.json").exists()
    record = read_exit_record(job.folder, "1", SHA256)
    assert record is not None
    assert (record.exit_code, record.set_aside) == (0, 0)


def test_a_second_job_of_the_attempt_leaves_without_touching_anything(job: Job) -> None:
    job.write("true")
    job.finish()
    before = {path: path.stat().st_mtime_ns for path in job.folder.rglob("*")}

    exit_code, said = job.finish("2")

    assert exit_code == 0
    assert "job 2 does no work: another job has claimed" in said
    assert before == {path: path.stat().st_mtime_ns for path in job.folder.rglob("*")}


def _claimed_by(text: str) -> Callable[[Path], None]:
    def plant(folder: Path) -> None:
        (folder / "claim").mkdir()
        (folder / "claim" / "job_id").write_text(text)

    return plant


def _a_file(folder: Path) -> None:
    (folder / "claim").write_text("1\n")


def _a_link_to_a_folder(folder: Path) -> None:
    (folder.parent / "elsewhere").mkdir()
    (folder / "claim").symlink_to(folder.parent / "elsewhere")


def _a_link_to_nowhere(folder: Path) -> None:
    (folder / "claim").symlink_to("nowhere")


def _a_pipe_that_nobody_writes(folder: Path) -> None:
    (folder / "claim").mkdir()
    os.mkfifo(folder / "claim" / "job_id")


def _a_claim_that_is_a_link(folder: Path) -> None:
    (folder / "claim").mkdir()
    (folder / "claim" / "job_id").symlink_to("/dev/null")


def _a_claim_that_is_a_folder(folder: Path) -> None:
    (folder / "claim" / "job_id").mkdir(parents=True)


FORGED: dict[str, Callable[[Path], None]] = {
    "in its own name": _claimed_by("1\n"),
    "in the name of another": _claimed_by("17\n"),
    "with the nonce of another": _claimed_by(f"1 {NONCE[::-1]}\n"),
    "with many words": _claimed_by(f"1 {NONCE} x\n"),
    "a file": _a_file,
    "a link to a folder": _a_link_to_a_folder,
    "a link to nowhere": _a_link_to_nowhere,
    "a pipe": _a_pipe_that_nobody_writes,
    "a link": _a_claim_that_is_a_link,
    "a folder": _a_claim_that_is_a_folder,
}


@pytest.mark.parametrize("what", FORGED)
def test_a_claim_that_is_none_of_the_attempts_is_set_aside_and_the_job_works(job: Job, what: str) -> None:
    job.folder.mkdir()
    FORGED[what](job.folder)
    job.write("touch", "worked")

    exit_code, said = job.finish()

    assert (exit_code, read_claim(job.folder, SHA256)) == (0, "1"), said
    assert f"job 1: claim lay in {job.folder} before it began; see claim/before" in said
    assert job.kept == ["claim"]
    assert job.names == {
        "claim", "job.sh", "manifest.json", "worked", "stdout.log", "stderr.log", "exit.json",
    }  # fmt: skip
    record = read_exit_record(job.folder, "1", SHA256)
    assert record is not None
    assert record.set_aside == 1


def test_of_many_jobs_at_once_one_works_where_a_claim_was_forged(job: Job) -> None:
    job.folder.mkdir()
    _claimed_by("17\n")(job.folder)
    job.write("bash", "-c", "echo worked >> ../worked; sleep 0.1")

    processes = [job.start(str(number)) for number in range(12)]
    for process in processes:
        with process:
            process.communicate(timeout=60)

    assert (job.folder.parent / "worked").read_text() == "worked\n"
    assert [process.returncode for process in processes] == [0] * 12
    assert job.kept == ["claim"]


def test_what_the_job_was_not_given_is_set_aside_and_what_it_was_given_stays(job: Job) -> None:
    job.write("cat", "given", "deep/in it/given", given=["given", "deep/in it/given"])
    (job.folder / "deep" / "in it").mkdir(parents=True)
    for name in ("given", "deep/in it/given"):
        (job.folder / name).write_text("given\n")
    planted = ["result.json", "exit.json", "out.dat", ".hidden", "..more", "deep/out.dat", "deep/in it/.x"]
    for name in planted:
        (job.folder / name).write_text("planted\n")
    (job.folder / "folder").mkdir()
    (job.folder / "folder" / "out.dat").write_text("planted\n")
    outside = job.folder.parent / "outside"
    outside.write_text("")
    (job.folder / "stdout.log").symlink_to(outside)
    (job.folder / "-rf").write_text("planted\n")

    exit_code, said = job.finish()

    assert exit_code == 0, said
    assert (job.folder / "stdout.log").read_text() == "given\n" * 2
    assert outside.read_text() == "", "it is not written through"
    assert job.kept == sorted([*(name.rpartition("/")[2] for name in planted), "folder", "stdout.log", "-rf"])
    assert not any((job.folder / name).exists() for name in planted if name != "exit.json")
    record = read_exit_record(job.folder, "1", SHA256)
    assert record is not None
    assert record.set_aside == len(planted) + 3


def test_a_claim_that_its_maker_left_empty_is_still_nobodys(job: Job) -> None:
    """Who is to say that it does not work?"""
    job.folder.mkdir()
    _claimed_by("")(job.folder)
    job.write("touch", "worked")

    exit_code, said = job.finish()

    assert (exit_code, (job.folder / "worked").exists()) == (1, False)
    assert "it cannot write to" in said
