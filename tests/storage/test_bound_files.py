"""What the end of a job is bound to: its logs, and what it was given, as they are then."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Final

import pytest

from matterstack.core.run.facts import BoundFile
from matterstack.storage import bound_files
from matterstack.storage.bound_files import Bound, bind_attempt
from matterstack.storage.layout import operator_folder
from tests.support.states import RUN_ID

TWINS: Final = b'{"files": [], "files": [{"name": "a", "sha256": "b"}]}'


@pytest.fixture
def attempt(tmp_path: Path) -> Path:
    folder = tmp_path / "workspaces" / "demo" / "runs" / RUN_ID / "tasks" / "a" / "1"
    folder.mkdir(parents=True)
    return folder


def bound_file(name: str, content: bytes) -> BoundFile:
    return BoundFile(name, len(content), hashlib.sha256(content).hexdigest())


def bind(attempt: Path, *, is_asked: bool = False) -> Bound:
    return bind_attempt(attempt, 1, is_asked=is_asked)


def write_manifest(attempt: Path, **fields: Any) -> bytes:
    text = json.dumps(fields).encode()
    (attempt / "manifest.json").write_bytes(text)
    return text


def test_logs_and_what_was_given_are_bound_with_sizes_and_hashes(attempt: Path) -> None:
    (attempt / "stdout.log").write_bytes(b"mixed\n")
    (attempt / "stderr.log").write_bytes(b"")
    given = {"name": "mix.py", "from": "mix.py", "sha256": "ab" * 32, "bytes": 7}
    used = {"name": "in.json", "from": "a/out.json", "sha256": "cd" * 32}
    text = write_manifest(attempt, files=[given], inputs=[used])
    found = bind(attempt)
    assert found.logs == (bound_file("stdout.log", b"mixed\n"),)
    assert found.given == (
        bound_file("manifest.json", text),
        BoundFile("mix.py", 7, "ab" * 32),
        BoundFile("in.json", 0, "cd" * 32),
    )


def test_nothing_to_look_at_is_told_from_nothing_there(attempt: Path, tmp_path: Path) -> None:
    assert bind(attempt) == Bound(logs=(), given=())
    assert bind(tmp_path / "nowhere") == Bound(logs=None, given=None)


def test_a_log_that_is_no_file_and_one_that_is_too_large_are_named_without_a_hash(
    attempt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bound_files, "MOST_LOG_BYTES", 10)
    (attempt / "stdout.log").write_bytes(b"x" * 11)
    (attempt / "stderr.log").symlink_to("/etc/passwd")
    assert bind(attempt).logs == (BoundFile("stdout.log", 11, ""), BoundFile("stderr.log", 0, ""))


def test_logs_of_many_jobs_at_once_are_read_up_to_a_limit(attempt: Path) -> None:
    (attempt / "stdout.log").write_bytes(b"x" * 11)
    assert bind_attempt(attempt, 1, is_asked=False, most_bytes=10).logs == (BoundFile("stdout.log", 11, ""),)
    assert bind_attempt(attempt, 1, is_asked=False, most_bytes=-1).logs == (BoundFile("stdout.log", 11, ""),)
    assert bind_attempt(attempt, 1, is_asked=False, most_bytes=11).logs == (
        bound_file("stdout.log", b"x" * 11),
    )


@pytest.mark.parametrize(
    "text", [b"", b"[", b"[1]", b'{"files": 1}', b'{"files": [{"name": 1}]}', b"\xff", TWINS]
)
def test_a_manifest_that_its_job_has_written_over_is_bound_by_its_hash_alone(
    text: bytes, attempt: Path
) -> None:
    (attempt / "manifest.json").write_bytes(text)
    assert bind(attempt).given == (bound_file("manifest.json", text),)


def test_of_very_many_files_the_manifest_alone_is_bound(
    attempt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bound_files, "MOST_GIVEN", 1)
    given = {"name": "a", "from": "a", "sha256": "ab" * 32, "bytes": 1}
    text = write_manifest(attempt, files=[given], inputs=[given])
    assert bind(attempt).given == (bound_file("manifest.json", text),)


def test_what_lies_beside_an_answer_is_bound_too(attempt: Path) -> None:
    asked = operator_folder(attempt)
    asked.mkdir(parents=True)
    (asked / "request.json").write_text('{"attempt": 1}')
    (asked / "response.rejected-1.json").write_text("{")
    assert bind(attempt).logs == ()
    assert {log.path for log in bind(attempt, is_asked=True).logs or ()} == {
        "request.json",
        "response.rejected-1.json",
    }
