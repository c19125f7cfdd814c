"""Outputs that are larger than anybody would hash while somebody waits."""

from __future__ import annotations

import time
from typing import Any

from tests.support.campaigns import Diary, write_tasks
from tests.support.command import PATIENCE_S, CommandLine
from tests.support.polling import wait_until


def _causes(command_line: CommandLine, run_id: str) -> str:
    document: Any = command_line.json("run", "explain", run_id)
    return " ".join(cause["message"] for cause in document["causes"])


def test_a_run_is_cancelled_within_seconds_whatever_is_hashed_and_others_go_on(
    command_line: CommandLine, diary: Diary
) -> None:
    write_tasks(command_line.root, "large", [diary.task("huge", "truncate -s 900G big", outputs=["big"])])
    write_tasks(command_line.root, "small", [diary.task("quick", "echo 1 > out", outputs=["out"])])
    large = command_line.new_run("large")
    engine = command_line.start("run", "loop")
    wait_until(lambda: "finishing: " in _causes(command_line, large), PATIENCE_S, "the hashing")
    assert " of 900 GiB (huge)" in command_line.ok("run", "status", large)
    assert command_line.json("run", "status", large)["finishing"]["huge"]["total_bytes"] == 900 << 30
    small = command_line.new_run("small")
    wait_until(lambda: command_line.status(small)["status"] == "COMPLETED", PATIENCE_S, "another run")

    began = time.monotonic()
    command_line.ok("run", "cancel", large)
    wait_until(lambda: command_line.status(large)["status"] == "CANCELLED", PATIENCE_S, "the end")
    took_s = time.monotonic() - began

    assert took_s < 15
    assert command_line.tasks(large)["huge"]["status"] == "CANCELLED"
    engine.kill()


def test_an_output_that_is_too_large_fails_its_task_at_once_and_is_not_tried_again(
    command_line: CommandLine, diary: Diary
) -> None:
    task = diary.task("huge", "truncate -s 8T big; echo 1 > small", outputs=["big", "small"], retries=3)
    write_tasks(command_line.root, "large", [task])

    done = command_line.run("run", "start", "large", "--json")

    assert done.json["status"] == "FAILED"
    told = command_line.tasks(done.json["run_id"])["huge"]
    assert told["reason"] == "output 'big' has 8192 GiB, and max_output_gib is 1024"
    assert len(told["attempts"]) == 1
    folder = command_line.run_folder("large", done.json["run_id"]) / "tasks/huge/1"
    assert (folder / "big").stat().st_size == 8 << 40, "it stays where it is"


def test_how_large_an_output_may_be_is_configured(command_line: CommandLine, diary: Diary) -> None:
    write_tasks(command_line.root, "large", [diary.task("t", "truncate -s 3M big", outputs=["big"])])

    ended = {
        most: command_line.run("run", "start", "large", "--set", f"max_output_gib={most}", "--json").json[
            "status"
        ]
        for most in (0.001, 0.5)
    }

    assert ended == {0.001: "FAILED", 0.5: "COMPLETED"}
    refused = command_line.run("run", "start", "large", "--set", "max_output_gib=0")
    assert "max_output_gib" in refused.stderr


def test_a_run_is_cancelled_within_seconds_whatever_is_copied_for_its_jobs(
    command_line: CommandLine, diary: Diary
) -> None:
    source = command_line.root / "huge.dat"
    with source.open("wb") as file:
        file.truncate(900 << 30)
    task = diary.task("user", "true", files={"huge.dat": str(source)})
    write_tasks(command_line.root, "large", [task])
    write_tasks(command_line.root, "small", [diary.task("quick", "echo 1 > out", outputs=["out"])])
    large = command_line.new_run("large")
    engine = command_line.start("run", "loop")
    copy = command_line.run_folder("large", large) / "tasks/user/1/huge.dat"
    wait_until(copy.exists, PATIENCE_S, "the copying")
    small = command_line.new_run("small")
    wait_until(lambda: command_line.status(small)["status"] == "COMPLETED", PATIENCE_S, "another run")

    command_line.ok("run", "cancel", large)
    wait_until(lambda: command_line.status(large)["status"] == "CANCELLED", PATIENCE_S, "the end")

    assert command_line.tasks(large)["user"]["status"] == "CANCELLED"
    assert diary.started() == ["quick"]
    engine.kill()
