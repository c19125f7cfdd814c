"""The page of all commands, from the command line's own parser."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import asyncclick as click
from markdown import code, page, prose, table

from matterstack.cli.app import main

INTRO = """Every command, with its arguments and options. `--root DIR` stands before the command:
`matterstack --root DIR run list`. Exit codes are [the same everywhere](exit-codes.md)."""


def make() -> str:
    """The whole page."""
    own = _options(main)
    head = f"## matterstack\n\n{_table(own)}"
    return page(
        "Command line", INTRO, head, *(_section(path, one) for path, one in walk(main, "matterstack"))
    )


def walk(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    """All commands below a group, by what is typed to reach them."""
    for name, command in sorted(group.commands.items()):
        if isinstance(command, click.Group):
            yield from walk(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


def _section(path: str, command: click.Command) -> str:
    arguments = " ".join(_argument(one) for one in command.params if isinstance(one, click.Argument))
    usage = f"    {path} [OPTIONS] {arguments}".rstrip()
    help_text = prose(inspect.cleandoc(command.help or "").replace("\b\n", ""))
    return f"## {path}\n\n{usage}\n\n{help_text}\n\n{_table(_options(command))}"


def _argument(argument: click.Argument) -> str:
    return argument.make_metavar(click.Context(main))


def _options(command: click.Command) -> list[tuple[str, str, str]]:
    context = click.Context(command)
    rows = []
    for one in command.get_params(context):
        if isinstance(one, click.Option) and not one.hidden:
            # Words of their own: "--approve / --reject" is one option, and is looked for as both.
            names = ", ".join(code(name) for name in (*one.opts, *one.secondary_opts))
            value = "" if one.is_flag else code(one.make_metavar(context))
            rows.append((names, value, one.help or ""))
    return rows


def _table(rows: list[tuple[str, str, str]]) -> str:
    return table(("option", "value", "meaning"), rows) if rows else ""
