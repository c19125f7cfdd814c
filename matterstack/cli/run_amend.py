"""``run amend``: say something of a run anew."""

from __future__ import annotations

from pathlib import Path

import asyncclick as click

from matterstack.cli.run_control import run_argument, send
from matterstack.cli.shared_options import json_option
from matterstack.core.ids import RunId


@click.command(short_help="Say anew what a run is about.")
@run_argument
@click.option(
    "--about",
    "about_file",
    metavar="FILE",
    required=True,
    type=click.Path(path_type=Path),
    help="An about.toml: title, authors, licence and the like.  It takes the place of what was said before.",
)
@click.option("--reason", default="", help="Why; kept in the run's history.")
@json_option
@click.pass_context
async def amend(context: click.Context, run_id: RunId, about_file: Path, reason: str, as_json: bool) -> None:
    """Say anew what a run is about, in any state, also after its end.

    What was said before stays in the run's history; evidence that is exported from now on says the new.
    """
    import trio

    from matterstack.core.run.messages import AmendAbout
    from matterstack.usecases.about_file import read_about
    from matterstack.usecases.runs import user_name

    about = await trio.to_thread.run_sync(read_about, about_file)
    await send(context, run_id, AmendAbout(by=user_name(), about=about.as_kept(), reason=reason), as_json)
