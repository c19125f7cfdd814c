"""Show what an amendment changes, and ask whether it may."""

from __future__ import annotations

import sys
from collections.abc import Collection
from typing import TYPE_CHECKING, Final

import asyncclick as click

from matterstack.cli.printing import confirm
from matterstack.core.errors import RefusedError, UsageError
from matterstack.core.ids import RunId, TaskId
from matterstack.core.model.amending import change_in_words
from matterstack.core.shown_text import shown_lines
from matterstack.explain.words import count, named

if TYPE_CHECKING:
    from matterstack.core.run.messages import AmendTasks, Retry
    from matterstack.usecases.amendments import Amendment

_NOT_WITHOUT: Final = "without a terminal, or with --json, say --yes when it may be done"


def agreed(amendment: Amendment, *, yes: bool, as_json: bool) -> AmendTasks | Retry:
    """The command that makes the amendment, when it may be made.

    Raises:
        UsageError: nobody said so, and there is nobody to ask.
        RefusedError: somebody said no.
    """
    if not as_json:
        show(amendment)
    question = "Change it?" if amendment.amended else "Submit them anew?"
    require_consent(question, yes=yes, as_json=as_json)
    return amendment.command if yes else amendment.agreed


def require_consent(question: str, *, yes: bool, as_json: bool) -> None:
    """Return when somebody has said yes, now or beforehand.

    Raises:
        UsageError: nobody did, and there is nobody to ask.
        RefusedError: somebody said no.
    """
    if yes:
        return
    if as_json or not sys.stdin.isatty():
        raise UsageError("nothing was changed", hint=_NOT_WITHOUT)
    if not confirm(question):
        raise RefusedError("nothing was changed")


def show(amendment: Amendment) -> None:
    """What changes, old and new, for how many tasks; and what stays as it is."""
    if amendment.amended:
        click.echo(shown_lines(f"run {amendment.run_id}: {named(list(amendment.amended))} will be amended"))
    for difference in amendment.differences:
        change = change_in_words(difference.path, difference.old, difference.new)
        click.echo(shown_lines(f"  {change}   ({count(len(difference.tasks), 'task')})"))
    show_resubmitted(amendment.run_id, amendment.resubmitted)
    if amendment.running:
        click.echo(f"{named(list(amendment.running))} at work now: not touched; a next attempt is as it says")
    if amendment.queued:
        kept = f"{named(list(amendment.queued))} submitted: keeps what it was submitted with"
        click.echo(f"{kept} (with --resubmit: cancelled and submitted anew)")
    for warning in amendment.warnings:
        click.echo(shown_lines(f"warning: {warning}"), err=True)


def show_resubmitted(run_id: RunId, tasks: Collection[TaskId]) -> None:
    """Which jobs are cancelled, if they still wait by then, and submitted anew."""
    if not tasks:
        return
    jobs = "its job waits: that is" if len(tasks) == 1 else f"their {len(tasks)} jobs wait: these are"
    click.echo(shown_lines(f"run {run_id}: {named(list(tasks))}: {jobs} cancelled and submitted anew"))
