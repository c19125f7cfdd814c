"""Last words, read from what a job may have put into its folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from matterstack.core.secret_words import Search
from matterstack.storage.log_ends import read_last_words, read_said
from tests.support.states import RUN_ID

NONE = Search()


@pytest.fixture
def attempt(tmp_path: Path) -> Path:
    folder = tmp_path / "workspaces" / "demo" / "runs" / RUN_ID / "tasks" / "a" / "1"
    folder.mkdir(parents=True)
    return folder


def test_standard_error_goes_before_output_and_that_before_what_the_scheduler_wrote(attempt: Path) -> None:
    assert read_last_words(attempt, NONE) == ""
    (attempt / "scheduler.log").write_text("slurmstepd: error: CANCELLED DUE TO TIME LIMIT\n")
    (attempt / "stderr.log").write_text("\n \n")
    assert read_last_words(attempt, NONE) == "slurmstepd: error: CANCELLED DUE TO TIME LIMIT"
    (attempt / "stdout.log").write_text("step 7\n")
    assert read_last_words(attempt, NONE) == "step 7"
    (attempt / "stderr.log").write_text("no licence\n")
    assert read_last_words(attempt, NONE) == "no licence"


def test_what_is_no_file_waits_for_nobody_and_leads_nowhere(attempt: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("of others\n")
    os.mkfifo(attempt / "stderr.log")
    (attempt / "stdout.log").symlink_to(tmp_path / "outside")
    (attempt / "scheduler.log").write_text("left\n")
    assert read_last_words(attempt, NONE) == "left"
    assert read_said(attempt, 0, NONE) == ""
    assert read_last_words(tmp_path / "nowhere", NONE) == ""


def test_of_a_huge_log_only_the_end_is_read(attempt: Path) -> None:
    with (attempt / "stderr.log").open("wb") as log:
        log.truncate(1 << 40)
        log.seek(0, os.SEEK_END)
        log.write(b"\nend of a tebibyte\n")
    words = read_last_words(attempt, NONE)
    assert words == "end of a tebibyte"


def test_a_value_that_begins_before_what_is_read_is_not_shown_in_part(attempt: Path) -> None:
    value = b"v" * 3000 + b"0123456789" * 500
    search = Search(values={"KEY": frozenset({value})})
    for shift in range(0, 20000, 700):
        (attempt / "stderr.log").write_bytes(b"a" * 50_000 + value + b"b" * shift)
        assert "0123456789" not in read_last_words(attempt, search)


def test_what_was_said_begins_at_its_place(attempt: Path) -> None:
    (attempt / "stderr.log").write_text("a warning\nmodule: not found\n")
    assert read_said(attempt, len("a warning\n"), NONE) == "module: not found"
    assert read_said(attempt, 10_000, NONE) == ""
