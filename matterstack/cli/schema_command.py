"""``matterstack schema``: JSON schemas of documents that people and programs exchange."""

from __future__ import annotations

import asyncclick as click

from matterstack.cli.shared_options import json_option


@click.command(short_help="Print a JSON schema.")
@click.argument("name", required=False)
@click.option("--list", "lists", is_flag=True, help="Print the names of all schemas instead.")
@json_option
async def schema(name: str | None, lists: bool, as_json: bool) -> None:
    """Print the JSON schema NAME of config.json, of what an operator is given, or of an answer to it."""
    from matterstack.cli.printing import print_json
    from matterstack.core.documents.schemas import CONFIGS, SCHEMAS
    from matterstack.core.errors import NotFoundError, UsageError
    from matterstack.usecases.configuration import installed_schema

    hint = "list them with: matterstack schema --list"
    if lists == (name is not None):
        raise UsageError("give the name of one schema, or --list", hint=hint)
    names = [*CONFIGS, *SCHEMAS]
    if name is None:
        if as_json:
            print_json(names)
        else:
            click.echo("\n".join(names))
        return
    if name not in names:
        raise NotFoundError(f"there is no schema {name!r}", hint=hint)
    print_json(installed_schema(name))
