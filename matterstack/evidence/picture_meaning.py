"""Compare what two drawings of matplotlib show: the same shapes, colours and texts, a little moved at most.

Text is drawn as outlines, and which letters become one (a ligature) depends on the version.  So the outlines
of each text are compared with those of the letters that it must have.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any, Final
from xml.etree import ElementTree as ET

from matplotlib.figure import Figure

from matterstack.core.shown_text import brief
from matterstack.evidence.figures import svg

NEAR: Final = 2.0
"""By how much a number may differ, in points of the 648 that a wide picture is wide."""
_NUMBER: Final = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_ROUNDED: Final = frozenset({"d", "x", "y", "width", "height", "viewBox", "points", "x1", "x2", "y1", "y2"})
_CALL: Final = re.compile(r"(\w+)\(([^)]*)\)")
_MADE_NAME: Final = re.compile(r"\b[a-z][0-9a-f]{10}\b")
"""What matplotlib calls a shape, by a hash of its coordinates."""
_HREF: Final = "{http://www.w3.org/1999/xlink}href"
_LIGATURES: Final = {"\ufb00": "ff", "\ufb01": "fi", "\ufb02": "fl", "\ufb03": "ffi", "\ufb04": "ffl"}
_SHAPES: Final = frozenset({"path", "use", "rect", "circle", "line", "polygon", "polyline", "ellipse"})

Shape = tuple[str, list[float]]
"""What must be the same of an element, and the numbers that may be rounded."""
Outline = tuple[str, ...]
"""The numbers of a letter's path."""


def same_picture(found: bytes, expected: bytes) -> bool:
    """Whether a picture shows what another one does.

    Raises:
        ValueError, LookupError: it is no picture that matplotlib has drawn.
    """
    try:
        mine, theirs = list(_Picture(found).shapes()), list(_Picture(expected).shapes())
    except ET.ParseError as error:
        raise ValueError(f"it is no picture: {brief(error)}") from None
    return len(mine) == len(theirs) and all(map(_near, mine, theirs))


def _near(mine: Shape, theirs: Shape) -> bool:
    return (
        mine[0] == theirs[0]
        and len(mine[1]) == len(theirs[1])
        and all(
            math.isclose(a, b, rel_tol=0.0, abs_tol=NEAR) for a, b in zip(mine[1], theirs[1], strict=True)
        )
    )


class _Picture:
    """A picture that is read element by element; definitions count where they are used."""

    def __init__(self, picture: bytes) -> None:
        if b"<!ENTITY" in picture:
            raise ValueError("it defines entities")
        builder = ET.TreeBuilder(insert_comments=True, insert_pis=True)
        self._root = ET.fromstring(picture.decode(), ET.XMLParser(target=builder))  # noqa: S314  no entities
        self._by_id = {element.get("id", ""): element for element in self._root.iter()}

    def shapes(self) -> Iterator[Shape]:
        """All that the picture shows, in order.

        Raises:
            ValueError: a text is not drawn with its letters.
        """
        letters = frozenset("".join(text for text, _ in self._all_texts(self._root)))
        return self._shapes(self._root, _letters(letters))

    def texts(self) -> Iterator[tuple[str, list[Outline]]]:
        """Each text, and the outlines that it is drawn with."""
        for text, drawn in self._all_texts(self._root):
            yield text, self._outlines(drawn)

    def _all_texts(self, element: ET.Element) -> Iterator[tuple[str, ET.Element]]:
        if found := _texts_in(element):
            yield from found
            return
        for inner in element:
            yield from self._all_texts(inner)

    def _shapes(self, element: ET.Element, letters: Mapping[str, list[Outline]]) -> Iterator[Shape]:
        tag = _tag(element)
        if tag == "metadata":
            return  # who drew it, and with which version
        if texts := _texts_in(element):
            yield from (self._text(text, drawn, letters) for text, drawn in texts)
            return
        if tag != "defs":
            yield _shape(tag, element)
        if tag == "use":
            # What it is called and where it is defined is the library's own affair: what is shown, is not.
            used = self._by_id[element.attrib[_HREF].removeprefix("#")]
            yield _shape(_tag(used), used)
        for inner in element:
            if tag != "defs" or _tag(inner) == "style":
                yield from self._shapes(inner, letters)

    def _text(self, text: str, drawn: ET.Element, letters: Mapping[str, list[Outline]]) -> Shape:
        wanted = [outline for letter in text for outline in letters.get(letter, ())]
        if self._outlines(drawn, letters) != wanted:
            raise ValueError(f"{text!r} is drawn as something else")
        words, rounded = _shape("text", drawn)
        return f"{words} {''.join(text.split())}", rounded

    def _outlines(
        self, drawn: ET.Element, letters: Mapping[str, list[Outline]] | None = None
    ) -> list[Outline]:
        """The letters of a text, from left to right, ligatures as what they are made of."""
        known = letters or {}
        joined = {
            known[ligature][0]: [outline for letter in parts for outline in known[letter]]
            for ligature, parts in _LIGATURES.items()
            if known.get(ligature)
        }
        found: list[Outline] = []
        place = -math.inf
        for use in drawn:
            if _tag(use) == "defs":
                continue
            place_of_this = _place(use)
            if _tag(use) != "use" or place_of_this < place:
                raise ValueError("a text is drawn out of order")
            place = place_of_this
            outline = tuple(_NUMBER.findall(self._by_id[use.attrib[_HREF].removeprefix("#")].get("d", "")))
            found += joined.get(outline, [outline] if outline else [])
        return found


