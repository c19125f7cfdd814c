r"""What jobs, people, instruments and other programs wrote, as text that is shown and never obeyed.

A terminal takes orders in what it is given: sequences that begin with ESC (to write the clipboard, to move
over what stands there already, to make a link of a word), C1 controls, which are such sequences in one
character, and marks that turn the direction of writing around.  Every face shows such text by means of this
module, with colours at most.  What is no plain character is written as Python does: ``\x1b``, ``\u202e``.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from typing import Final

import attrs

_JOINERS: Final = frozenset("\u200c\u200d")
"""Letters of some languages, and some pictures, need them; they turn and move nothing."""
_STAYS: Final = frozenset("\n\t") | _JOINERS
_NUMBER: Final = r"0*(?:[0-47]|9|2[1-9]|3[0-7]|39|4[0-7]|49|9[0-7]|10[0-7])"
_PALETTE: Final = r"0*[34]8(?:;0*5;\d{1,3}|:0*5:\d{1,3}|;0*2(?:;\d{1,3}){3}|:0*2::?(?:\d{1,3}:){2}\d{1,3})"
_ONE: Final = rf"(?:{_PALETTE}|0*4:[0-5]|{_NUMBER})?"
_COLOUR: Final = re.compile(rf"\x1b\[{_ONE}(?:;{_ONE})*m")
"""Select graphic rendition, ECMA-48: colours, bold, italic and the like; nothing that hides or blinks."""
_ERASED: Final = re.compile(r"\x1b\[[0-2]?K")
"""What compilers and grep send behind each colour: where nothing moves, it erases nothing."""
MOST_OF_AN_ERROR: Final = 300
MOST_UNFINISHED: Final = 64
_UNFINISHED: Final = re.compile(r"(?:\r{1,60}|\x1b(?:\[[0-9;:]{0,60})?)\Z")
_RETURNS: Final = re.compile(r"\r+\n|\r")
_ODD: Final = re.compile(r"[^\n\t -~]+")
"""What has to be looked at closely: logs have millions of characters that need not be."""
_RESET: Final = "\x1b[0m"


def shown(text: str) -> str:
    r"""A name, or whatever else stands on one line.

    >>> print(shown("a b"), shown("a\nb"), shown("\udcff\u202e"))
    a b a\nb \xff\u202e
    """
    if text.isprintable():  # as nearly all are, and there are many
        return text
    return "".join(_shown_character(character) for character in text)


def brief(error: object) -> str:
    r"""What a library says of a document, which may quote much of it: its beginning and its end.

    >>> print(brief(ValueError("no\nnumber")), len(brief("x" * 10_000)))
    no\nnumber 303
    """
    text = shown(str(error))
    return text if len(text) <= MOST_OF_AN_ERROR else f"{text[:220]}\u2026 \u2026{text[-80:]}"


def shown_lines(text: str) -> str:
    r"""Text with lines, tabs and every kind of space.

    >>> print(shown_lines("one\n\x1b]52;c;ZXZpbA==\x07two\x9b2J"))
    one
    \x1b]52;c;ZXZpbA==\x07two\x9b2J
    """
    return text if _is_plain(text) else _ODD.sub(_shown_run, text)


def shown_colours(text: str) -> str:
    r"""The same, but colours go on to be colours.

    >>> shown_colours("\x1b[1;31mred\x1b[0m \x1b[2J \x1b[8mhidden")
    '\x1b[1;31mred\x1b[0m \\x1b[2J \\x1b[8mhidden'
    """
    if "\x1b" not in text:
        return shown_lines(text)
    text = _ERASED.sub("", text)
    parts, end = [], 0
    for found in _COLOUR.finditer(text):
        parts += [shown_lines(text[end : found.start()]), found[0]]
        end = found.end()
    return "".join([*parts, shown_lines(text[end:])])


def shown_uncoloured(text: str) -> str:
    r"""The same without colours, for what is kept, and shown on faces that have colours of their own.

    >>> shown_uncoloured("\x1b[1;31mred\x1b[0m \x1b[2J\udce9")
    'red \\x1b[2J\\xe9'
    """
    return shown_lines(_COLOUR.sub("", _ERASED.sub("", text)) if "\x1b" in text else text)


def shown_json(text: str) -> str:
    r"""A JSON document that holds the same, and that a terminal may be given.

    >>> print(shown_json('{"by": "ann\x9b\u202e\U000e0041"}'))
    {"by": "ann\u009b\u202e\udb40\udc41"}
    """
    return text if _is_plain(text) else _ODD.sub(_escaped_run, text)


@attrs.define
class LogText:
    """Text of a log that comes in pieces of bytes.

    Colours stay, and what was written over stands on a line of its own.
    """

    _decoder: codecs.IncrementalDecoder = attrs.field(
        factory=lambda: codecs.getincrementaldecoder("utf-8")("surrogateescape")
    )
    _rest: str = ""
    _is_coloured: bool = False

    def take(self, data: bytes) -> str:
        """What of the log can be shown by now."""
        return self._shown(self._rest + self._decoder.decode(data), is_all=False)

    def finish(self) -> str:
        """What is left, and an end to the last colour."""
        text = self._shown(self._rest + self._decoder.decode(b"", final=True), is_all=True)
        return text + (_RESET if self._is_coloured else "")

    def _shown(self, text: str, *, is_all: bool) -> str:
        unfinished = None if is_all else _UNFINISHED.search(text, max(0, len(text) - MOST_UNFINISHED))
        self._rest = unfinished[0] if unfinished else ""
        text = text[: len(text) - len(self._rest)]
        told = shown_colours(_RETURNS.sub("\n", text) if "\r" in text else text)
        for found in _COLOUR.finditer(told) if "\x1b" in told else ():
            self._is_coloured = found[0] not in {_RESET, "\x1b[m"}
        return told


def _is_plain(text: str) -> bool:
    return text.isprintable() or text.replace("\n", "").replace("\t", "").isprintable()


def _shown_run(found: re.Match[str]) -> str:
    text = found[0]
    return text if text.isprintable() else "".join(map(_shown_in_lines, text))


def _escaped_run(found: re.Match[str]) -> str:
    text = found[0]
    return text if text.isprintable() else "".join(map(_json_escape, text))


def _shown_in_lines(character: str) -> str:
    if character in _STAYS or unicodedata.category(character) == "Zs":
        return character
    return _shown_character(character)


def _shown_character(character: str) -> str:
    if character.isprintable():
        return character
    if "\udc80" <= character <= "\udcff":  # a byte that is no UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def _json_escape(character: str) -> str:
    if character.isprintable():
        return character
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
