"""``run init | loop | start``: make runs, and serve them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import asyncclick as click

from matterstack.cli.completion import propose_workspaces
from matterstack.cli.log_options import LogOptions, log_options
from matterstack.cli.shared_options import RUN_ID, current_root, json_option
from matterstack.core.errors import UsageError
from matterstack.core.ids import RunId
from matterstack.core.shown_text import shown

if TYPE_CHECKING:
    from matterstack.storage.layout import Root
    from matterstack.storage.read.runs import RunSummary

set_option = click.option(
    "--set",
    "settings",
    metavar="KEY=VALUE",
    multiple=True,
    help="Set a config key by its dotted path, such as --set params.n=5 (may be repeated).",
)
slug_argument = click.argument("slug", metavar="WORKSPACE", shell_complete=propose_workspaces)


@click.command("init")
@slug_argument
@set_option
@click.option(
    "--show-script",
    is_flag=True,
    help="Make no run; print the job scripts of its first tasks, and how they would be submitted.",
)
@click.option(
    "--key", metavar="TEXT", help="Make none where a run has this key already: print the id of that one."
)
@json_option
@click.pass_context
async def run_init(
    context: click.Context,
    slug: str,
    settings: tuple[str, ...],
    show_script: bool,
    key: str | None,
    as_json: bool,
) -> None:
    """Make a new PENDING run of a workspace, and print its id.

    Its campaign is loaded: one that cannot be is refused.  Where it uses a cluster, its first tasks are
    planned and held against the limits of the partitions: what can never run is refused.
    """
    from matterstack.cli.printing import print_json

    root = current_root(context)
    if show_script and key is not None:
        raise UsageError("--key: --show-script makes no run", hint="give one of them")
    if show_script:
        await _show_script(root, slug, settings, as_json)
        return
    known: list[RunId] = []
    run_id = await _make(root, slug, settings, key, known.append)
    if as_json:
        print_json({"run_id": run_id, "is_new": not known})
    else:
        click.echo(run_id)
        if known:
            click.echo("it has this key already: no new run was made", err=True)


async def _show_script(root: Root, slug: str, settings: Sequence[str], as_json: bool) -> None:
    from matterstack.cli import show_script
    from matterstack.cli.printing import print_json
    from matterstack.usecases.given_changes import typed_settings
    from matterstack.usecases.preview import preview

    shown = await preview(root, slug, typed_settings(settings))
    for warning in shown.warnings:
        _warn(warning)
    if as_json:
        print_json(show_script.as_json(shown))
    else:
        show_script.print_preview(shown)


async def _make(
    root: Root,
    slug: str,
    settings: Sequence[str],
    key: str | None = None,
    on_known: Callable[[RunId], None] | None = None,
) -> RunId:
    from matterstack.usecases.given_changes import typed_settings
    from matterstack.usecases.runs import make_run

    return await make_run(root, slug, typed_settings(settings), warn=_warn, key=key, on_known=on_known)


def _warn(warning: str) -> None:
    click.echo(f"Warning: {warning}", err=True)


@click.command("loop", short_help="Be the engine: serve runs until stopped.")
@click.argument("run_ids", metavar="[RUN_ID]...", type=RUN_ID, nargs=-1)
@click.option("--until-done", is_flag=True, help="Return when these runs have ended.")
@click.option(
    "--serve", "monitor", metavar="HOST:PORT", help="Serve the monitor too, as `matterstack monitor` does."
)
@log_options
@json_option
@click.pass_context
async def run_loop(
    context: click.Context,
    run_ids: tuple[RunId, ...],
    until_done: bool,
    monitor: str | None,
    log_format: str,
    log_level: str,
    as_json: bool,
) -> None:
    """Be the engine: serve all runs that have not ended (new ones too), or those named, until stopped.

    Ctrl-C or SIGTERM stops it in order; jobs go on running, and are found again.
    """
    from matterstack.cli.monitor_command import monitored
    from matterstack.cli.printing import print_json
    from matterstack.storage.openness import require_owner
    from matterstack.storage.read.reader import open_reader
    from matterstack.storage.read.runs import require_run, run_summaries, runs_to_serve

    root = current_root(context)
    require_owner(root)
    async with open_reader(root) as reader:
        for run_id in run_ids:
            await reader.read(require_run, run_id)
        served = list(run_ids) or await reader.read(runs_to_serve)
    log = LogOptions.given(log_format, log_level)
    async with monitored(root, monitor):
        await _serve(root, list(run_ids) or None, log, until_done=until_done, show=not as_json)
    async with open_reader(root) as reader:
        summaries = await reader.read(run_summaries, served)
    if as_json:
        print_json([summary.as_json() for summary in summaries])
    if until_done:
        await _tell_of_held(root, served, err=as_json)
        _exit_by(summaries)


@click.command("start", short_help="Make a run and serve it until it has ended.")
@slug_argument
@set_option
@log_options
@json_option
@click.pass_context
async def run_start(
    context: click.Context,
    slug: str,
    settings: tuple[str, ...],
    log_format: str,
    log_level: str,
    as_json: bool,
) -> None:
    """Make a run, serve it until it has ended, and show where its results are.

    What can never run is refused, as by `run init`.
    """
    from matterstack.cli.bars import print_summary
    from matterstack.cli.failure_lines import failure_lines
    from matterstack.cli.printing import print_json, print_state
    from matterstack.core.states import ENDED_RUNS
    from matterstack.storage.openness import require_owner
    from matterstack.storage.read.failures import failures
    from matterstack.storage.read.reader import open_reader
    from matterstack.storage.read.runs import campaign_state, held_runs, require_run
    from matterstack.storage.read.tasks import newest_outputs

    root = current_root(context)
    require_owner(root)  # before there is a run that nobody serves
    run_id = await _make(root, slug, settings)
    log = LogOptions.given(log_format, log_level)
    await _serve(root, [run_id], log, until_done=True, show=not as_json, transient=True)
    async with open_reader(root) as reader:
        summary = await reader.read(require_run, run_id)
        outputs = await reader.read(newest_outputs, run_id, 12)
        state = await reader.read(campaign_state, run_id)
        failed = await reader.read(failures, run_id)
        is_explained = bool(await reader.read(held_runs, [run_id]))
    if as_json:
        print_json(summary.as_json())
        await _tell_of_held(root, [run_id], err=True)
        _exit_by([summary])
        return
    print_summary(summary, is_explained=is_explained)
    for line in () if is_explained else failure_lines(failed):
        click.echo(line)
    print_state(state)
    await _tell_of_held(root, [run_id], err=False)
    folder = root.run_folder(slug, run_id)
    if summary.status not in ENDED_RUNS:
        click.echo(f"The run is not finished.  Go on with: matterstack run loop {run_id}")
        return
    click.echo(f"Everything that was done is in {folder.path}")
    for task_id, n, path in outputs:
        click.echo(f"  {shown(str(folder.attempt(task_id, n).path / path))}")
    _exit_by([summary])


async def _tell_of_held(root: Root, run_ids: Sequence[RunId], *, err: bool) -> None:
    """Explain runs that the engine holds, and exit with 1; where there are none, do nothing.

    Args:
        err: on standard error, since standard output is one document.
    """
    from datetime import UTC, datetime

    from matterstack.cli.explain_command import text_of
    from matterstack.core.ids import utc_text
    from matterstack.storage.read.reader import open_reader
    from matterstack.storage.read.runs import held_runs
    from matterstack.usecases.explain import explain

    async with open_reader(root) as reader:
        held = await reader.read(held_runs, run_ids)
        for run_id in held:
            why = await explain(reader, root, run_id, utc_text(datetime.now(UTC)))
            click.echo(err=err)
            for line in text_of(why.situation, why.frontier):
                click.echo(line, err=err)
    if held:
        raise click.exceptions.Exit(1)


def _exit_by(summaries: Sequence[RunSummary]) -> None:
    """Exit with 1 when a run has ended without being COMPLETED."""
    from matterstack.core.states import RunStatus

    if any(s.status in {RunStatus.FAILED, RunStatus.CANCELLED} for s in summaries):
        raise click.exceptions.Exit(1)


async def _serve(
    root: Root,
    run_ids: Sequence[RunId] | None,
    log: LogOptions,
    *,
    until_done: bool,
    show: bool,
    transient: bool = False,
) -> None:
    """Run an engine until it is done, or stopped by a signal."""
    import trio

    from matterstack.cli.followed_runs import ended_runs
    from matterstack.cli.logs import log_to_file
    from matterstack.cli.progress import follow_runs
    from matterstack.cli.signals import STOP_WITHIN_S, stop_on_signals
    from matterstack.cli.waiting import stop_when_held
    from matterstack.engine import open_engine
    from matterstack.storage.read.reader import open_reader

    with log_to_file(root.engine_log, log):
        async with trio.open_nursery() as outside:  # of the engine: they also watch over its stop
            async with (
                open_engine(root) as engine,
                open_reader(root) as reader,
                trio.open_nursery() as nursery,
            ):
                outside.start_soon(partial(stop_on_signals, engine.stop, within_s=STOP_WITHIN_S))
                explains_held = until_done and not sys.stdout.isatty()
                if explains_held:
                    nursery.start_soon(stop_when_held, reader, run_ids, engine.stop)
                is_over = trio.Event()
                async with trio.open_nursery() as display:
                    if show:
                        before = await ended_runs(reader) if run_ids is None else None
                        follow = partial(
                            follow_runs,
                            ended_before=before,
                            transient=transient,
                            explains_held=explains_held,
                            over=is_over,
                        )
                        display.start_soon(follow, reader, run_ids)
                    await engine.serve(run_ids, until_done=until_done)
                    is_over.set()
                nursery.cancel_scope.cancel()
            outside.cancel_scope.cancel()
