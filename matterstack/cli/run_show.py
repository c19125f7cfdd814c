"""``run list | status | tasks | logs | events``: look at runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import asyncclick as click
import attrs

from matterstack.cli.completion import propose_tasks, propose_workspaces
from matterstack.cli.evidence_command import (
    list_imported,
    print_events_of_imported,
    show_imported,
    tasks_of_imported,
)
from matterstack.cli.shared_options import RUN_ID, current_root, json_option
from matterstack.core.errors import NotFoundError
from matterstack.core.ids import RunId, TaskId
from matterstack.core.states import RunStatus

if TYPE_CHECKING:
    from matterstack.storage.layout import Root
    from matterstack.storage.read.runs import RunSummary

run_argument = click.argument("run_id", type=RUN_ID)


@click.command("list", short_help="List runs, the newest last.")
@click.option(
    "--status",
    "statuses",
    type=click.Choice([status.value for status in RunStatus], case_sensitive=False),
    multiple=True,
    help="Only runs that are so (may be repeated: one of these).",
)
@click.option(
    "--workspace",
    "workspaces",
    metavar="WORKSPACE",
    multiple=True,
    shell_complete=propose_workspaces,
    help="Only runs of it (may be repeated: of one of these).",
)
@click.option("--label", "labels", metavar="LABEL", multiple=True, help="Only runs with it (repeated: all).")
@click.option(
    "--since", metavar="TIME", help="Only runs made since a day or time (UTC), or 90m, 36h, 7d, 2w ago."
)
@click.option(
    "--last", metavar="N", type=click.IntRange(min=1), help="Only the N of these that were made last."
)
@json_option
@click.pass_context
async def list_runs(
    context: click.Context,
    statuses: tuple[str, ...],
    workspaces: tuple[str, ...],
    labels: tuple[str, ...],
    since: str | None,
    last: int | None,
    as_json: bool,
) -> None:
    """List runs, the newest last: all, or those that fit; then those that were imported from elsewhere."""
    from datetime import UTC, datetime

    from matterstack.cli.glance import store_of
    from matterstack.cli.moments import moment
    from matterstack.cli.printing import print_json
    from matterstack.storage.read.filtered_runs import RunFilter
    from matterstack.usecases.run_lists import fitting_imports, fitting_runs, imports_to_read, require_fitting

    root = current_root(context)
    wanted = RunFilter(
        statuses=tuple(RunStatus(status) for status in statuses),
        workspaces=workspaces,
        labels=labels,
        since=None if since is None else moment(since, datetime.now(UTC)),
        last=last,
    )
    with store_of(root) as connection:
        require_fitting(connection, root, wanted)
        summaries = fitting_runs(connection, wanted)
    imported = fitting_imports(list_imported(root, imports_to_read(root, wanted)), wanted)
    if last is not None:
        newest = sorted([*summaries, *imported], key=lambda s: (s.created_at, s.run_id))[-last:]
        summaries, imported = ([s for s in some if s in newest] for some in (summaries, imported))
    if as_json:
        ours = [summary.as_json() for summary in summaries]
        print_json([*ours, *({**summary.as_json(), "imported": True} for summary in imported)])
        return
    if not summaries and not imported:
        if wanted == RunFilter():
            click.echo("no runs yet; start one with: matterstack run start WORKSPACE")
        else:
            click.echo("no run fits")
        return
    _print_runs(summaries, imported)


def _print_runs(summaries: Sequence[RunSummary], imported: Sequence[RunSummary]) -> None:
    from matterstack.cli.printing import print_table
    from matterstack.core.states import TaskStatus

    print_table(
        ("run", "workspace", "status", "iteration", "done", "failed", "tasks", "labels", "reason"),
        (
            (
                s.run_id,
                s.workspace,
                s.status if number < len(summaries) else f"{s.status} (imported)",
                s.iteration,
                s.count(TaskStatus.SUCCEEDED),
                s.count(TaskStatus.FAILED),
                sum(s.count(status) for status in TaskStatus),
                ", ".join(s.labels),
                s.status_reason,
            )
            for number, s in enumerate([*summaries, *imported])
        ),
    )


@click.command()
@run_argument
@click.option("--follow", "-f", is_flag=True, help="Stay, and show progress until the run has ended.")
@json_option
@click.pass_context
async def status(context: click.Context, run_id: RunId, follow: bool, as_json: bool) -> None:
    """Show how far a run is."""
    from matterstack.cli.glance import store_of
    from matterstack.cli.printing import print_json
    from matterstack.core.states import ENDED_RUNS
    from matterstack.storage.backend_reports import by_backend, read_reports, troubles
    from matterstack.storage.finishing_reports import finishing_words, read_finishing
    from matterstack.storage.read.failures import failures
    from matterstack.storage.read.runs import require_run

    root = current_root(context)
    if follow:
        await _follow(root, run_id)
    with store_of(root) as connection:
        try:
            summary = require_run(connection, run_id)
        except NotFoundError:
            if show_imported(root, run_id, as_json=as_json):
                return
            raise
        failed = failures(connection, run_id)
    reports = read_reports(root)
    finishing = read_finishing(root, run_id)
    if as_json:
        far = {task_id: attrs.asdict(one) for task_id, one in finishing.items()}
        # Like `run list` and `run.json`, but for what only engines that live know.
        told = {"backends": by_backend(reports), **({"finishing": far} if far else {})}
        print_json({**summary.as_json(), **told})
        return
    from matterstack.cli.bars import print_summary
    from matterstack.cli.failure_lines import failure_lines

    print_summary(summary)
    for line in failure_lines(failed):
        click.echo(line)
    for line in () if summary.status in ENDED_RUNS else troubles(reports):
        click.echo(line)
    if finishing:
        click.echo(f"{finishing_words(finishing.values())} ({', '.join(sorted(finishing))})")


async def _follow(root: Root, run_id: RunId) -> None:
    """Show progress until a run has ended; one that is not in the store has."""
    from matterstack.cli.progress import follow_runs
    from matterstack.storage.read.reader import open_reader

    async with open_reader(root) as reader:
        await follow_runs(reader, [run_id], transient=True)


@click.command(short_help="List the tasks of a run.")
@run_argument
@json_option
@click.pass_context
async def tasks(context: click.Context, run_id: RunId, as_json: bool) -> None:
    """List the tasks of a run with their last attempt (--json: with all attempts)."""
    from matterstack.cli.failure_lines import said_in_cell
    from matterstack.cli.glance import store_of
    from matterstack.cli.printing import print_json, print_table
    from matterstack.core.states import TaskStatus
    from matterstack.storage.read.runs import require_run
    from matterstack.storage.read.tasks import task_list

    root = current_root(context)
    with store_of(root) as connection:
        try:
            require_run(connection, run_id)
            listed = task_list(connection, run_id)
        except NotFoundError:
            found = tasks_of_imported(root, run_id)
            if found is None:
                raise
            listed = found
    if as_json:
        print_json(listed)
        return
    rows: list[tuple[object, ...]] = []
    for task in listed:
        last = task["attempts"][-1] if task["attempts"] else {}
        rows.append(
            (
                task["task_id"],
                task["iteration"],
                task["status"],
                last.get("n"),
                last.get("backend"),
                last.get("job_id"),
                last.get("state"),
                last.get("exit_code"),
                task["reason"] or last.get("reason"),
                said_in_cell(last.get("last_words", "")) if task["status"] == TaskStatus.FAILED else "",
            )
        )
    columns = ("task", "iteration", "status", "attempt", "backend", "job", "job state", "exit", "reason")
    if any(row[-1] for row in rows):
        print_table((*columns, "last words"), rows)
    else:
        print_table(columns, [row[:-1] for row in rows])


@click.command(short_help="Print what a task's command printed.")
@run_argument
@click.argument("task_id", metavar="TASK", shell_complete=propose_tasks)
@click.option("--attempt", type=click.IntRange(min=1), help="Which attempt (default: the last one).")
@click.option("--stdout", is_flag=True, help="Its output alone, also of one that failed.")
@click.option("--stderr", is_flag=True, help="The command's standard error instead of its output.")
@click.option("--tail", type=click.IntRange(min=0), metavar="N", help="Only the last N lines.")
@click.option("--follow", "-f", is_flag=True, help="Go on until the attempt has ended.")
@click.option("--raw", is_flag=True, help="Every byte as it is; a terminal obeys what stands there.")
@json_option
@click.pass_context
async def logs(
    context: click.Context,
    run_id: RunId,
    task_id: str,
    attempt: int | None,
    stdout: bool,
    stderr: bool,
    tail: int | None,
    follow: bool,
    raw: bool,
    as_json: bool,
) -> None:
    r"""Print what a task's command printed, with colours at most; of one that failed, both streams.

    What else would control a terminal is shown, such as \x1b; what was written over, as bars of progress are,
    stands on lines of its own.  --raw leaves every byte as it is.
    """
    from matterstack.cli.printing import print_json_with_texts
    from matterstack.storage.read.reader import open_reader
    from matterstack.storage.read.runs import require_run
    from matterstack.storage.read.tasks import attempt_has_failed, last_attempt_number
    from matterstack.usecases.task_logs import added_to, start_of_last

    if stdout and stderr:
        raise click.UsageError("--stdout and --stderr exclude each other")

    root = current_root(context)
    async with open_reader(root) as reader:
        summary = await reader.read(require_run, run_id)
        last = await reader.read(last_attempt_number, run_id, TaskId(task_id))
        number = attempt or last
        if number > last or last == 0:
            raise NotFoundError(f"task {task_id} has no attempt {number or 1} (it has {last})")
        folder = root.run_folder(summary.workspace, run_id).attempt(TaskId(task_id), number)
        path = folder.stderr if stderr else folder.stdout
        failed = await reader.read(attempt_has_failed, run_id, TaskId(task_id), number)
        both = failed and not (stdout or stderr or follow)
        begin = 0 if tail is None else start_of_last(path, tail)
        also = start_of_last(folder.stderr, tail) if both and tail is not None else 0
        if as_json:
            named = {"run_id": run_id, "task_id": task_id, "attempt": number, "path": str(path)}
            texts = {"text": added_to(path, begin)}
            print_json_with_texts(named, texts | ({"stderr": added_to(folder.stderr, also)} if both else {}))
        elif follow:
            with _log_printer(raw=raw) as take:
                await _follow_log(context, run_id, TaskId(task_id), number, path, take, begin)
        else:
            _print_streams({path: begin, folder.stderr: also} if both else {path: begin}, raw=raw)


def _print_streams(streams: Mapping[Path, int], *, raw: bool) -> None:
    """Print logs from where each is to begin; where several hold something, with their names between."""
    said = {path: begin for path, begin in streams.items() if _holds_more(path, begin)}
    for path, begin in said.items():
        if len(said) > 1:
            click.echo(f"==> {path.name} <==")
        with _log_printer(raw=raw) as take:
            _print_from(path, begin, take)


def _holds_more(path: Path, position: int) -> bool:
    from matterstack.usecases.task_logs import added_to

    return next(iter(added_to(path, position)), b"") != b""


@contextmanager
def _log_printer(*, raw: bool) -> Iterator[Callable[[bytes], object]]:
    """What prints pieces of a log."""
    from matterstack.cli.harmless_output import bare
    from matterstack.core.shown_text import LogText

    out = bare(sys.stdout)
    out.flush()
    if raw:
        yield out.buffer.write
        return
    text = LogText()
    try:
        yield lambda data: out.write(text.take(data))
    finally:
        out.write(text.finish())


async def _follow_log(
    context: click.Context,
    run_id: RunId,
    task_id: TaskId,
    number: int,
    path: Path,
    take: Callable[[bytes], object],
    position: int,
) -> None:
    from matterstack.storage.read.reader import open_reader
    from matterstack.storage.read.tasks import attempt_has_ended

    async with open_reader(current_root(context)) as reader:
        async for _ in reader.changes(at_least_every_s=0.2):
            ended = await reader.read(attempt_has_ended, run_id, task_id, number)
            position = _print_from(path, position, take)
            if ended:
                return


def _print_from(path: Path, position: int, take: Callable[[bytes], object]) -> int:
    """Print what was added to a file since; returns where it ends now."""
    from matterstack.usecases.task_logs import added_to

    for chunk in added_to(path, position):
        take(chunk)
        position += len(chunk)
    sys.stdout.flush()
    return position


@click.command()
@run_argument
@click.option("--after", type=click.IntRange(min=0), default=0, help="Only events after this number.")
@click.option("--follow", "-f", is_flag=True, help="Go on until the run has ended.")
@click.option("--json", "_as_json", is_flag=True, help="The default: one JSON object per line.")
@click.pass_context
async def events(context: click.Context, run_id: RunId, after: int, follow: bool, _as_json: bool) -> None:
    """Print the run's history as JSON lines."""
    from matterstack.cli.printing import json_line
    from matterstack.core.states import ENDED_RUNS
    from matterstack.storage.read.events import event_lines
    from matterstack.storage.read.reader import open_reader
    from matterstack.storage.read.runs import require_run

    root = current_root(context)
    async with open_reader(root) as reader:
        async for _ in reader.changes():
            try:
                summary = await reader.read(require_run, run_id)
            except NotFoundError:
                if await print_events_of_imported(root, run_id, after):
                    return
                raise
            while lines := await reader.read(event_lines, after, run_id):
                for _seq, line in lines:
                    sys.stdout.write(json_line(line))
                after = lines[-1][0]
            sys.stdout.flush()
            if not follow or summary.status in ENDED_RUNS:
                return
