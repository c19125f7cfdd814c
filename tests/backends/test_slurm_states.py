"""Every word that Slurm has for the state of a job."""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from typing import Final

import pytest

from matterstack.backends.slurm.states import STATES, job_state, state_word
from matterstack.core.states import ENDED_JOBS, JobState

_Q, _R, _OK, _ERROR, _CANCELLED = (
    JobState.QUEUED,
    JobState.RUNNING,
    JobState.COMPLETED_OK,
    JobState.COMPLETED_ERROR,
    JobState.CANCELLED,
)

# The section JOB STATE CODES of squeue(1) and sacct(1) of Slurm 22.05.
OF_22_05: Final = {
    ("BF", "BOOT_FAIL"): _ERROR,
    ("CA", "CANCELLED"): _CANCELLED,
    ("CD", "COMPLETED"): _OK,
    ("CF", "CONFIGURING"): _Q,
    ("CG", "COMPLETING"): _R,
    ("DL", "DEADLINE"): _ERROR,
    ("F", "FAILED"): _ERROR,
    ("NF", "NODE_FAIL"): _ERROR,
    ("OOM", "OUT_OF_MEMORY"): _ERROR,
    ("PD", "PENDING"): _Q,
    ("PR", "PREEMPTED"): _ERROR,
    ("R", "RUNNING"): _R,
    ("RD", "RESV_DEL_HOLD"): _Q,
    ("RF", "REQUEUE_FED"): _Q,
    ("RH", "REQUEUE_HOLD"): _Q,
    ("RQ", "REQUEUED"): _Q,
    ("RS", "RESIZING"): _R,
    ("RV", "REVOKED"): _R,
    ("SI", "SIGNALING"): _R,
    ("SE", "SPECIAL_EXIT"): _Q,
    ("SO", "STAGE_OUT"): _R,
    ("ST", "STOPPED"): _R,
    ("S", "SUSPENDED"): _R,
    ("TO", "TIMEOUT"): _ERROR,
}
NEWER: Final = {
    "EXPEDITING": _Q,
    "LAUNCH_FAILED": _Q,
    "POWER_UP_NODE": _Q,
    "RECONFIG_FAIL": _Q,
    "UPDATE_DB": _R,
}
MANUAL: Final = [Path(f"/usr/share/man/man1/{page}.1.gz") for page in ("squeue", "sacct")]


@pytest.mark.parametrize(("code", "word", "state"), [(c, w, s) for (c, w), s in OF_22_05.items()])
def test_every_code_of_22_05_is_known_long_and_short(code: str, word: str, state: JobState) -> None:
    assert (job_state(word), job_state(code), job_state(word.lower())) == (state, state, state)
    assert state_word(code) == word


@pytest.mark.parametrize(("word", "state"), NEWER.items())
def test_codes_of_newer_releases_are_known(word: str, state: JobState) -> None:
    assert job_state(word) is state


def test_there_is_no_code_that_no_test_names() -> None:
    assert set(STATES) == {word for _, word in OF_22_05} | set(NEWER)


def test_short_codes_are_unique_and_none_is_a_word() -> None:
    codes = [code for code, _ in STATES.values()]

    assert len(set(codes)) == len(codes)
    assert not set(codes) & set(STATES)


def test_the_installed_manual_names_no_other_code() -> None:
    for page in MANUAL:
        if not page.exists():
            continue  # systems in containers often have no manual; the list above is the same
        text = gzip.decompress(page.read_bytes()).decode(errors="replace")
        section = text.partition('.SH "JOB STATE CODES"')[2].partition("\n.SH")[0]
        found = set(re.findall(r"^\\f[B3]([A-Z]{1,3}) +([A-Z][A-Z_]+)\\fR", section, re.MULTILINE))
        assert found, f"{page} has no table of codes"
        assert found <= set(OF_22_05)


@pytest.mark.parametrize(
    ("raw", "word"),
    [
        ("CANCELLED by 1000", "CANCELLED"),
        ("CANCELLED+", "CANCELLED"),
        ("OUT_OF_ME+", "OUT_OF_MEMORY"),
        ("NODE_F+", "NODE_FAIL"),
        ("  RUNNING  ", "RUNNING"),
        ("COMPLETED\n", "COMPLETED"),
        ("RESV_DEL_+", "RESV_DEL_HOLD"),
    ],
)
def test_what_stands_around_a_word_is_stripped(raw: str, word: str) -> None:
    assert state_word(raw) == word
    assert job_state(raw) == job_state(word) is not None


@pytest.mark.parametrize(
    "raw", ["", " ", "WARPED", "CO+", "REQUEUE+", "+", "NULL", "(null)", "RUNNING,REQUEUED", "跑"]
)
def test_a_word_that_is_unknown_or_could_be_several_never_means_an_end(raw: str) -> None:
    assert job_state(raw) is None


@pytest.mark.parametrize("word", sorted(STATES))
def test_a_word_that_was_cut_means_the_same_or_is_unknown(word: str) -> None:
    for length in range(1, len(word)):
        assert job_state(f"{word[:length]}+") in {None, job_state(word)}


def test_only_ends_are_ends() -> None:
    ends = {word for word, (_, state) in STATES.items() if state in ENDED_JOBS}

    assert ends == {
        "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY",
        "PREEMPTED", "TIMEOUT",
    }  # fmt: skip
