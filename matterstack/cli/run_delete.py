"""``run delete`` and ``run forget``: take runs out of the store, with their folders."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import asyncclick as click

from matterstack.cli.shared_options import RUN_ID_ALONE, current_root, json_option
from matterstack.core.errors import RefusedError
from matterstack.core.ids import RunId
from matterstack.core.shown_text import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matterstack.core.run.facts import RunDeleted
    from matterstack.storage.layout import Root
    from matterstack.usecases.deleting_runs import Candidate

MOST_LISTED: Final = 20
runs_argument = click.argument("run_ids", metavar="RUN_ID...", type=RUN_ID_ALONE, nargs=-1, required=True)
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


@click.command(short_help="Delete ended runs, with their folders.")
@runs_argument
@click.option(
    "--evidence",
    "elsewhere",
    metavar="PATH",
    type=click.Path(path_type=Path),
    multiple=True,
    help="A bundle or an archive of one of them that lies elsewhere (may be repeated).",
)
@click.option("--without-evidence", is_flag=True, help="Also where nothing is left of them then.")
@yes_option
@json_option
@click.pass_context
async def delete(
    context: click.Context,
    run_ids: tuple[RunId, ...],
    elsewhere: tuple[Path, ...],
    without_evidence: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Delete runs that have ended: their history from the store, which shrinks, and their folders.

    Of each there must be a bundle with all outputs, or an archive, that is whole and as of its last event.
    Where that lies in the run's folder it stays there. One event is kept: it says that the run was deleted.
    """
    look = {"with_evidence": not without_evidence, "elsewhere": elsewhere}
    await _take_out(context, run_ids, look, yes=yes, as_json=as_json)


@click.command(short_help="Forget runs whose folders have gone.")
@runs_argument
@yes_option
@json_option
@click.pass_context
async def forget(context: click.Context, run_ids: tuple[RunId, ...], yes: bool, as_json: bool) -> None:
    """Delete from the store what it knows of runs whose folders are not there any more.

    One event is kept, which says that the run was forgotten.
    """
    await _take_out(context, run_ids, {"forget": True}, yes=yes, as_json=as_json)


async def _take_out(
    context: click.Context, run_ids: Sequence[RunId], look: dict[str, object], *, yes: bool, as_json: bool
) -> None:
    import trio

    from matterstack.cli.printing import print_json

    root = current_root(context)
    candidates = await trio.to_thread.run_sync(partial(_looked_at, root, run_ids, look))
    if not yes:
        _ask(candidates, as_json=as_json)
    gone = await trio.to_thread.run_sync(partial(_deleted, root, candidates, as_json=as_json))
    if as_json:
        print_json(gone)


def _looked_at(root: Root, run_ids: Sequence[RunId], look: dict[str, object]) -> list[Candidate]:
    from matterstack.usecases.deleting_runs import look_at, opened_store

    with opened_store(root, _warn) as connection:
        return look_at(connection, root, run_ids, **look)  # type: ignore[arg-type]


def _ask(candidates: Sequence[Candidate], *, as_json: bool) -> None:
    """Ask on a terminal whether they are to go.

    Raises:
        RefusedError: there is nobody to ask, or the answer is no.
    """
    from matterstack.cli.printing import confirm

    if as_json or not sys.stdin.isatty():
        raise RefusedError("nobody can be asked here whether that is meant", hint="give --yes")
    for one in candidates[:MOST_LISTED]:
        left = (
            "nothing is left of it" if one.proof is None else f"what is left of it: {shown(str(one.proof))}"
        )
        click.echo(f"{one.run_id} ({one.workspace}) is {one.status}; {left}")
    if len(candidates) > MOST_LISTED:
        click.echo(f"and {len(candidates) - MOST_LISTED} more")
    word = "forget" if candidates[0].forgotten else "delete"
    if not confirm(f"{word} {len(candidates)} runs for ever?"):
        raise RefusedError("nothing was deleted")


def _deleted(root: Root, candidates: Sequence[Candidate], *, as_json: bool) -> list[dict[str, object]]:
    from datetime import UTC, datetime

    from matterstack.core.ids import utc_text
    from matterstack.usecases.deleting_runs import AT_ONCE, opened_store, shrink_store
    from matterstack.usecases.deleting_runs import delete as delete_some
    from matterstack.usecases.runs import user_name

    gone: list[dict[str, object]] = []
    with opened_store(root, _warn) as connection:
        for start in range(0, len(candidates), AT_ONCE):
            some = candidates[start : start + AT_ONCE]
            facts = delete_some(connection, root, some, user_name(), lambda: utc_text(datetime.now(UTC)))
            for one, fact in zip(some, facts, strict=True):
                left = None if one.proof is None else str(one.proof)
                gone.append(
                    {"run_id": one.run_id, "events": fact.events, "head": fact.head, "evidence": left}
                )
                if not as_json:
                    click.echo(_told(one, fact))
        shrink_store(connection, root)
    return gone


def _told(one: Candidate, fact: RunDeleted) -> str:
    left = "" if one.proof is None else f"; what is left of it: {shown(str(one.proof))}"
    word = "forgotten" if one.forgotten else "deleted"
    return f"{one.run_id} ({one.workspace}) is {word}, with {fact.events} events{left}"


def _warn(text: str) -> None:
    click.echo(f"Warning: {shown(text)}", err=True)
