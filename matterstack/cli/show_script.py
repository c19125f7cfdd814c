"""``run init --show-script``: print what would be submitted."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import asyncclick as click

if TYPE_CHECKING:
    from matterstack.usecases.preview import Preview, ShownTask, Submission

MOST_SCRIPTS: Final = 8
MOST_NAMES: Final = 6


def as_json(preview: Preview) -> dict[str, Any]:
    """Every task with its script, and every command that would submit some of them."""
    return {
        "tasks": [
            {
                "task_id": task.task_id,
                "backend": task.backend,
                "folder": str(task.folder),
                "script": task.script,
                "submission": task.submission,
            }
            for task in preview.tasks
        ],
        "submissions": [
            {"command": list(one.command), "stdin": one.stdin, "tasks": list(one.tasks)}
            for one in preview.submissions
        ],
        "others": list(preview.others),
    }


def print_preview(preview: Preview) -> None:
    """One script for each kind of job: tasks of one backend that ask for the same resources."""
    if preview.others:
        click.echo(f"No jobs of a backend: {_names(preview.others)}")
    if not preview.tasks and not preview.others:
        click.echo("The first plan has no tasks: the goal is met without any.")
    if not preview.tasks:
        return
    kinds = _kinds(preview)
    click.echo(
        f"The first iteration has {_count(len(preview.tasks), 'job')}, "
        f"of {_count(len(kinds), 'kind')} by backend and resources.  Nothing was stored or submitted."
    )
    for number, kind in enumerate(kinds[:MOST_SCRIPTS], 1):
        _print_kind(number, kind, preview.submissions[kind[0].submission])
    if len(kinds) > MOST_SCRIPTS:
        left = [task.task_id for kind in kinds[MOST_SCRIPTS:] for task in kind]
        click.echo(f"\n{_count(len(kinds) - MOST_SCRIPTS, 'more kind')}: {_names(left)} (--json shows each)")


def _kinds(preview: Preview) -> list[list[ShownTask]]:
    kinds: list[list[ShownTask]] = []
    by_key: dict[tuple[str, str], list[ShownTask]] = {}
    for task in preview.tasks:
        key = (task.backend, repr(preview.resources[task.task_id]))
        if key not in by_key:
            kinds.append(by_key.setdefault(key, []))
        by_key[key].append(task)
    return kinds


def _print_kind(number: int, kind: Sequence[ShownTask], submission: Submission) -> None:
    first, together = kind[0], len(submission.tasks)
    click.echo(f"\n== {number}. on {first.backend}: {_names([task.task_id for task in kind])}")
    if together > 1:
        click.echo(f"The first {together} that may run at once would be submitted as one array, with")
    else:
        click.echo(f"{first.task_id} would be {'submitted' if submission.is_queued else 'started'} with")
    click.echo(f"\n{shlex.join(submission.command)}\n")
    if together > 1:
        click.echo("and a list of their folders on its standard input: each job goes on with its own job.sh.")
    if len(kind) > 1:
        click.echo(f"The scripts of these {len(kind):,} tasks differ only in folder, names, command and env.")
    click.echo(f"The job.sh of {first.task_id}:\n\n{first.script.rstrip()}")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(names[:MOST_NAMES])
    return shown if len(names) <= MOST_NAMES else f"{shown} and {len(names) - MOST_NAMES:,} more"
