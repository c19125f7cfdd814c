"""Text of people and of jobs, for Markdown and for a page; whatever it holds, it stays text."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any, Final

from markdown_it import MarkdownIt
from markupsafe import Markup

from matterstack.core.shown_text import shown

_SHORT_JSON: Final = 80
_MARKS: Final = re.compile(r"([-+=]|[0-9]+(?=[.)]))")
"""What makes a list, a heading or a rule of a line of Markdown that begins with it."""
_TICKS: Final = re.compile(r"`+")


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
    for character in "`*_|[]#~":
        escaped = escaped.replace(character, f"\\{character}")
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def paragraphs_text(text: str) -> str:
    r"""Text of several lines as paragraphs of Markdown.

    >>> print(paragraphs_text("- none\n2. too"))
    \- none
    2\. too
    """
    return "\n".join(_paragraph_line(line.strip()) for line in text.splitlines())


def _paragraph_line(line: str) -> str:
    escaped = markdown_text(line)
    found = _MARKS.match(escaped)
    if found is None:
        return escaped
    at = found.end() if found[0].isdigit() else 0
    return f"{escaped[:at]}\\{escaped[at:]}"


def code_text(text: object) -> str:
    r"""Text as inline code in a cell of Markdown; empty for nothing.

    >>> print(code_text("a|b"), code_text("``c`"))
    `a\|b` ``` ``c` ```
    """
    plain = shown(str(text)).replace("|", "\\|")
    if not plain:
        return ""
    fence = "`" * (max(map(len, _TICKS.findall(plain)), default=0) + 1)
    room = " " if plain.startswith("`") or plain.endswith("`") else ""
    return f"{fence}{room}{plain}{room}{fence}"


def target_text(place: str) -> str:
    """A place in the bundle as what a link of Markdown leads to, between its ``<`` and ``>``."""
    return shown(place).replace("\\", "%5C").replace("<", "%3C").replace(">", "%3E")


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
