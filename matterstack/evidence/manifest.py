"""``manifest-sha256.txt``: what is in a bundle, in the format of sha256sum(1)."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Final

MANIFEST: Final = "manifest-sha256.txt"
SEAL: Final = "manifest-sha256.txt.sha256"
"""Holds the hash of the manifest, so that a change of the manifest is told from a change of what it lists."""
SIGNATURE: Final = "manifest-sha256.txt.sig"
"""Made by ssh-keygen(1) over the manifest, where somebody has signed it."""
UNLISTED: Final = frozenset({MANIFEST, SEAL, SIGNATURE})

_LINE: Final = re.compile(rb"(\\?)([0-9a-f]{64})  ([^\n]+)")


def manifest_bytes(hashes: Mapping[str, str]) -> bytes:
    """Write hashes by path, sorted.  Names may hold anything that a file system takes.

    >>> manifest_bytes({"b": "00", "a": "11"})
    b'11  a\\n00  b\\n'
    """
    lines = [_line(os.fsencode(path), digest) for path, digest in hashes.items()]
    return b"".join(line for _, line in sorted(lines))


def _line(name: bytes, digest: str) -> tuple[bytes, bytes]:
    # As sha256sum(1) does: a backslash in front says that the name is escaped.
    escaped = name.replace(b"\\", b"\\\\").replace(b"\n", b"\\n").replace(b"\r", b"\\r")
    mark = b"\\" if escaped != name else b""
    return name, mark + digest.encode() + b"  " + escaped + b"\n"


def parse_manifest(text: bytes) -> dict[str, str]:
    """Read the hashes of a bundle's files, by path.

    Raises:
        ValueError: naming the first line that is none.
    """
    hashes: dict[str, str] = {}
    for number, line in enumerate(text.split(b"\n")[:-1], start=1):
        match = _LINE.fullmatch(line)
        if match is None:
            raise ValueError(f"line {number} is no hash and file name")
        name = _unescaped(match[3]) if match[1] else match[3]
        path = os.fsdecode(name)
        if path in hashes:
            raise ValueError(f"line {number} names {path!r} once more")
        hashes[path] = match[2].decode()
    if manifest_bytes(hashes) != text:
        raise ValueError("its lines are not sorted, or are not written as MatterStack writes them")
    return hashes


_ESCAPES: Final = {b"\\\\": b"\\", b"\\n": b"\n", b"\\r": b"\r"}


def _unescaped(name: bytes) -> bytes:
    return re.sub(rb"\\[\\nr]", lambda match: _ESCAPES[match[0]], name)
