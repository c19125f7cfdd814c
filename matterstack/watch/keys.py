"""Bytes that a terminal sends, as keys."""

from __future__ import annotations

import re
from typing import Final

ESCAPE: Final = b"\x1b"
_SEQUENCE: Final = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|O[@-~])")
"""A key that is more than a character: ECMA-48, section 5.4; with ``O``: as xterm's keypad sends it."""
_UNFINISHED: Final = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*|O)?")
_NAMES: Final = {
    b"A": "up",
    b"B": "down",
    b"H": "home",
    b"F": "end",
    b"1~": "home",
    b"7~": "home",
    b"4~": "end",
    b"8~": "end",
    b"5~": "page up",
    b"6~": "page down",
    b"Z": "back tab",
}
_SINGLE: Final = {"\r": "enter", "\n": "enter", "\x7f": "backspace", "\x08": "backspace", "\t": "tab"}


def decode_keys(data: bytes, *, is_all: bool) -> tuple[list[str], bytes]:
    """Keys, and the bytes that may be the beginning of another one.

    Args:
        is_all: nothing more came for a while, so an escape that stands alone is the key of that name.

    >>> decode_keys(b"j\\x1b[A\\x1b[", is_all=False)
    (['j', 'up'], b'\\x1b[')
    >>> decode_keys(b"\\x1b", is_all=True)
    (['escape'], b'')
    """
    keys: list[str] = []
    while data:
        if data.startswith(ESCAPE):
            found = _SEQUENCE.match(data)
            if found is not None:
                keys += _named(found[0])
                data = data[found.end() :]
            elif not is_all and _UNFINISHED.fullmatch(data):
                return keys, data
            else:
                keys.append("escape")
                data = data[1:]
            continue
        plain, escape, rest = data.partition(ESCAPE)
        keys += [_SINGLE.get(character, character) for character in plain.decode(errors="ignore")]
        data = escape + rest
    return keys, b""


def _named(sequence: bytes) -> list[str]:
    """The key that a sequence stands for; with shift or control it is the same; none that is not known."""
    code = re.sub(rb"(?:(?<=\d)|1);\d+", b"", sequence[2:]) if b";" in sequence else sequence[2:]
    name = _NAMES.get(code.removeprefix(b"1") if code[-1:].isalpha() else code)
    return [] if name is None else [name]
