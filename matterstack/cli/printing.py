"""Print data: JSON for programs, tables for people."""

from __future__ import annotations

import codecs
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Final

import asyncclick as click

from matterstack.cli.harmless_output import coloured
from matterstack.core.shown_text import shown_json, shown_lines
from matterstack.watch.colours import style_of

PIPE_WIDTH: Final = 240
"""Columns of a table that no terminal shows: wide enough that nothing is cut."""
MOST_STATE_LINES: Final = 24


def print_json(value: Any) -> None:  # noqa: ANN401  any JSON
    """Print one JSON document on standard output."""
    click.echo(shown_json(json.dumps(value, indent=2, ensure_ascii=False)))


def json_line(value: Any) -> str:  # noqa: ANN401  any JSON
    """A JSON document in one line, with its end."""
    return shown_json(json.dumps(value, ensure_ascii=False)) + "\n"


def print_json_with_texts(fields: Mapping[str, Any], texts: Mapping[str, Iterable[bytes]]) -> None:
    """Print an object like `print_json` whose last fields are texts of any length, piece by piece."""
    begun: dict[str, Iterator[bytes]] = {}
    for name, pieces in texts.items():
        waiting = iter(pieces)
        begun[name] = chain([next(waiting, b"")], waiting)  # where one cannot be read, nothing is printed
    click.echo(
        shown_json(json.dumps(dict(fields), indent=2, ensure_ascii=False)).removesuffix("\n}"), nl=False
    )
    for name, waiting in begun.items():
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        click.echo(f',\n  {json.dumps(name)}: "', nl=False)
        for piece in waiting:
            click.echo(_inner_json(decoder.decode(piece)), nl=False)
        click.echo(f'{_inner_json(decoder.decode(b"", final=True))}"', nl=False)
    click.echo("\n}")


def _inner_json(text: str) -> str:
    """A part of a text as it stands between the quotes of JSON."""
    return shown_json(json.dumps(text, ensure_ascii=False)[1:-1])


async def prompt(text: str, **options: Any) -> Any:  # noqa: ANN401  as click has it
    """Ask on a terminal.  What is asked goes to it past standard output (readline), so it is cleaned here."""
    return await click.prompt(shown_lines(text), **options)


def confirm(text: str) -> bool:
    """Ask on a terminal whether something may be done; who says nothing says no."""
    return click.confirm(shown_lines(text), default=False)


def print_state(state: Mapping[str, Any]) -> None:
    """Show what the campaign found out (what its last ``analyze`` returned), where that is short."""
    text = json.dumps(state, indent=2, ensure_ascii=False)
    if state and text.count("\n") < MOST_STATE_LINES:
        click.echo(f"What the campaign found: {text}")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table, in colour on a terminal."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        # Text, not str: what jobs and people wrote must not be read as markup; colours are those of states.
        cells = ("" if cell is None else shown_lines(str(cell)) for cell in row)
        table.add_row(*(Text(text, style=style_of(cell)) for text, cell in zip(cells, row, strict=True)))
    width = None if sys.stdout.isatty() else PIPE_WIDTH
    Console(file=coloured(sys.stdout), width=width, highlight=False).print(table)
