"""Progress of runs: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

import asyncclick as click
import trio

from matterstack.cli.followed_runs import all_ended, newly_ended, relevant
from matterstack.cli.wording import plain_line
from matterstack.core.ids import RunId
from matterstack.storage.read.reader import Reader

PLAIN_INTERVAL_S: Final = 1.0


async def follow_runs(reader: Reader, run_ids: Sequence[RunId] | None, *, transient: bool = False) -> None:
    """Show progress until all these runs have ended; with None, of all runs, until cancelled.

    Args:
        transient: the caller prints a summary at the end: bars are wiped off, and heads are not printed.
    """
    if sys.stdout.isatty():
        from matterstack.cli.bars import follow_with_bars  # rich: not for engines whose output is a file

        await follow_with_bars(reader, run_ids, transient=transient)
    else:
        await _follow_with_lines(reader, run_ids, transient=transient)


async def _follow_with_lines(reader: Reader, run_ids: Sequence[RunId] | None, *, transient: bool) -> None:
    shown: set[object] = set()
    told: set[object] = set()
    last: dict[RunId, tuple[object, ...]] = {}
    said_at: dict[RunId, float] = {}
    async for _ in reader.changes(at_least_every_s=PLAIN_INTERVAL_S):
        summaries = await relevant(reader, run_ids, shown)
        now = trio.current_time()
        for summary in summaries:
            shown.add(summary.run_id)
            key = (summary.status, summary.status_reason, summary.stages)
            news = last.get(summary.run_id, (None,))
            soon = now - said_at.get(summary.run_id, -PLAIN_INTERVAL_S) < PLAIN_INTERVAL_S
            if key == news or (soon and summary.status == news[0]):
                continue
            last[summary.run_id], said_at[summary.run_id] = key, now
            click.echo(plain_line(summary))
        for line in () if transient else await newly_ended(reader, summaries, told):
            click.echo(line)
        if all_ended(summaries, run_ids):
            return
