"""``matterstack schema``: JSON schemas of what operators are given and give back."""

from __future__ import annotations

import asyncclick as click

from matterstack.cli.shared_options import json_option


@click.command(short_help="Print a JSON schema.")
@click.argument("name", required=False)
@click.option("--list", "lists", is_flag=True, help="Print the names of all schemas instead.")
@json_option
async def schema(name: str | None, lists: bool, as_json: bool) -> None:
    """Print the JSON schema NAME of what an operator is given, or of an answer to it."""
    from matterstack.cli.printing import print_json
    from matterstack.core.documents.schemas import SCHEMAS, schema_of
    from matterstack.core.errors import NotFoundError, UsageError

    hint = "list them with: matterstack schema --list"
    if lists == (name is not None):
        raise UsageError("give the name of one schema, or --list", hint=hint)
    if name is None:
        if as_json:
            print_json(list(SCHEMAS))
        else:
            click.echo("\n".join(SCHEMAS))
        return
    if name not in SCHEMAS:
        raise NotFoundError(f"there is no schema {name!r}", hint=hint)
    print_json(schema_of(name))
