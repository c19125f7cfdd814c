"""``run amend --config``: another config for a run, shown before it is sent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import asyncclick as click

from matterstack.cli.run_control import send
from matterstack.cli.shared_options import current_root
from matterstack.core.ids import RunId

if TYPE_CHECKING:
    from matterstack.usecases.config_amendment import Amendment

_Command = TypeVar("_Command", bound=Callable[..., Any])


def config_options(command: _Command) -> _Command:
    """The options by which a config is amended: ``--config`` and ``--config-from-workspace``."""
    command = click.option(
        "--config-from-workspace",
        "from_workspace",
        is_flag=True,
        help="Take the config files as they are now (of the site, the root and the workspace); what was set "
        "for this run alone stays on top of them.",
    )(command)
    return click.option(
        "--config",
        "config_settings",
        metavar="PATH=VALUE",
        multiple=True,
        help="Set a config key of this run by its dotted path, such as --config "
        "backends.cluster.max_jobs=50 (may be repeated).",
    )(command)


async def amend_config(
    context: click.Context,
    run_id: RunId,
    settings: Sequence[str],
    from_workspace: bool,
    why: str,
    yes: bool,
    resubmit: bool,
    as_json: bool,
) -> None:
    """Show what would change, ask, and send it."""
    from matterstack.cli.amend_dialog import require_consent
    from matterstack.usecases.config_amendment import proposed_amendment
    from matterstack.usecases.given_changes import typed_settings

    amendment = await proposed_amendment(
        current_root(context),
        run_id,
        typed_settings(settings, "--config"),
        from_workspace=from_workspace,
        reason=why,
        resubmit=resubmit,
    )
    if not as_json:
        _show(run_id, amendment)
    if amendment.changes:
        require_consent("Change it?", yes=yes, as_json=as_json)
    await send(
        context,
        run_id,
        amendment.command,
        as_json,
        amended=amendment.as_json(),
        resubmitted=amendment.resubmitted,
    )


def _show(run_id: RunId, amendment: Amendment) -> None:
    from matterstack.cli.amend_dialog import show_resubmitted
    from matterstack.core.run.config_changes import told_change
    from matterstack.core.shown_text import shown
    from matterstack.explain.words import named

    for note in amendment.notes:
        click.echo(shown(note))
    if not amendment.changes:
        click.echo(f"the config of run {run_id} is like that already: nothing changes")
        return
    click.echo(f"the config of run {run_id}, from now on:")
    for change in amendment.changes:
        click.echo(f"  {shown(told_change(change))}")
    show_resubmitted(run_id, amendment.resubmitted)
    if amendment.running:
        click.echo(f"{named(list(amendment.running))} at work now: not touched")
    if amendment.queued:
        kept = f"{named(list(amendment.queued))} submitted: keeps what it was submitted with"
        click.echo(f"{kept} (with --resubmit: cancelled and submitted anew)")
