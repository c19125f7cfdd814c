"""``run label``: what people say of a run."""

from __future__ import annotations

import asyncclick as click

from matterstack.cli.run_control import run_argument
from matterstack.cli.shared_options import current_root, json_option
from matterstack.core.ids import RunId

# Without -h: it would be taken out of -high, which removes a label.
_SETTINGS = {"ignore_unknown_options": True, "help_option_names": ["--help"]}


@click.command(short_help="Say something of a run: labels and a note.", context_settings=_SETTINGS)
@run_argument
@click.argument("words", metavar="[+LABEL|-LABEL|note=TEXT]...", nargs=-1, type=click.UNPROCESSED)
@json_option
@click.pass_context
async def label(context: click.Context, run_id: RunId, words: tuple[str, ...], as_json: bool) -> None:
    """Add labels (+LABEL) to a run, remove them (-LABEL), and give it a note (note=TEXT); show what it has.

    In any state of the run. They are no part of its history, and no evidence has them.
    """
    from datetime import UTC, datetime

    from matterstack.cli.printing import print_json
    from matterstack.core.ids import utc_text
    from matterstack.storage.read.reader import open_reader
    from matterstack.usecases.labels import label_run, labelling_document, read_change
    from matterstack.usecases.runs import user_name

    change = read_change(words)
    async with open_reader(current_root(context)) as reader:
        said = await reader.read(label_run, run_id, change, user_name(), utc_text(datetime.now(UTC)))
    if as_json:
        print_json(labelling_document(run_id, said))
        return
    for one in said.labels:
        click.echo(f"{one.text}  ({one.by}, {one.at})")
    if said.note is not None:
        click.echo(f"note: {said.note.text}  ({said.note.by}, {said.note.at})")
    if not said.labels and said.note is None:
        click.echo(f"nothing is said of run {run_id}")
