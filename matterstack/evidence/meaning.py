"""Compare what two files say, where a library of another version has written one of them.

What differs may be layout: blanks and line ends, how markup is written, how a picture is rounded.  Every word
and number, each link, attribute, script, colour and entity must be the same, in the same order.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from typing import Any, Final

from matterstack.core.documents.strict_json import without_twins
from matterstack.evidence.picture_meaning import same_picture

_PLAIN: Final = frozenset(
    {
        "p", "em", "strong", "code", "pre", "ul", "ol", "li", "h1", "h2", "h3", "h4", "h5", "h6", "br", "hr",
        "blockquote", "table", "thead", "tbody", "tr", "th", "td",
    }
)  # fmt: skip
"""Without attributes they say nothing but how text is laid out."""
_SVG_URI: Final = "data:image/svg+xml;base64,"
_TIME: Final = re.compile(r"(\d{4}-\d\d-\d\dT[\d:]{8}\.\d{3})\d*(?:Z|\+00:00)")
_CRATE_VERSIONS: Final = re.compile(r"https://w3id\.org/ro/crate/\d+\.\d+(/context)?")


def says_the_same(path: str, found: bytes, expected: bytes) -> bool:
    """Whether a file says what it must say; False as well where it cannot be read."""
    compare = _COMPARED.get(path.rpartition(".")[2], _same_words)
    try:
        return compare(found, expected)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return False


def _same_words(found: bytes, expected: bytes) -> bool:
    return found.decode().split() == expected.decode().split()


# ---- pages ----


class _Page(HTMLParser):
    """All that a page says: words, and markup that is more than layout."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.said: list[Any] = []
        self._verbatim = False
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if attrs or tag not in _PLAIN:
            self.said.append((tag, sorted((name, _attribute(value)) for name, value in attrs)))
        self._verbatim = tag in {"script", "style"}

    def handle_endtag(self, tag: str) -> None:
        if tag not in _PLAIN:
            self.said.append(f"</{tag}>")
        self._verbatim = False

    def handle_data(self, data: str) -> None:
        if self._verbatim:
            self.said.append(data)
        else:
            self.said.extend(data.split())

    def handle_comment(self, data: str) -> None:
        self.said.append(("comment", data))

    def handle_decl(self, decl: str) -> None:
        self.said.append(("declaration", decl.lower()))

    def unknown_decl(self, data: str) -> None:
        self.said.append(("declaration", data))

    def handle_pi(self, data: str) -> None:
        self.said.append(("instruction", data))


class _Drawn:
    """A picture inside of a page: equal to one that shows the same."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, picture: bytes) -> None:
        self.picture = picture

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Drawn) and same_picture(self.picture, other.picture)

    def __lt__(self, other: object) -> bool:
        return False


def _attribute(value: str | None) -> str | _Drawn:
    text = value or ""
    if text.startswith(_SVG_URI):
        try:
            return _Drawn(base64.b64decode(text.removeprefix(_SVG_URI), validate=True))
        except binascii.Error:
            return text
    return text


def _same_page(found: bytes, expected: bytes) -> bool:
    return _Page(found.decode()).said == _Page(expected.decode()).said


# ---- the crate ----


def _same_entities(found: bytes, expected: bytes) -> bool:
    mine, theirs = json.loads(found, object_pairs_hook=without_twins), json.loads(expected)
    return (
        mine.keys() == theirs.keys()
        and _plain(mine["@context"]) == _plain(theirs["@context"])
        and _entities(mine["@graph"]) == _entities(theirs["@graph"])
    )


def older_crate_agrees(found: bytes, expected: bytes) -> bool:
    """Whether a crate that an older version described in its own way says nothing else of the same things.

    Every entity must be known, by its id or, of software, by name and version; and what both crates say of
    one must be the same: hashes, sizes, exit codes, hosts, commands, names and times, these to a millisecond.
    """
    try:
        mine, theirs = json.loads(found, object_pairs_hook=without_twins), json.loads(expected)
        ours, others = _entities(mine["@graph"]), _entities(theirs["@graph"])
        known = {_named(entity) for entity in others.values()}
        is_known = all(
            _agree(e, others[key]) if key in others else _named(e) in known for key, e in ours.items()
        )
        return is_known and {key for key in others if not key.startswith(_NEWER_IDS)} <= ours.keys()
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return False


_NEWER_IDS: Final = ("pkg:", "#python/", "#no-license")
_REWORDED: Final = frozenset({"agent", "license", "softwareRequirements"})
"""What newer crates say with other entities."""


def _named(entity: Mapping[str, Any]) -> tuple[str, str]:
    """Name and version of software; CPython is the one of both that is not called the same in both."""
    version = str(entity.get("version") or entity.get("softwareVersion"))
    return str(entity.get("name")).lower(), version.removeprefix("CPython ")


def _agree(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> bool:
    return all(
        _rounded(mine[key]) == _rounded(theirs[key]) for key in (mine.keys() & theirs.keys()) - _REWORDED
    )


def _rounded(value: Any) -> Any:  # noqa: ANN401  any JSON
    if isinstance(value, list) and len(value) == 1:
        return value[0]
    return _TIME.sub(r"\1+00:00", value) if isinstance(value, str) else value


def _entities(graph: list[Mapping[str, Any]]) -> dict[str, Any]:
    entities = {entity["@id"]: _plain(entity) for entity in graph}
    if len(entities) != len(graph):
        raise ValueError("an entity stands there twice")
    return entities


def _plain(value: Any) -> Any:  # noqa: ANN401  any JSON
    """A value without what says nothing: the order of references, and which version of the standard it is."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return sorted((_plain(inner) for inner in value), key=lambda inner: json.dumps(inner, sort_keys=True))
    if isinstance(value, str):
        return _CRATE_VERSIONS.sub("https://w3id.org/ro/crate", value)
    return value


_COMPARED: Final[Mapping[str, Callable[[bytes, bytes], bool]]] = {
    "md": _same_words,
    "html": _same_page,
    "svg": same_picture,
    "json": _same_entities,
}
