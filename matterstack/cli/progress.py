"""Progress of runs: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

import asyncclick as click
import attrs
import trio

from matterstack.cli.followed_runs import all_ended, keep_looking, newly_ended, relevant
from matterstack.cli.wording import plain_line
from matterstack.core.ids import RunId
from matterstack.storage.read.reader import Reader

PLAIN_INTERVAL_S: Final = 1.0


async def follow_runs(
    reader: Reader,
    run_ids: Sequence[RunId] | None,
    *,
    ended_before: set[RunId] | None = None,
    transient: bool = False,
    explains_held: bool = False,
    over: trio.Event | None = None,
) -> None:
    """Show progress until all these runs have ended; with None, of all runs, until it is over.

    Args:
        ended_before: runs that are not followed since they had ended when they began to be served.
        transient: the caller prints a summary at the end: bars are wiped off, and heads are not printed.
        explains_held: the caller explains runs that are held: lines need not.
        over: is set when nobody serves them any more: what was not shown yet is shown, and it returns.
    """
    if sys.stdout.isatty():
        from matterstack.cli.bars import follow_with_bars  # rich: not for engines whose output is a file

        await follow_with_bars(reader, run_ids, ended_before or set(), transient=transient, over=over)
    else:
        lines = _Lines(reader, run_ids, ended_before or set(), transient, explains_held)
        await keep_looking(reader, lines.look, over)


@attrs.define(eq=False)
class _Lines:
    """Progress as plain lines: of each run at most one a second, and each of its ends."""

    reader: Reader
    run_ids: Sequence[RunId] | None
    ended_before: set[RunId]
    transient: bool
    explains_held: bool
    _told: set[object] = attrs.field(factory=set, init=False)
    _last: dict[RunId, tuple[object, ...]] = attrs.field(factory=dict, init=False)
    _said_at: dict[RunId, float] = attrs.field(factory=dict, init=False)

    async def look(self) -> bool:
        """Print what is new; whether all that is followed has ended."""
        summaries = await relevant(self.reader, self.run_ids, self.ended_before)
        now = trio.current_time()
        for summary in summaries:
            key = (summary.status, summary.status_reason, summary.stages)
            news = self._last.get(summary.run_id, (None,))
            soon = now - self._said_at.get(summary.run_id, -PLAIN_INTERVAL_S) < PLAIN_INTERVAL_S
            if key == news or (soon and summary.status == news[0]):
                continue
            self._last[summary.run_id], self._said_at[summary.run_id] = key, now
            click.echo(plain_line(summary, is_explained=self.explains_held))
        for line in () if self.transient else await newly_ended(self.reader, summaries, self._told):
            click.echo(line)
        return all_ended(summaries, self.run_ids)
