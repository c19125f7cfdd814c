"""Markdown: the few forms that the reference needs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; bars and line breaks in its cells become harmless."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def code(text: str) -> str:
    """Text as code; empty where there is none.

    >>> code("a`b")
    '`` a`b ``'
    """
    if not text:
        return ""
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def item(name: str, meaning: str) -> str:
    """An item of a list: a name, and what it means."""
    return f"- {code(name)}: {' '.join(meaning.split())}"


def prose(docstring: str) -> str:
    """Text of a docstring: its double backticks, and names of modules, become Markdown's code."""
    text = re.sub(r"``([^`]+)``", r"`\1`", docstring)
    return re.sub(r"`(?:matterstack\.)(?:[a-z_]+\.)*([A-Za-z_]+)`", r"`\1`", text)


def page(title: str, intro: str, *parts: str) -> str:
    """A whole page.  It says where it comes from, so that nobody mends it by hand."""
    note = "<!-- Made by `make reference` from the code: change it there. -->"
    return "\n\n".join([f"# {title}", note, intro, *(part.strip() for part in parts if part)]) + "\n"
