"""``run explain``: why a run does not go on, and what can be done about it."""

from __future__ import annotations

import shutil
import sys
import textwrap
from typing import TYPE_CHECKING, Final

import asyncclick as click

from matterstack.cli.failure_lines import quoted_words
from matterstack.cli.shared_options import RUN_ID, current_root, json_option
from matterstack.core.ids import RunId

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matterstack.explain.causes import Cause
    from matterstack.explain.frontier import Frontier
    from matterstack.explain.situation import Situation

NARROWEST: Final = 40
INDENT: Final = "   "


@click.command(short_help="Say why a run does not go on.")
@click.argument("run_id", type=RUN_ID)
@json_option
@click.pass_context
async def explain(context: click.Context, run_id: RunId, as_json: bool) -> None:
    """Say why a run does not go on: the root causes, the most important one first.

    Each with since when it holds, how many tasks wait for it, and what a person can do about it.
    """
    from datetime import UTC, datetime

    from matterstack.cli.printing import print_json
    from matterstack.core.errors import DiskFullError
    from matterstack.core.ids import utc_text
    from matterstack.storage.read.reader import open_reader
    from matterstack.usecases import explain as use_case

    root, now = current_root(context), utc_text(datetime.now(UTC))
    try:
        async with open_reader(root) as reader:
            explanation = await use_case.explain(reader, root, run_id, now)
    except DiskFullError as error:
        explanation = await use_case.explain_on_full_disk(root, run_id, now, error)
    if as_json:
        print_json(explanation.as_json())
        return
    width = max(NARROWEST, shutil.get_terminal_size().columns) if sys.stdout.isatty() else None
    for line in text_of(explanation.situation, explanation.frontier, width):
        click.echo(line)


def text_of(situation: Situation, frontier: Frontier, width: int | None = None) -> Iterable[str]:
    """The explanation for people; ``width``: columns of their terminal, None where lines may be long."""
    yield from _wrapped(_heading(situation), "", width)
    for number, cause in enumerate(frontier.causes, start=1):
        yield ""
        yield from _wrapped(f"{number}. {cause.message}", INDENT, width)
        yield from quoted_words(cause.last_words, INDENT)
        if facts := _facts(cause, situation):
            yield from _wrapped(INDENT + facts, INDENT, width)
        # Never wrapped: a command must be there to be copied.
        yield from (f"{INDENT}  {line}" for line in cause.action.splitlines())


def _heading(situation: Situation) -> str:
    run, engine = situation.run, situation.context.engine
    parts = [f"{run.run_id} {run.workspace} {run.status}"]
    if run.tasks:
        parts.append(f"{run.done:,} of {run.tasks:,} tasks have ended")
    if engine.condition.serves:
        parts.append(f"served by {engine}")
    return ", ".join(parts)


def _facts(cause: Cause, situation: Situation) -> str:
    from matterstack.explain.words import clock, count, duration, seconds_between

    parts = []
    if cause.since is not None:
        now = situation.context.now
        ago = duration(seconds_between(cause.since, now))
        parts.append(f"since {clock(cause.since, now)} ({ago})")
    if cause.blocks:
        parts.append(f"{count(cause.blocks, 'task')} {'waits' if cause.blocks == 1 else 'wait'} for it")
    return "; ".join(parts)


def _wrapped(text: str, indent: str, width: int | None) -> list[str]:
    if width is None:
        return [text]
    return textwrap.wrap(
        text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
