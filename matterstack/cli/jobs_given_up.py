"""Wait for jobs that are to be cancelled before they begin, and say which of them had begun."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import asyncclick as click
import trio

from matterstack.core.ids import RunId, TaskId, Token
from matterstack.core.states import RunStatus
from matterstack.explain.words import count, named
from matterstack.storage.read.tasks import GivenUp, given_up

if TYPE_CHECKING:
    from matterstack.storage.read.reader import Reader
    from matterstack.storage.read.runs import RunSummary

PATIENCE_S: Final = 60.0
"""A backend that answers has said by then which jobs it has cancelled."""


async def wait_until_given_up(reader: Reader, run_id: RunId, attempts: Mapping[TaskId, Token]) -> GivenUp:
    """Return when it is known of all, or after a while; what was asked is durable, so none of it is lost."""
    found = GivenUp(asked=list(attempts))
    with trio.move_on_after(PATIENCE_S):
        async for _ in reader.changes():
            found = await reader.read(given_up, run_id, list(attempts.values()))
            if not found.asked:
                break
    return found


def tell_given_up(found: GivenUp, summary: RunSummary) -> None:
    """Say what has become of the jobs, a line for each kind."""
    if found.over:
        then = "" if summary.status is RunStatus.RUNNING else ", when the run goes on"
        jobs = f"{count(len(found.over), 'job')} {'was' if len(found.over) == 1 else 'were'} cancelled"
        click.echo(f"{jobs}, to be submitted anew{then}: {named(list(found.over))}")
    if found.begun:
        click.echo(
            f"{named(list(found.begun))} had begun meanwhile: not touched; a next attempt is as it says"
        )
    if found.asked:
        still = f"{named(list(found.asked))} not known yet to be cancelled, or to have begun: it stays asked"
        click.echo(f"{still} (matterstack run explain {summary.run_id})", err=True)
