"""``run cancel``: end a run, or some of its tasks."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import asyncclick as click

from matterstack.cli.completion import propose_tasks
from matterstack.cli.run_control import have_done, print_standing, reason_option, run_alone_argument, send
from matterstack.cli.shared_options import current_root, json_option
from matterstack.core.ids import RunId, TaskId

if TYPE_CHECKING:
    from matterstack.core.run.messages import CancelTasks
    from matterstack.core.states import TaskStatus
    from matterstack.usecases.task_cancellation import ToEnd

LIVE_UNASKED: Final = 2
"""Fewer jobs than this are ended without a question."""
MOST_NAMED: Final = 20
"""So many tasks are named before somebody is asked whether they are meant."""


@click.command(short_help="End a run, or some of its tasks.")
@run_alone_argument
@click.argument("task_ids", metavar="[TASK]...", nargs=-1, shell_complete=propose_tasks)
@reason_option
@click.option("--yes", is_flag=True, help="Do not ask whether the tasks with jobs are meant.")
@json_option
@click.pass_context
async def cancel(
    context: click.Context,
    run_id: RunId,
    task_ids: tuple[str, ...],
    reason: str,
    yes: bool,
    as_json: bool,
) -> None:
    """End the run's jobs, then the run, for ever.  Returns when none of its jobs is left.

    With TASKs (names, or patterns such as 'relax-*'), only these end, their jobs first, and all tasks that
    depend on them; the run goes on.  They stay cancelled until `run retry` or `run rerun` names them.  On a
    terminal, it shows what would end and asks, where that is more than one task with a job.
    """
    from matterstack.core.run.messages import Cancel, CancelTasks
    from matterstack.usecases.runs import user_name

    if not task_ids:
        await send(context, run_id, Cancel(by=user_name(), reason=reason), as_json)
        return
    command = CancelTasks(by=user_name(), tasks=task_ids, reason=reason)
    await _cancel_tasks(context, run_id, command, asks=not yes and sys.stdin.isatty(), as_json=as_json)


async def _cancel_tasks(
    context: click.Context, run_id: RunId, command: CancelTasks, *, asks: bool, as_json: bool
) -> None:
    from matterstack.cli.printing import print_json
    from matterstack.cli.waiting import wait_until_ended
    from matterstack.storage.read.reader import open_reader
    from matterstack.storage.read.runs import require_run
    from matterstack.usecases.task_cancellation import tasks_to_end

    root = current_root(context)
    async with open_reader(root) as reader:
        found = await reader.read(tasks_to_end, run_id, command)
        if asks and not await _are_meant(found):
            click.echo("nothing was cancelled")
            return
        await have_done(root, run_id, command)
        ended = await wait_until_ended(reader, run_id, [one.task_id for one in found])
        summary = await reader.read(require_run, run_id)
    if as_json:
        print_json(summary.as_json())
        return
    for line in _told(run_id, ended):
        click.echo(line)
    print_standing(summary)


async def _are_meant(found: Sequence[ToEnd]) -> bool:
    """Ask where more than one job would be ended."""
    from matterstack.cli.printing import prompt

    live = sum(one.is_live for one in found)
    if live < LIVE_UNASKED:
        return True
    click.echo("these tasks end:")
    for one in found[:MOST_NAMED]:
        job = " (its job is ended)" if one.is_live else ""
        click.echo(f"  {one.task_id}{job}" + (f" (depends on {one.because})" if one.because else ""))
    if len(found) > MOST_NAMED:
        click.echo(f"  and {len(found) - MOST_NAMED} more")
    question = f"End these {len(found)} tasks, {live} of them with jobs? [y/N]"
    answer = await prompt(question, default="", show_default=False)
    return answer.strip().lower() in {"y", "yes"}


def _told(run_id: RunId, ended: Mapping[TaskId, TaskStatus]) -> Iterator[str]:
    """What became of the tasks, and how that is undone."""
    from matterstack.core.states import TaskStatus

    cancelled = [task_id for task_id, status in ended.items() if status is TaskStatus.CANCELLED]
    if not ended:
        yield "these tasks are cancelled already"
    if cancelled:
        names = ", ".join(cancelled[:MOST_NAMED])
        more = f" and {len(cancelled) - MOST_NAMED} more" if len(cancelled) > MOST_NAMED else ""
        are = "task is" if len(cancelled) == 1 else "tasks are"
        yield f"{len(cancelled)} {are} CANCELLED: {names}{more}"
        yield f"  to have them done after all, name them: matterstack run retry {run_id} {cancelled[0]}"
    for task_id, status in ended.items():
        if status is not TaskStatus.CANCELLED:
            yield f"task {task_id} is {status}: its job had ended before"
