"""``run amend``: change tasks that have not succeeded, the config, or what is said of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import asyncclick as click

from matterstack.cli.amend_config import amend_config, config_options
from matterstack.cli.run_control import run_argument, send
from matterstack.cli.shared_options import current_root, json_option
from matterstack.cli.task_selection import change_options, selection_options
from matterstack.core.errors import UsageError
from matterstack.core.ids import RunId

if TYPE_CHECKING:
    from matterstack.core.run.selection import Selection


@click.command(short_help="Change tasks that have not succeeded, the config, or what a run is about.")
@run_argument
@selection_options
@change_options
@config_options
@click.option(
    "--about",
    "about_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="An about.toml: title, authors, licence and the like.  It takes the place of what was said before.",
)
@click.option(
    "--resubmit",
    is_flag=True,
    help="Cancel jobs that still wait in a queue, and submit them anew as their tasks, or backends, are "
    "then; alone: as they are now.",
)
@json_option
@click.pass_context
async def amend(
    context: click.Context,
    run_id: RunId,
    selection: Selection,
    settings: tuple[str, ...],
    why: str,
    yes: bool,
    config_settings: tuple[str, ...],
    from_workspace: bool,
    about_file: Path | None,
    resubmit: bool,
    as_json: bool,
) -> None:
    """Change tasks that have not succeeded, the config of a run, or what it is about.

    Tasks are named by ids or patterns ('relax-*'), or by how they stand or failed; what is given must all
    hold.  It shows what changes, old and new, and asks.  The next attempt of each task is as it says: a job
    that was submitted keeps what it was submitted with, and nothing that runs is touched.  A run that has
    FAILED is not reopened (run retry does that).

    With --resubmit, jobs that still wait are cancelled and submitted anew; that counts as no try.  It returns
    when that is done, or it is clear that a job had begun: such a one goes on as it was submitted.

    With --config or --config-from-workspace, the config from here on; jobs that are there are followed on.
    What would change is shown first, old and new, too.

    With --about, in any state: what was said before stays in the run's history; evidence that is exported
    from now on says the new.
    """
    of_config = bool(config_settings) or from_workspace
    if about_file is not None and resubmit:
        raise UsageError("--about changes nothing of any job: --resubmit is for --set and --config")
    is_of_tasks = bool(settings) or (resubmit and not of_config and about_file is None)
    if sum((is_of_tasks, of_config, about_file is not None)) != 1:
        raise UsageError(
            "say what changes, one thing in a command",
            hint="--set PATH=VALUE, --config PATH=VALUE (or --config-from-workspace), or --about FILE",
        )
    if not is_of_tasks and not selection.is_empty:
        raise UsageError("--config and --about are of the whole run: name no tasks")
    if about_file is not None:
        await _amend_about(context, run_id, about_file, why, as_json)
    elif of_config:
        await amend_config(context, run_id, config_settings, from_workspace, why, yes, resubmit, as_json)
    else:
        await _amend_tasks(context, run_id, selection, settings, why, yes, resubmit, as_json)


async def _amend_about(context: click.Context, run_id: RunId, file: Path, why: str, as_json: bool) -> None:
    import trio

    from matterstack.core.run.messages import AmendAbout
    from matterstack.core.shown_text import shown
    from matterstack.usecases.about_file import read_about
    from matterstack.usecases.runs import user_name

    about = await trio.to_thread.run_sync(read_about, file)
    kept = about.as_kept()
    title = f": {shown(about.title)}" if about.title else ""
    await send(
        context,
        run_id,
        AmendAbout(by=user_name(), about=kept, reason=why),
        as_json,
        amended={"about": kept},
        done=f"what the run is about was said anew{title}",
    )


async def _amend_tasks(
    context: click.Context,
    run_id: RunId,
    selection: Selection,
    settings: tuple[str, ...],
    why: str,
    yes: bool,
    resubmit: bool,
    as_json: bool,
) -> None:
    from matterstack.cli.amend_dialog import agreed
    from matterstack.storage.read.reader import open_reader
    from matterstack.usecases.amendments import preview_amendment, require_changes
    from matterstack.usecases.given_changes import typed_changes
    from matterstack.usecases.runs import user_name

    changes = typed_changes(settings)
    async with open_reader(current_root(context)) as reader:
        amendment = await preview_amendment(
            reader, run_id, selection, changes, user_name(), why, resubmit=resubmit
        )
    require_changes(amendment)
    command = agreed(amendment, yes=yes, as_json=as_json)
    await send(
        context,
        run_id,
        command,
        as_json,
        amended=amendment.as_json(),
        resubmitted=amendment.resubmitted,
    )
