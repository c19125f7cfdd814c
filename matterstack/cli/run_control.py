"""``run pause | resume | retry | rerun``: what a person can ask of a run."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import asyncclick as click

from matterstack.cli.completion import propose_tasks
from matterstack.cli.shared_options import RUN_ID, RUN_ID_ALONE, current_root, json_option
from matterstack.cli.task_selection import change_options, selection_options
from matterstack.core.ids import RunId, TaskId, Token
from matterstack.core.shown_text import shown

if TYPE_CHECKING:
    from matterstack.core.run.messages import Command
    from matterstack.core.run.selection import Selection
    from matterstack.storage.layout import Root
    from matterstack.storage.leases import Holder
    from matterstack.storage.read.runs import RunSummary
    from matterstack.usecases.commands import Outcome

reason_option = click.option("--reason", default="", help="Why; kept in the run's history.")
run_argument = click.argument("run_id", type=RUN_ID)
run_alone_argument = click.argument("run_id", type=RUN_ID_ALONE)


@click.command()
@run_argument
@reason_option
@json_option
@click.pass_context
async def pause(context: click.Context, run_id: RunId, reason: str, as_json: bool) -> None:
    """Submit no new jobs; jobs that run are still followed."""
    from matterstack.core.run.messages import Pause
    from matterstack.usecases.runs import user_name

    await send(context, run_id, Pause(by=user_name(), reason=reason), as_json)


@click.command()
@run_argument
@json_option
@click.pass_context
async def resume(context: click.Context, run_id: RunId, as_json: bool) -> None:
    """Go on after a pause."""
    from matterstack.core.run.messages import Resume
    from matterstack.usecases.runs import user_name

    await send(context, run_id, Resume(by=user_name()), as_json)


@click.command(short_help="Give failed tasks new attempts.")
@run_argument
@selection_options
@change_options
@json_option
@click.pass_context
async def retry(
    context: click.Context,
    run_id: RunId,
    selection: Selection,
    settings: tuple[str, ...],
    why: str,
    yes: bool,
    as_json: bool,
) -> None:
    """Give failed tasks new attempts: those that are selected, or all that keep the run from completing.

    Tasks are named by ids or patterns ('relax-*'), or by how they failed; what is given must all hold.  With
    --set their definition changes first, as with run amend: it shows what changes, and asks.  After a timeout
    or out of memory they ask for more, where they say so (grow).  A FAILED or COMPLETED run goes on.
    """
    from matterstack.cli.amend_dialog import agreed
    from matterstack.storage.read.reader import open_reader
    from matterstack.usecases.amendments import preview_retry, require_changes
    from matterstack.usecases.given_changes import typed_changes
    from matterstack.usecases.runs import user_name

    changes = typed_changes(settings)
    async with open_reader(current_root(context)) as reader:
        retried = await preview_retry(reader, run_id, selection, changes, user_name(), why)
    if not changes:
        await send(context, run_id, retried.command, as_json)
        return
    require_changes(retried)
    command = agreed(retried, yes=yes, as_json=as_json)
    await send(context, run_id, command, as_json, amended=retried.as_json())


@click.command(short_help="Give ended tasks new attempts.")
@run_argument
@click.argument("task_ids", metavar="TASK...", nargs=-1, required=True, shell_complete=propose_tasks)
@click.option("--recursive", is_flag=True, help="Also all tasks that depend on them.")
@json_option
@click.pass_context
async def rerun(
    context: click.Context, run_id: RunId, task_ids: tuple[str, ...], recursive: bool, as_json: bool
) -> None:
    """Give ended tasks new attempts, also those that succeeded; reopens a COMPLETED or FAILED run."""
    from matterstack.core.run.messages import Rerun
    from matterstack.usecases.runs import user_name

    chosen = tuple(TaskId(task_id) for task_id in task_ids)
    await send(context, run_id, Rerun(by=user_name(), tasks=chosen, recursive=recursive), as_json)


async def send(
    context: click.Context,
    run_id: RunId,
    command: object,
    as_json: bool,
    *,
    amended: Mapping[str, Any] | None = None,
    resubmitted: Mapping[TaskId, Token] | None = None,
    done: str = "",
) -> None:
    """Send a command to a run, and print how the run stands then.

    Args:
        amended: what it changed; stands in the document.
        resubmitted: attempts that it wants given up; what becomes of them is waited for, and told.
        done: a line for people that says what was done.
    """
    from matterstack.cli.jobs_given_up import tell_given_up, wait_until_given_up
    from matterstack.cli.printing import print_json
    from matterstack.cli.waiting import wait_until_cancelled
    from matterstack.core.run.messages import (
        AmendConfig,
        AmendTasks,
        Cancel,
        Command,
        Rerun,
        Resume,
        Retry,
    )
    from matterstack.core.states import RunStatus
    from matterstack.storage.read.reader import open_reader
    from matterstack.storage.read.runs import require_run
    from matterstack.usecases.unused_changes import unused_changes

    if not isinstance(command, Command):
        raise TypeError(type(command).__name__)
    root = current_root(context)
    outcome = await have_done(root, run_id, command)
    async with open_reader(root) as reader:
        if isinstance(command, Cancel):
            await wait_until_cancelled(reader, run_id)
        given_up = await wait_until_given_up(reader, run_id, resubmitted) if resubmitted else None
        summary = await reader.read(require_run, run_id)
        goes_on = isinstance(command, Resume | Retry | Rerun) and not as_json
        notes = await unused_changes(reader, run_id) if goes_on else []
    if as_json:
        told = {} if given_up is None else {"jobs": given_up.as_json()}
        print_json({**summary.as_json(), **({} if amended is None else {"amended": {**amended, **told}})})
        return
    if done:
        click.echo(done)
    if given_up is not None:
        tell_given_up(given_up, summary)
    print_standing(summary)
    if summary.status is RunStatus.PAUSED and isinstance(command, Retry | Rerun):
        click.echo(f"it goes on when it is let go: matterstack run resume {run_id}")
    elif not outcome.by_engine and isinstance(command, Resume | Retry | Rerun):
        click.echo("a `matterstack run loop` that serves all runs takes it up by itself; if there is none:")
        click.echo(f"  matterstack run loop {run_id}")
    elif summary.status is RunStatus.FAILED and isinstance(command, AmendTasks | AmendConfig):
        click.echo(f"it stays so until what failed is tried again: matterstack run retry {run_id}")
    for note in notes:
        click.echo(shown(f"note: {note}"))


async def have_done(root: Root, run_id: RunId, command: Command) -> Outcome:
    """Have a command carried out, and say whom that waits for if it takes long."""
    from matterstack.usecases.commands import send_command

    return await send_command(root, run_id, command, on_wait=partial(say_whom_it_waits_for, run_id))


def print_standing(summary: RunSummary) -> None:
    """Say in a line how a run stands."""
    reason = f": {summary.status_reason}" if summary.status_reason else ""
    click.echo(f"run {summary.run_id} is {summary.status}{reason}")


def say_whom_it_waits_for(run_id: RunId, holder: Holder) -> None:
    """Say for whom a command waits that another process is to carry out."""
    from matterstack.storage.leases import this_process

    text = f"waiting for process {holder.pid} on {holder.host}, which serves run {run_id}"
    if not holder.is_on(this_process()):
        text += f"; if that machine is dead, free the run with: matterstack check --break-lease {run_id}"
    click.echo(f"{text} (Ctrl-C ends only this waiting: what you asked for stays asked)", err=True)
