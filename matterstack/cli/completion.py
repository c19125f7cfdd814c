"""What a shell proposes for words that stand for something in the root: runs, tasks, workspaces, folders.

It reads names of folders and nothing else: a key press must not wait for a database that is busy, or gone.
Where there is no root, or it cannot be read, nothing is proposed: there is nobody to tell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncclick as click
from asyncclick.shell_completion import CompletionItem

from matterstack.core.errors import MatterStackError
from matterstack.core.ids import LAST_RUN, RUN_ID_PATTERN, RunId

if TYPE_CHECKING:
    from pathlib import Path

    from matterstack.storage.layout import Root

Proposals = list[CompletionItem[str]]


def propose_runs(context: click.Context, _parameter: click.Parameter, begun: str) -> Proposals:
    """Run ids, the newest first, each with its workspace."""
    folders = [run for run in _run_folders(context) if run.name.startswith(begun)]
    folders.sort(key=lambda run: run.name, reverse=True)
    given = context.params.get("run_ids") or ()
    proposed = [
        CompletionItem(run.name, help=run.parents[1].name) for run in folders if run.name not in given
    ]
    return [*proposed, *([CompletionItem(LAST_RUN)] if begun and LAST_RUN.startswith(begun) else [])]


def run_while_completing(context: click.Context, typed: str) -> RunId:
    """The run that a word means which was typed before, as far as names of folders tell; else the word."""
    folders = sorted(_run_folders(context), key=lambda run: run.name, reverse=True)
    if typed != LAST_RUN:
        folders = [run for run in folders if run.name.startswith(typed)] or [
            run for run in folders if run.parents[1].name == typed
        ]
    return RunId(folders[0].name if folders else typed)


def propose_tasks(context: click.Context, _parameter: click.Parameter, begun: str) -> Proposals:
    """Tasks that have a folder in the run that was named before: those that have begun, or were asked."""
    run_id = context.params.get("run_id")
    given = context.params.get("task_ids") or ()
    tasks = {
        task.name
        for run in _run_folders(context)
        if run.name == run_id
        for kind in ("tasks", "operators")
        for task in _folders(run / kind)
    }
    return [CompletionItem(task) for task in sorted(tasks.difference(given)) if task.startswith(begun)]


def propose_workspaces(context: click.Context, _parameter: click.Parameter, begun: str) -> Proposals:
    """Propose names of workspaces that begin so."""
    root = _root(context)
    try:
        slugs = root.slugs() if root else []
    except OSError:
        return []
    return [CompletionItem(slug) for slug in slugs if slug.startswith(begun)]


def propose_folders(_context: click.Context, _parameter: click.Parameter, begun: str) -> Proposals:
    """Leave it to the shell, which knows folders."""
    return [CompletionItem(begun, type="dir")]


def _run_folders(context: click.Context) -> list[Path]:
    root = _root(context)
    if root is None:
        return []
    return [
        run
        for workspace in _folders(root.workspaces)
        for run in _folders(workspace / "runs")
        if RUN_ID_PATTERN.fullmatch(run.name)
    ]


def _root(context: click.Context) -> Root | None:
    from matterstack.cli.shared_options import current_root

    try:
        return current_root(context)
    except (MatterStackError, OSError):
        return None


def _folders(parent: Path) -> list[Path]:
    try:
        return [path for path in parent.iterdir() if path.is_dir()]
    except OSError:
        return []
