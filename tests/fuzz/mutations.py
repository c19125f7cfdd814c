"""Ways to damage what others hand us: bytes, lines of text, JSON, and the files of a folder."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, Final

DEEP: Final = 100_000
HUGE_BYTES: Final = 8 << 40
"""Size of a file with a hole: nobody has the time to read it, nor the memory to hold it."""
_WORDS: Final = (
    b"\0", b"\xff\xfe", b"\xed\xa0\x80", b"{", b"[" * DEEP, b'"', b"\\", b"\n", b"1e999", b"-", b"NaN",
    b"9" * 5000, b"\x1b]52;c;aGk=\x07", b"../", b"null", b'{"a":1,"a":2}', b" " * 4096,
)  # fmt: skip
_VALUES: Final[tuple[Callable[[], Any], ...]] = (
    lambda: None, lambda: True, lambda: -1, lambda: 0, lambda: 0.1, lambda: 2**63, lambda: 10**400,
    lambda: 1e308, lambda: float("nan"), lambda: float("inf"), list, dict, lambda: [[]] * 1000,
    lambda: {"a": {"a": {"a": {}}}}, lambda: "", lambda: "x" * 100_000, lambda: "\ud800", lambda: "a\0b",
    lambda: "\u202e", lambda: "../../x", lambda: "/etc/passwd", lambda: "\x1b[2J", lambda: "é" * 300,
    lambda: "2026-13-45T99:99:99Z",
)  # fmt: skip


def damaged_bytes(random: Random, data: bytes) -> bytes:
    """Flip, cut, double, insert or exchange some of it."""
    spoilt = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 5))):
        at = random.randrange(len(spoilt) + 1)
        match random.randrange(7):
            case 0 if spoilt:
                spoilt[random.randrange(len(spoilt))] ^= 1 << random.randrange(8)
            case 1:
                del spoilt[at:]
            case 2:
                del spoilt[at : at + random.randrange(1, 50)]
            case 3:
                spoilt[at:at] = spoilt[at : at + random.randrange(1, 200)]
            case 4:
                spoilt[at:at] = random.choice(_WORDS)
            case 5:
                spoilt[at:at] = random.randbytes(random.randrange(1, 20))
            case _:
                lines = bytes(spoilt).split(b"\n")
                random.shuffle(lines)
                spoilt = bytearray(b"\n".join(lines))
    return bytes(spoilt)


def damaged_json(random: Random, data: bytes) -> bytes:
    """Exchange, remove or add a value somewhere in a document, or damage its bytes where it is none."""
    if random.randrange(4) == 0:
        return damaged_bytes(random, data)
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return damaged_bytes(random, data)
    for _ in range(random.choice((1, 1, 2, 4))):
        document = _exchange(random, document)
    return json.dumps(document).encode("utf-8", "surrogatepass")


def damaged_lines(random: Random, data: bytes) -> bytes:
    """Damage one line of many as JSON; or drop, double or move it."""
    lines = data.splitlines(keepends=True)
    if not lines:
        return damaged_bytes(random, data)
    at = random.randrange(len(lines))
    match random.randrange(6):
        case 0:
            del lines[at]
        case 1:
            lines.insert(random.randrange(len(lines)), lines[at])
        case 2:
            lines.insert(random.randrange(len(lines)), lines.pop(at))
        case _:
            lines[at] = damaged_json(random, lines[at]).replace(b"\n", b" ") + b"\n"
    return b"".join(lines)


def _exchange(random: Random, document: Any) -> Any:
    places = list(_places(document))
    if not places:
        return random.choice(_VALUES)()
    holder, key = random.choice(places)
    match random.randrange(5):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, dict):
            holder[random.choice(("x", "", "\ud800", "params", "a" * 300))] = random.choice(_VALUES)()
        case 2:
            other, where = random.choice(places)
            holder[key] = copy.deepcopy(other[where])
        case _:
            holder[key] = random.choice(_VALUES)()
    return document


def _places(document: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    left = [document]
    while left:
        value = left.pop()
        keys = (
            value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
        )
        for key in keys:
            found.append((value, key))
            left.append(value[key])
    return found


def by_name(name: str) -> Callable[[Random, bytes], bytes]:
    """How a file of this name is damaged best."""
    if name.endswith(".jsonl"):
        return damaged_lines
    return damaged_json if name.endswith(".json") else damaged_bytes


def damage_file(random: Random, path: Path) -> None:
    """Damage a file, or put something else in its place: nothing, a link, a folder, a FIFO, a huge hole."""
    kind = random.randrange(12)
    if kind > 7:
        path.write_bytes(by_name(path.name)(random, path.read_bytes()))
        return
    data = path.read_bytes()
    path.unlink()
    match kind:
        case 0:
            path.symlink_to(random.choice(("/etc/passwd", "/dev/zero", ".", path.name, "nowhere")))
        case 1:
            path.mkdir()
            (path / "inside").write_bytes(data)
        case 2:
            os.mkfifo(path)
        case 3:
            path.touch()
            os.truncate(path, HUGE_BYTES)
        case 4:
            path.write_bytes(b"")
        case 5:
            path.with_name(path.name + random.choice(("~", "\n", "\udcff", "\x1b[2J"))).write_bytes(data)
        case 6:
            path.write_bytes(b"\0" * random.randrange(1, 10_000))
