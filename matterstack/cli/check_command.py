"""``matterstack check``: prove the store, or take a run away from a dead host."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import asyncclick as click

from matterstack.cli.shared_options import RUN_ID, current_root, json_option
from matterstack.core.ids import RunId

if TYPE_CHECKING:
    from matterstack.core.run.history_rules import Problem

MOST_OF_A_KIND: Final = 5
"""Problems of one rule in one run that are shown."""


@click.command(short_help="Check the store and the files.")
@click.option(
    "--break-lease",
    "broken",
    metavar="RUN_ID",
    type=RUN_ID,
    help="Free a run whose engine died together with its machine; another engine can serve it then.",
)
@json_option
@click.pass_context
async def check(context: click.Context, broken: RunId | None, as_json: bool) -> None:
    """Check the store's history, snapshots and files against each other; exit with 1 if one does not fit."""
    import attrs
    import trio

    from matterstack.cli.printing import print_json, print_table
    from matterstack.core.errors import DatabaseCorruptError
    from matterstack.core.run.history_rules import Problem
    from matterstack.storage.check import check_store

    root = current_root(context)
    if broken is not None:
        await _break_lease(context, broken, as_json)
        return
    try:
        problems = await trio.to_thread.run_sync(check_store, root)
    except DatabaseCorruptError as error:
        problems = [Problem(None, None, "database", f"{error}; {error.hint}")]
    if as_json:
        print_json({"ok": not problems, "problems": [attrs.asdict(problem) for problem in problems]})
    elif problems:
        shown = _first_of_each_kind(problems)
        print_table(
            ("run", "event", "rule", "problem"), ((p.run_id, p.seq, p.rule, p.problem) for p in shown)
        )
        if len(shown) < len(problems):
            click.echo(f"and {len(problems) - len(shown)} more of these kinds; --json has them all")
    else:
        click.echo("everything fits: history, snapshots and files")
    if problems:
        raise click.exceptions.Exit(1)


def _first_of_each_kind(problems: Sequence[Problem]) -> list[Problem]:
    """What is broken once is often broken a thousand times: a few of a kind tell as much."""
    counts: Counter[tuple[object, str]] = Counter()
    shown = []
    for problem in problems:
        kind = (problem.run_id, problem.rule)
        counts[kind] += 1
        if counts[kind] <= MOST_OF_A_KIND:
            shown.append(problem)
    return shown


async def _break_lease(context: click.Context, run_id: RunId, as_json: bool) -> None:
    from matterstack.cli.printing import print_json
    from matterstack.storage.leases import break_lease
    from matterstack.storage.read.reader import open_reader

    root = current_root(context)
    async with open_reader(root) as reader:
        holder = await reader.read(break_lease, root, run_id)
    if as_json:
        was = None if holder is None else {"host": holder.host, "pid": holder.pid}
        print_json({"run_id": run_id, "was_held_by": was})
    elif holder is None:
        click.echo(f"run {run_id} was held by nobody")
    else:
        click.echo(f"run {run_id} was held by process {holder.pid} on {holder.host}; it is free now")
