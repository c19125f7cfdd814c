"""Read JSON that a person or an instrument wrote, and say in plain words what is wrong with it.

Stricter than the standard library: what has two meanings (a key that stands there twice) or none that can be
kept (NaN, a number without end) is refused.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any, Final

from matterstack.core.json_rules import json_problem

MOST_BYTES: Final = 1 << 20
MOST_DIGITS: Final = 400
"""No number that a double can hold has more before its point; int() takes time with the square of them."""

_SAVE_AS: Final = "choose the encoding UTF-8 where you save it"
_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")
_UTF8_MARK: Final = b"\xef\xbb\xbf"
_DECIMAL_COMMA: Final = re.compile(r"\d\s*,\s*\d+\s*\Z")
_TRAILING_COMMA: Final = re.compile(r",\s*\Z")
_MISSING: Final = {
    "Expecting value": "a value is missing here, or is none",
    "Expecting ',' delimiter": "a comma or a closing bracket is missing here",
    "Expecting ':' delimiter": "a colon is missing here",
    "Expecting property name": "a name in double quotes is missing here",
}
_WORDS: Final = {"True": "true", "False": "false", "None": "null"}


class DocumentError(ValueError):
    """The text is no JSON document that can be kept; ``str`` says why, and what to do."""


class TwinKeyError(DocumentError):
    """A key of the document stands there twice: which one is meant?"""


def parse_document(text: bytes, *, most_bytes: int = MOST_BYTES) -> Any:  # noqa: ANN401  any JSON
    """Parse a whole JSON document, strictly.

    Raises:
        DocumentError: it cannot be used.

    >>> parse_document(b"{'energy': 1}")
    Traceback (most recent call last):
    matterstack.core.documents.strict_json.DocumentError: line 1, column 2: names and texts stand in double quotes (")
    """  # noqa: E501
    if len(text) > most_bytes:
        raise DocumentError(f"the file is larger than {_size(most_bytes)}")
    decoded = _decoded(text)
    if not decoded.strip():
        raise DocumentError("the file is empty")
    try:
        value = json.loads(
            decoded, parse_constant=_no_constant, parse_int=_whole, object_pairs_hook=without_twins
        )
    except json.JSONDecodeError as error:
        raise DocumentError(f"line {error.lineno}, column {error.colno}: {_advice(decoded, error)}") from None
    except RecursionError:
        raise DocumentError("too many brackets lie inside of one another") from None
    # 1e999 has become infinity by now, and "\ud800" half a character.
    if problem := json_problem(value):
        raise DocumentError(_plainly(problem))
    return value


def _size(count: int) -> str:
    return f"{count >> 20} MiB" if count >= 1 << 20 else f"{count} bytes"


def _decoded(text: bytes) -> str:
    # A file that is mostly NUL is UTF-16 or UTF-32 without a mark, or no text at all.
    if text.startswith(_UTF16) or b"\0" in text[:4]:
        raise DocumentError(f"the file is not saved as UTF-8 text; {_SAVE_AS}")
    try:
        return text.removeprefix(_UTF8_MARK).decode()
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        what = f"line {line}: byte 0x{text[error.start]:02x} is no UTF-8"
        raise DocumentError(f"{what}; {_SAVE_AS}") from None


def _no_constant(word: str) -> None:
    raise DocumentError(f"{word} is no number that JSON knows; leave the field out, or write null")


def _whole(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise DocumentError(f"the number {digits[:12]}... has {len(digits)} digits, which is too many")
    return int(digits)


def without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of its pairs, as ``object_pairs_hook`` of `json.loads`.

    Raises:
        TwinKeyError: a key stands there twice.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        ((twin, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise TwinKeyError(f"{_shown(twin)} stands there twice; keep one of them")
    return found


def _shown(name: str) -> str:
    text = repr(name)
    return text if len(text) <= 100 else f"{text[:100]}..."


def _advice(text: str, error: json.JSONDecodeError) -> str:
    here, before = text[error.pos :], text[: error.pos]
    if here.startswith(("#", "//", "/*")):
        return "JSON knows no comments; take it out"
    if here.startswith("'"):
        return 'names and texts stand in double quotes (")'
    for word, right in _WORDS.items():
        if here.startswith(word):
            return f"write {right} instead of {word}"
    if _DECIMAL_COMMA.search(before + here[: len(here) - len(here.lstrip("0123456789"))]):
        return "a number has a point, not a comma, before its decimals"
    if here.lstrip().startswith(("}", "]")) and _TRAILING_COMMA.search(before.rstrip()):
        return "there is a comma too many"
    if not here.strip() or error.msg.startswith("Unterminated string"):
        return "the document ends too early: a quote or a bracket is missing"
    if error.msg.startswith("Extra data"):
        return "the document has ended, but more follows"
    for theirs, ours in _MISSING.items():
        if error.msg.startswith(theirs):
            return ours
    return f"{error.msg[0].lower()}{error.msg[1:]}"


def _plainly(problem: str) -> str:
    if "Out of range" in problem:
        return "a number in it is too large"
    if "surrogates" in problem:
        return "a text in it holds half a character"
    return problem
