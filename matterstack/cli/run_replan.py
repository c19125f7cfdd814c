"""``run replan``: ask the mended campaign once more for the iteration in hand."""

from __future__ import annotations

import asyncclick as click

from matterstack.cli.run_control import run_argument
from matterstack.cli.shared_options import current_root, json_option
from matterstack.core.ids import RunId


@click.command(short_help="Plan the iteration in hand anew, with campaign.py as it is now.")
@run_argument
@click.option("--dry-run", is_flag=True, help="Only show what would change.")
@click.option(
    "--redo-changed", is_flag=True, help="Do tasks again that have succeeded with another definition."
)
@click.option("--cancel-gone", is_flag=True, help="End the jobs of tasks that the plan has no more.")
@click.option(
    "--yes-plan", is_flag=True, help="Of what was amended and the plan changed too, take the plan's."
)
@click.option("--why", default="", help="Why; kept in the run's history.")
@click.option("--yes", is_flag=True, help="Change it without asking.")
@json_option
@click.pass_context
async def replan(
    context: click.Context,
    run_id: RunId,
    dry_run: bool,
    redo_changed: bool,
    cancel_gone: bool,
    yes_plan: bool,
    why: str,
    yes: bool,
    as_json: bool,
) -> None:
    """Ask campaign.py for the iteration in hand once more: with the same state and the same earlier results.

    It shows what it plans now beside what it planned last time, task by task, and asks.  What has not begun,
    or failed, takes the new definition, and what failed with another one is tried again.  What succeeded
    stays, and so does its result; what is gone is withdrawn; a job that runs is never touched.  What was
    amended stays on top.  A FAILED or COMPLETED run goes on where there is something to do.
    """
    from functools import partial

    from matterstack.cli.printing import print_json
    from matterstack.cli.replan_dialog import agree, show
    from matterstack.cli.run_control import print_standing, say_whom_it_waits_for
    from matterstack.core.run.messages import ReplanChoices
    from matterstack.storage.read.reader import open_reader
    from matterstack.storage.read.runs import require_run
    from matterstack.usecases import replanning
    from matterstack.usecases.runs import user_name

    root = current_root(context)
    choices = ReplanChoices(redo_changed=redo_changed, cancel_gone=cancel_gone, yes_plan=yes_plan)
    found = await replanning.preview_replan(root, run_id, choices, user_name(), why)
    if dry_run:
        if as_json:
            print_json({"run_id": run_id, "dry_run": True, "replanned": found.as_json()})
        else:
            show(found)
        return
    if not as_json:
        show(found)
    replanning.require_replan(found)
    agree(yes=yes, as_json=as_json)
    outcome = await replanning.replan(root, found, on_wait=partial(say_whom_it_waits_for, run_id))
    async with open_reader(root) as reader:
        summary = await reader.read(require_run, run_id)
    if as_json:
        print_json({**summary.as_json(), "replanned": found.as_json()})
        return
    print_standing(summary)
    if not outcome.by_engine and found.reopens:
        click.echo("a `matterstack run loop` that serves all runs takes it up by itself; if there is none:")
        click.echo(f"  matterstack run loop {run_id}")
