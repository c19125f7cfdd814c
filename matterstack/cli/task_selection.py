"""Options that say which tasks of a run are meant, and what of them is to change."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

import asyncclick as click

from matterstack.cli.completion import propose_tasks

_Command = TypeVar("_Command", bound=Callable[..., Any])


def selection_options(command: _Command) -> _Command:
    """``[TASK]... --failed --waiting --kind K --exit-code N --reason TEXT``: what is given must all hold.

    The command is given the `Selection` that was typed, as ``selection``.
    """

    @wraps(command)
    async def with_selection(
        *others: object,
        task_ids: tuple[str, ...],
        failed: bool,
        waiting: bool,
        kinds: tuple[str, ...],
        exit_codes: tuple[int, ...],
        failed_for: str,
        **more: object,
    ) -> None:
        from matterstack.core.run.selection import Selection

        selection = Selection(
            names=task_ids,
            failed=failed,
            waiting=waiting,
            kinds=kinds,
            exit_codes=exit_codes,
            reason=failed_for,
        )
        await command(*others, selection=selection, **more)

    chosen = cast("_Command", with_selection)
    for option in reversed(
        (
            click.argument("task_ids", metavar="[TASK]...", nargs=-1, shell_complete=propose_tasks),
            click.option("--failed", is_flag=True, help="Tasks that FAILED, also those that may."),
            click.option("--waiting", is_flag=True, help="Tasks that have not begun."),
            click.option(
                "--kind",
                "kinds",
                metavar="KIND",
                multiple=True,
                help="Tasks whose last attempt failed so: timeout, out_of_memory, error, exit:3 and so on.",
            ),
            click.option(
                "--exit-code",
                "exit_codes",
                metavar="N",
                type=int,
                multiple=True,
                help="Tasks whose last attempt ended with this exit code.",
            ),
            click.option(
                "--reason",
                "failed_for",
                metavar="TEXT",
                default="",
                help="Tasks that failed with this text in the reason, or in the last words of the job.",
            ),
        )
    ):
        chosen = option(chosen)
    return chosen


def change_options(command: _Command) -> _Command:
    """``--set PATH=VALUE --why TEXT --yes``: what is to change, and that it may."""
    for option in reversed(
        (
            click.option(
                "--set",
                "settings",
                metavar="PATH=VALUE",
                multiple=True,
                help="What changes, such as resources.walltime_s=7200, env.OMP_NUM_THREADS=4, "
                "backend=cluster; null is nothing.",
            ),
            click.option("--why", default="", help="Why; kept in the run's history."),
            click.option("--yes", is_flag=True, help="Change it without asking."),
        )
    ):
        command = option(command)
    return command
