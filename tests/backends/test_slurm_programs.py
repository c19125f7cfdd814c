"""How Slurm's commands are started."""

from __future__ import annotations

import pytest

from matterstack.backends.slurm import programs

MORE_THAN_A_PIPE_HOLDS = 300_000


@pytest.mark.usefixtures("processes")
async def test_what_a_command_reads_is_whole_before_it_is_started() -> None:
    script = "é".ljust(MORE_THAN_A_PIPE_HOLDS, "#")

    # How large its input is, is known at once only of a file: a pipe would still be filled by its starter.
    told = await programs.run(("stat", "-L", "-c", "%s", "/dev/stdin"), timeout_s=20, stdin=script)
    read = await programs.run(("cat",), timeout_s=20, stdin=script)

    assert told.stdout == f"{len(script.encode())}\n"
    assert read.stdout == script


@pytest.mark.usefixtures("processes")
async def test_a_command_that_is_given_nothing_reads_nothing() -> None:
    assert (await programs.run(("cat",), timeout_s=20)).stdout == ""


def test_a_complaint_is_told_in_one_line_without_what_misleads() -> None:
    said = (
        "squeue: error: If munged is up, restart with --num-threads=10\n"
        "squeue: error: Munge encode failed: No such file or directory\n"
        "squeue: error: Munge encode failed: No such file or directory\n"
        "slurm_load_jobs error: Protocol authentication error\n"
    )

    done = programs.Finished(1, "", said)

    assert done.complaint == ("Munge encode failed: No such file or directory; Protocol authentication error")
    assert done.is_unreachable