def _tag(element: ET.Element) -> str:
    tag: Any = element.tag  # of a comment it is a function
    return tag.rpartition("}")[2] if isinstance(tag, str) else "comment"


def _texts_in(element: ET.Element) -> list[tuple[str, ET.Element]]:
    """The lines that a group draws, each with the group of its letters; none where it draws no text."""
    inner = list(element)
    lines = list(zip(inner[::2], inner[1::2], strict=False))
    if len(inner) % 2 or not all(_tag(says) == "comment" and _tag(drawn) == "g" for says, drawn in lines):
        return []
    return [((says.text or "").strip(), drawn) for says, drawn in lines]


def _place(use: ET.Element) -> float:
    moved = re.search(r"translate\(([-\d.e]+)", use.get("transform", ""))
    return float(use.get("x", "0")) + (float(moved[1]) if moved else 0.0)


def _shape(tag: str, element: ET.Element) -> Shape:
    words = [tag, *(element.text or "").split(), *(element.tail or "").split()]
    rounded: list[float] = []
    for key, value in sorted(element.attrib.items()):
        if key in _ROUNDED:
            words.append(f"{key}={' '.join(_NUMBER.sub('#', value).split())}")
            rounded.extend(float(number) for number in _NUMBER.findall(value))
        elif key == "transform":
            for call, arguments in _CALL.findall(value):
                is_rounded = call == "translate"
                words.append(f"{call}({'' if is_rounded else arguments})")
                rounded.extend(float(number) for number in _NUMBER.findall(arguments) if is_rounded)
        elif key != _HREF and not (key == "id" and (tag in _SHAPES or _MADE_NAME.fullmatch(value))):
            words.append(f"{key}={_MADE_NAME.sub('', value)}")
    return " ".join(words), rounded


@cache
def _letters(letters: frozenset[str]) -> Mapping[str, list[Outline]]:
    """How this version of matplotlib draws letters, each by itself; none of a blank."""
    wanted = sorted({*letters, *_LIGATURES, *"".join(_LIGATURES.values())} - set(" \n\t"))
    return _drawn(wanted)


def _drawn(letters: Iterable[str]) -> Mapping[str, list[Outline]]:
    def draw(figure: Figure) -> None:
        for letter in letters:
            figure.text(0.5, 0.5, letter)

    return dict(_Picture(svg("letters", 4.0, 4.0, draw)).texts())
