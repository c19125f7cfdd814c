"""What jobs leave in their folders is believed only where it is whole, and never stops the reader."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from matterstack.backends.exit_record import MOST_BYTES, ExitRecord, read_claim, read_exit_record
from matterstack.backends.processes import ProcessName
from matterstack.core.ids import Token
from matterstack.core.states import JobState
from matterstack.storage.small_files import read_small

WHOLE: dict[str, Any] = {
    "exit_code": 3,
    "started_at": "2026-01-01T00:00:00.120000Z",
    "ended_at": "2026-01-01T00:00:05Z",
    "host": "n1",
    "job_id": "17",
}


def write(folder: Path, content: str | bytes) -> None:
    (folder / "exit.json").write_bytes(content if isinstance(content, bytes) else content.encode())


def test_a_whole_record_of_the_job_is_its_end(tmp_path: Path) -> None:
    write(tmp_path, json.dumps(WHOLE))
    record = read_exit_record(tmp_path, "17", None)
    assert record is not None
    seen = record.observed(Token("t"))
    assert (seen.state, seen.exit_code, seen.raw_state) == (JobState.COMPLETED_ERROR, 3, "FAILED")
    assert (seen.host, seen.started_at, seen.ended_at) == ("n1", WHOLE["started_at"], WHOLE["ended_at"])


def test_every_beginning_of_a_record_is_none(tmp_path: Path) -> None:
    text = json.dumps(WHOLE)
    for length in range(len(text)):
        write(tmp_path, text[:length])
        assert read_exit_record(tmp_path, "17", None) is None, text[:length]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("exit_code", 10**30),
        ("exit_code", 2**63),
        ("exit_code", 256),
        ("exit_code", -1),
        ("exit_code", 1.5),
        ("exit_code", None),
        ("started_at", "yesterday"),
        ("ended_at", ""),
        ("ended_at", "2026-01-01T00:00:05Z\n"),
        ("ended_at", 5),
        ("host", None),
        ("host", "\ud800"),
        ("job_id", "18"),
        ("job_id", 17),
    ],
)
def test_a_forged_record_is_none(tmp_path: Path, field: str, value: object) -> None:
    write(tmp_path, json.dumps({**WHOLE, field: value}))
    assert read_exit_record(tmp_path, "17", None) is None


def test_a_record_that_says_twice_how_it_ended_is_none(tmp_path: Path) -> None:
    write(tmp_path, json.dumps(WHOLE).replace("{", '{"exit_code": 0, ', 1))
    assert read_exit_record(tmp_path, "17", None) is None


@pytest.mark.parametrize("content", [b"", b"null", b"[]", b"\xff\xfe", b"\0" * 200, b"[" * 3000, b"5"])
def test_garbage_is_no_record(tmp_path: Path, content: bytes) -> None:
    write(tmp_path, content)
    assert read_exit_record(tmp_path, "17", None) is None


def test_a_record_that_never_ends_is_read_no_further_than_a_record_is_long(tmp_path: Path) -> None:
    write(tmp_path, json.dumps(WHOLE) + " " * MOST_BYTES + "x")
    assert read_exit_record(tmp_path, "17", None) == ExitRecord(**WHOLE)
    write(tmp_path, json.dumps(WHOLE))
    with (tmp_path / "exit.json").open("r+b") as file:
        file.truncate(1 << 40)
    assert read_exit_record(tmp_path, "17", None) is None


def in_the_place_of_a_file() -> dict[str, Callable[[Path], object]]:
    return {
        "nothing": lambda _path: None,
        "a folder": lambda path: path.mkdir(),
        "a pipe that nobody writes": os.mkfifo,
        "a link to a file without end": lambda path: path.symlink_to("/dev/zero"),
        "a link to nowhere": lambda path: path.symlink_to("nowhere"),
    }


@pytest.mark.parametrize("what", in_the_place_of_a_file())
def test_what_is_no_file_is_not_waited_for(tmp_path: Path, what: str) -> None:
    (tmp_path / "claim").mkdir()
    for path in (tmp_path / "exit.json", tmp_path / "claim" / "job_id"):
        in_the_place_of_a_file()[what](path)
    assert read_exit_record(tmp_path, "17", None) is None
    assert read_claim(tmp_path, None) is None


def test_a_file_is_read_from_its_beginning_to_its_end_or_as_far_as_is_wanted(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"0123456789")
    assert read_small(path, 100) == b"0123456789"
    assert read_small(path, 4) == b"0123"
    assert read_small(path, 0) == b""


@pytest.mark.parametrize(
    ("content", "claimant"), [(b"17\n", "17"), (b"", None), (b" \n", None), (b"\xff", None)]
)
def test_a_claim_names_its_job_or_nobody(tmp_path: Path, content: bytes, claimant: str | None) -> None:
    (tmp_path / "claim").mkdir()
    (tmp_path / "claim" / "job_id").write_bytes(content)
    assert read_claim(tmp_path, None) == claimant


@pytest.mark.parametrize(
    "garbage",
    ["", "17", "1.2", "1.2.3.4", "x.2.abc", "-1.2.abc", "²1.5.abc", "1.²5.abc", f"{'9' * 5000}.1.abc",
     f"{2**31}.1.abc", f"1.{'9' * 5000}.abc", "0.1.abc"],
)  # fmt: skip
def test_what_is_no_name_of_a_process_is_none(garbage: str) -> None:
    assert ProcessName.parse(garbage) is None


def test_the_name_of_a_process_is_read_back() -> None:
    name = ProcessName(4711, 123456789, "2f0c9a4e")
    assert ProcessName.parse(name.job_id()) == name
