"""Show what a campaign plans now beside what it planned last time, and ask whether it may be taken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import asyncclick as click

from matterstack.cli.amend_dialog import require_consent
from matterstack.core.shown_text import shown_lines
from matterstack.explain.replanned import replanned_lines

if TYPE_CHECKING:
    from matterstack.usecases.replanning import Replanning

_MOST_NAMED: Final = 6


def agree(*, yes: bool, as_json: bool) -> None:
    """Return when the plan may be taken.

    Raises:
        UsageError: nobody said so, and there is nobody to ask.
        RefusedError: somebody said no.
    """
    require_consent("Take this plan?", yes=yes, as_json=as_json)


def show(found: Replanning) -> None:
    """What is planned now beside what was, task by task; those together to which the same happens."""
    for line in replanned_lines(f"run {found.run_id}", found.as_json(), most_named=_MOST_NAMED):
        click.echo(shown_lines(line))
    for warning in found.warnings:
        click.echo(shown_lines(f"warning: {warning}"), err=True)
