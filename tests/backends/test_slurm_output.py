"""Reading what Slurm's commands, and the wrappers that sites put around them, print."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matterstack.backends.slurm.output import (
    AccountedJob,
    QueuedJob,
    is_job_id,
    parse_sacct,
    parse_sbatch,
    parse_squeue,
)

SQUEUE = "JOBID|STATE|REASON|NODELIST|NAME\n"
SACCT = "JobID|State|ExitCode|NodeList|Start|End|JobName\n"
BANNER = "*** Welcome to the Cluster | maintenance on 1 May ***\n1 job limit | 2 | 3\n\n"
odd_text = st.text(alphabet=st.one_of(st.sampled_from("0123456789|:;\n\r ._+"), st.characters()))


def test_lines_of_squeue_are_read() -> None:
    table = parse_squeue(SQUEUE + "12|RUNNING|None|n[1-2]|ms-abc\n13|PENDING|Resources||ms-def\n")

    assert table.is_whole
    assert table.rows == (
        QueuedJob("12", "RUNNING", "None", "n[1-2]", "ms-abc"),
        QueuedJob("13", "PENDING", "Resources", "", "ms-def"),
    )


def test_lines_of_sacct_are_read() -> None:
    lines = (
        "12|FAILED|0:9|n1|2026-01-01T00:00:00|Unknown|ms-abc\n13|PENDING||None assigned|Unknown|Unknown|x|y\n"
    )
    table = parse_sacct(SACCT + lines)

    assert table.is_whole
    assert table.rows == (
        AccountedJob("12", "FAILED", 0, 9, "n1", "ms-abc"),
        AccountedJob("13", "PENDING", None, None, "None assigned", "x|y"),
    )


@pytest.mark.parametrize("text", [BANNER + SQUEUE, SQUEUE + BANNER, BANNER + SQUEUE + BANNER])
def test_a_banner_is_no_job(text: str) -> None:
    assert parse_squeue(text) == parse_squeue(SQUEUE)
    assert parse_squeue(text).is_whole


@pytest.mark.parametrize("text", ["", "\n", BANNER, "7|RUNNING|None|n1|ms-a\n", "slurm_load_jobs error\n"])
def test_an_answer_without_its_heading_tells_of_no_absence(text: str) -> None:
    assert not parse_squeue(text).is_whole
    assert not parse_sacct(text).is_whole


@pytest.mark.parametrize("length", range(len(SQUEUE), len(SQUEUE + "12|RUNNING|None|n1|ms-abc\n")))
def test_an_answer_that_was_cut_tells_of_no_absence(length: int) -> None:
    cut = (SQUEUE + "12|RUNNING|None|n1|ms-abc\n")[:length]

    assert parse_squeue(cut).is_whole == cut.endswith("\n")


@pytest.mark.parametrize("line", ["12|RUN", "12|", "12|RUNNING|None|n1", "12_3|PENDING|Resources", "7+1|x"])
def test_a_line_that_was_cut_in_the_middle_tells_of_no_absence(line: str) -> None:
    for text in (f"{SQUEUE}{line}\n13|RUNNING|None|n1|ms-abc\n", f"{SQUEUE}{line}\n"):
        assert not parse_squeue(text).is_whole
    assert not parse_sacct(f"{SACCT}{line}|x\n").is_whole


def test_what_a_terminal_adds_to_lines_is_taken_off() -> None:
    lines = "12|RUNNING|None|n1|ms-abc\n13|PENDING|None||ms-def\n"
    accounts = "12|FAILED|3:0|n1|a|b|ms-abc\n"

    assert parse_squeue((SQUEUE + lines).replace("\n", "\r\n")) == parse_squeue(SQUEUE + lines)
    assert parse_sacct((SACCT + accounts).replace("\n", "\r\n")) == parse_sacct(SACCT + accounts)
    assert parse_squeue((SQUEUE + lines).replace("\n", "\r\n")).is_whole


@pytest.mark.parametrize(
    ("states", "counts"),
    [
        (["NODE_FAIL", "PENDING"], ["PENDING"]),
        (["PENDING", "NODE_FAIL"], ["PENDING"]),
        (["CANCELLED", "WARPED"], ["WARPED"]),
        (["RUNNING", "COMPLETING"], ["RUNNING", "COMPLETING"]),
        (["FAILED", "FAILED"], ["FAILED", "FAILED"]),
    ],
)
def test_where_lines_disagree_whether_a_job_lives_it_lives(states: list[str], counts: list[str]) -> None:
    lines = "".join(f"7_3|{state}|None|n1|ms-a\n" for state in states)
    others = "8|COMPLETED|None|n1|ms-b\n"

    rows = parse_squeue(SQUEUE + lines + others).rows

    assert [row.state for row in rows if row.job_id == "7_3"] == counts
    assert [row.state for row in rows if row.job_id == "8"] == ["COMPLETED"]


def test_a_very_long_answer_is_read_whole() -> None:
    text = SQUEUE + "".join(f"{i}|RUNNING|None|n1|ms-{i}\n" for i in range(1, 200_001))

    table = parse_squeue(text)

    assert table.is_whole
    assert [row.job_id for row in table.rows] == [str(i) for i in range(1, 200_001)]


def test_a_name_may_hold_bars_and_line_separators() -> None:
    name = "a|b|c \x0b\x0c\x1c\x85\u2028 7|FAILED|x|y|z"

    assert [job.name for job in parse_squeue(f"{SQUEUE}12|RUNNING|None|n1|{name}\n").rows] == [name]


def test_ids_of_arrays_and_of_heterogeneous_jobs_are_read_as_they_are() -> None:
    lines = "".join(f"{i}|PENDING|None||x\n" for i in ("7_[1-9%2]", "7_3", "7+1"))

    assert [job.job_id for job in parse_squeue(SQUEUE + lines).rows] == ["7_[1-9%2]", "7_3", "7+1"]
    assert [
        text for text in ("7", "7_3", "7_[1-3]", "7+1", "", "\u0667", "²", "7\n", "9" * 19) if is_job_id(text)
    ] == [
        "7",
        "7_3",
    ]


@pytest.mark.parametrize(
    ("text", "job_id"),
    [
        ("12\n", "12"),
        ("12;cluster\n", "12"),
        ("Welcome!\nYou have 3 jobs\n12\n", "12"),
        ("12\nhave a nice day\n", "12"),
        ("Job 12 submitted\n", None),
        ("Soumission du travail 12\n", None),
        ("", None),
        ("²\n", None),
    ],
)
def test_the_id_of_a_submitted_job_is_on_a_line_of_its_own(text: str, job_id: str | None) -> None:
    assert parse_sbatch(text) == job_id


@given(odd_text, odd_text, st.sampled_from(["", SQUEUE, SACCT]))
def test_no_output_makes_a_parser_raise(before: str, after: str, heading: str) -> None:
    text = before + heading + after

    for job in parse_squeue(text).rows:
        assert job.job_id[0].isascii()
        assert job.job_id[0].isdigit()
    for record in parse_sacct(text).rows:
        assert record.exit_code is None or record.exit_code >= 0
    job_id = parse_sbatch(text)
    assert job_id is None or int(job_id) >= 0


@given(st.lists(st.tuples(st.integers(1, 10**9), st.text(st.characters(exclude_characters="\n\r")))))
def test_what_squeue_prints_is_read_back(jobs: list[tuple[int, str]]) -> None:
    text = SQUEUE + "".join(f"{number}|RUNNING|None|n1|{name}\n" for number, name in jobs)

    assert [(int(job.job_id), job.name) for job in parse_squeue(text).rows] == jobs


@pytest.mark.parametrize("exit_code", ["", ":", "\u00b2:0", "\u0667:0", "9" * 5000, "-1:0", "1:2:3", "x"])
def test_an_exit_code_that_is_none_is_unknown(exit_code: str) -> None:
    (record,) = parse_sacct(f"{SACCT}1|FAILED|{exit_code}|n1|a|b|ms-x\n").rows

    assert record.state == "FAILED"
    assert record.exit_code in {None, 1}
    assert record.signal in {None, 0}
