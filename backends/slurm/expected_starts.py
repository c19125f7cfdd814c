"""Ask Slurm when pending jobs are expected to start, and where the others run.

Only explanations ask, with little patience: they must not wait for what may be what is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import trio

from matterstack.backends.slurm.programs import run
from matterstack.core.errors import BackendError
from matterstack.core.ids import JobId, UtcTime, utc_text
from matterstack.core.scheduler_words import JobSight

PATIENCE_S: Final = 2.0
FORMAT: Final = "%i|%S|%N"
"""Job id, start (actual or expected), nodes.  Expected starts are those of ``squeue --start``."""


async def ask_squeue() -> Mapping[JobId, JobSight]:
    """One question about all jobs of this user; empty when there is no answer soon."""
    with trio.move_on_after(PATIENCE_S):
        try:
            done = await run(
                ("squeue", "--array", "--me", "--noheader", f"--format={FORMAT}"), timeout_s=PATIENCE_S
            )
        except BackendError:
            return {}
        if done.exit_code == 0:
            return parse_sights(done.stdout)
    return {}


def parse_sights(text: str) -> dict[JobId, JobSight]:
    """Read the lines of `FORMAT`; what is no such line is left out.

    >>> parse_sights("banner\\n7|N/A|\\n")
    {'7': JobSight(expected_start=None, nodes='')}
    """
    sights: dict[JobId, JobSight] = {}
    for line in text.splitlines():
        cells = line.split("|")
        if len(cells) == 3 and cells[0][:1].isdigit():
            sights[JobId(cells[0])] = JobSight(_start(cells[1].strip()), cells[2].strip())
    return sights


def _start(text: str) -> UtcTime | None:
    """Slurm tells times of this machine's time zone, without naming it."""
    try:
        return utc_text(datetime.strptime(text, "%Y-%m-%dT%H:%M:%S").astimezone())
    except ValueError:
        return None
