"""Text of people and of jobs, for Markdown and for a page; whatever it holds, it stays text."""

from __future__ import annotations

import json
from functools import cache
from typing import Any, Final

from markdown_it import MarkdownIt
from markupsafe import Markup

from matterstack.core.shown_text import shown

_SHORT_JSON: Final = 80


@cache
def _markdown_reader() -> MarkdownIt:
    # No HTML of the text's own, and no pictures: the page must need nothing from anywhere, nor run anything.
    rules = ["html_inline", "html_block", "image", "autolink", "link", "reference"]
    return MarkdownIt("commonmark", {"html": False}).enable("table").disable(rules)


def page_text(text: str) -> Markup:
    return Markup(_markdown_reader().render(text))  # noqa: S704  the reader escapes what is not its own


def markdown_text(text: object) -> str:
    r"""Text for a cell of a table, or a line, of Markdown.

    >>> print(markdown_text("a|b <i> *c*"))
    a\|b &lt;i&gt; \*c\*
    """
    escaped = shown(str(text)).replace("\\", "\\\\")
    for character in "`*_|[]#":
        escaped = escaped.replace(character, f"\\{character}")
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def paragraphs_text(text: str) -> str:
    """Text of several lines as paragraphs of Markdown."""
    return "\n".join(markdown_text(line.strip()) for line in text.splitlines())


def code_text(text: object) -> str:
    """Text as inline code in a cell of Markdown; empty for nothing."""
    plain = shown(str(text)).replace("|", "\\|")
    fence = "``" if "`" in plain else "`"
    return f"{fence}{plain}{fence}" if plain else ""


def block_text(text: str) -> str:
    """Text as an indented block of Markdown, which nothing in it can end."""
    return "\n".join(f"    {line}" for line in text.splitlines())


def time_text(moment: str) -> str:
    """A stored time without its fractions.

    >>> time_text("2026-01-02T03:04:05.123456Z")
    '2026-01-02 03:04:05'
    """
    return moment[:19].replace("T", " ")


def json_text(value: Any) -> str:  # noqa: ANN401  any JSON
    text = json.dumps(value, ensure_ascii=False)
    if len(text) > _SHORT_JSON:
        text = json.dumps(value, indent=2, ensure_ascii=False)
    return "\n".join(shown(line) for line in text.split("\n"))


def lines_text(text: bytes) -> str:
    return "\n".join(shown(line) for line in text.decode("utf-8", "surrogateescape").splitlines())
