"""Watch where there is no terminal: one line for each event."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import attrs
import trio

from matterstack.client import Link, Site, open_link
from matterstack.core.errors import NotFoundError
from matterstack.watch.known import Json, Known, is_open, run_path, why_not
from matterstack.watch.parts import counts_of, counts_text, done_and_total
from matterstack.watch.reading import known_at_first
from matterstack.watch.sentences import sentence
from matterstack.watch.text import clean


async def watch_in_lines(
    site: Site,
    run_id: str | None,
    say: Callable[[str], None],
    complain: Callable[[str], None],
    *,
    as_json: bool,
) -> str | None:
    """Say how things stand, and then what happens: until the run has ended, or without one until cancelled.

    Args:
        say: is given each line.
        complain: is told when the connection is lost, and when it is back.
        as_json: events alone, as the stream has them.

    Returns:
        The status with which the run has ended.

    Raises:
        MonitorError: the monitor does not answer at first, or does not let this client in (any more).
        NotFoundError: there is no such run.
    """
    known = await known_at_first(site, run_id)
    told = [
        run for run in known.runs.values() if run_id == run["run_id"] or (run_id is None and is_open(run))
    ]
    for run in sorted(told, key=lambda run: str(run["run_id"])):
        if not as_json:
            say(summary_line(run, known))
    if run_id is not None and not is_open(known.runs[run_id]):
        return str(known.runs[run_id]["status"])
    async with (
        open_link(site, after=known.seq, run=run_id, with_rows=True) as link,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(_tell_of_connection, link, complain)
        names = _Names(site)
        last: int | None = None
        while True:
            change = await link.next_event(last)
            last = change["seq"]
            for event in change["events"]:
                say(json.dumps(event) if as_json else event_line(event, await names.task_of(event)))
            for rows in change["rows"]:
                if run_id is not None and not is_open(rows["row"]):
                    nursery.cancel_scope.cancel()
                    return str(rows["row"]["status"])


def summary_line(run: Json, known: Known) -> str:
    """One line on how a run stands."""
    counts = counts_of(run["tasks"])
    done, total = done_and_total(counts)
    words = f"{run['workspace']} is {run['status']}, {done:,} of {total:,} tasks have ended"
    parts = [words, counts_text(counts), why_not(run, known.jobs)]
    return clean(f"{run['updated_at'][:19]}Z {run['run_id']} {': '.join(part for part in parts if part)}")


def event_line(event: Json, task_id: str | None) -> str:
    """What has happened, in UTC."""
    return clean(f"{event['at'][:19]}Z {event['run']} {sentence(event, task_id)}")


async def _tell_of_connection(link: Link, complain: Callable[[str], None]) -> None:
    connection = link.connection
    was_lost = False
    while True:
        if connection.is_live:
            if was_lost:
                complain("live again: no event was missed")
            was_lost = False
        elif connection.problem and not was_lost:
            was_lost = True
            complain(clean(f"not live: {connection.problem}; trying again"))
        connection = await link.other_connection(connection)


@attrs.define
class _Names:
    """Which task an event is about: those of jobs name their attempt alone."""

    _site: Site
    _of_token: dict[str, str] = attrs.field(factory=dict)
    _read: set[str] = attrs.field(factory=set)

    async def task_of(self, event: Json) -> str | None:
        data, run_id = event["data"], event["run"]
        token, task_id = data.get("token"), data.get("task_id")
        if token is None or task_id is not None:
            if token is not None:
                self._of_token[token] = task_id
            return None if task_id is None else str(task_id)
        if token not in self._of_token and run_id not in self._read:
            self._read.add(run_id)
            await self._learn(run_id)
        return self._of_token.get(token)

    async def _learn(self, run_id: str) -> None:
        """Attempts that were there before this began to watch."""
        try:
            view: dict[str, Any] = await self._site.document(run_path(run_id))
        except NotFoundError:
            return
        for task in view["tasks"]:
            for attempt in task["attempts"]:
                self._of_token[attempt["token"]] = task["task_id"]
