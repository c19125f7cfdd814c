"""What an archive from elsewhere holds, looked at before anything of it is unpacked.

Nothing that the file says of itself is believed: its evidence is read first, and says which files there
should be, how large each one is, and what their hashes are.  See the ZIP file format specification (PKWARE,
APPNOTE.TXT) for what a zip file may be, of which an archive of a run is a small part.
"""

from __future__ import annotations

import hashlib
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

import attrs

from matterstack.core import file_names
from matterstack.core.errors import RefusedError, UsageError
from matterstack.core.ids import RUN_ID_PATTERN, RunId
from matterstack.core.shown_text import brief, shown
from matterstack.storage.confine import Confined
from matterstack.storage.files import CHUNK_BYTES, write_all

TOPS: Final = frozenset({"evidence", "outputs"})
READ_ONLY: Final = 0o444
MOST_DIRECTORY_BYTES: Final = 256 << 20
"""Of the list of files at the end of an archive, which is read whole: about two million files."""
_ABOVE: Final = 4
"""Components that may stand before the name of an output, such as ``evidence/outputs/TASK.1``."""
MOST_DEPTH: Final = file_names.MOST_DEPTH + _ABOVE
UNSUSPICIOUS_BYTES: Final = 64 << 20
MOST_TIMES_SMALLER: Final = 200
"""What is read whole, and is larger than that, may have been packed to so small a part.

Events of 1,000 alike tasks pack to a 14th, and ``workflow.json`` to a 50th; deflate comes to a 1,030th.
"""
_METHODS: Final = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_ENCRYPTED: Final = 0x1 | 0x40 | 0x2000
"""Bits of the flags: encrypted, strongly encrypted, and with masked headers."""
_END: Final = struct.Struct("<4s4H2LH")
_END_64_PLACE: Final = struct.Struct("<4sLQL")
_END_64: Final = struct.Struct("<4sQ2H2L4Q")
_MOST_COMMENT_BYTES: Final = (1 << 16) - 1
_SEE_64: Final = 0xFFFFFFFF
"""The length stands in the record for large files."""


@attrs.frozen
class Archived:
    """The files of an archive: the entries by their paths below the folder that has the run's name."""

    file: Path
    run_id: RunId
    packed: zipfile.ZipFile
    entries: Mapping[str, zipfile.ZipInfo]

    def document(self, name: str) -> bytes:
        """Content of a file that is read whole; nothing where there is none.

        Raises:
            UsageError: it is packed as nothing that evidence holds.
        """
        entry = self.entries.get(name)
        if entry is None:
            return b""
        if entry.file_size > max(UNSUSPICIOUS_BYTES, MOST_TIMES_SMALLER * entry.compress_size):
            raise UsageError(
                f"{self.file}: {shown(name)} would be {entry.file_size} bytes, unpacked from "
                f"{entry.compress_size}: no evidence is packed like that"
            )
        with self.packed.open(entry) as reading:
            return reading.read(entry.file_size)

    def unpack(self, name: str, target: Confined) -> str:
        """Unpack one file to where it belongs, and return the SHA-256 of what it holds."""
        digest = hashlib.sha256()
        descriptor = target.create_file(name, READ_ONLY)
        try:
            # The library itself stops at the size, and at the checksum, that the archive names.
            with self.packed.open(self.entries[name]) as reading:
                while chunk := reading.read(CHUNK_BYTES):
                    digest.update(chunk)
                    write_all(descriptor, chunk)
        finally:
            os.close(descriptor)
        return digest.hexdigest()


@contextmanager
def opened_archive(file: Path) -> Iterator[Archived]:
    """Open an archive of a run, after a look at its list of files.

    Raises:
        UsageError: it is none, or holds what no archive of a run does.
        OSError: it cannot be read.
    """
    try:
        with file.open("rb") as reading:
            _require_short_list(reading, file)
            with zipfile.ZipFile(reading) as packed:
                run_id, entries = _checked(packed, file)
                yield Archived(file, run_id, packed, entries)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} is no archive that can be read: {brief(error)}") from None


def _checked(packed: zipfile.ZipFile, file: Path) -> tuple[RunId, dict[str, zipfile.ZipInfo]]:
    entries: dict[str, zipfile.ZipInfo] = {}
    run_id = None
    for entry in packed.infolist():
        top, _, name = entry.filename.partition("/")
        if run_id is None and RUN_ID_PATTERN.fullmatch(top):
            run_id = RunId(top)
        if top != run_id:
            break
        if problem := _problem(entry, name):
            raise UsageError(f"{file} holds {shown(entry.filename)!r}, which {problem}")
        if name in entries:
            raise UsageError(f"{file} holds {shown(entry.filename)!r} twice")
        entries[name] = entry
    else:
        if run_id is not None:
            return run_id, entries
    raise UsageError(f"{file} is no archive of a run", hint="make one with: matterstack run archive RUN_ID")


def _problem(entry: zipfile.ZipInfo, name: str) -> str:
    """What is wrong with an entry, in words; empty when nothing is."""
    parts = name.split("/")
    if entry.filename != entry.orig_filename:
        return "has a name that no archive of a run holds"
    if len(parts) < 2 or parts[0] not in TOPS or {"", ".", ".."} & set(parts):
        return "no archive of a run does"
    if file_names.name_problem(name, _ABOVE) is not None:
        return f"is deeper than {MOST_DEPTH} folders, or longer than names may be"
    if entry.flag_bits & _ENCRYPTED:
        return "is encrypted: an archive of a run is not"
    if entry.compress_type not in _METHODS:
        return f"is packed in a way (method {entry.compress_type}) that no archive of a run is"
    return ""


def require_room(folder: Path, needed_bytes: int, file: Path) -> None:
    """Refuse what cannot be unpacked for want of room, before it has filled the disk.

    Raises:
        RefusedError: there is less room than that.
    """
    disk = os.statvfs(folder)
    free = disk.f_bavail * disk.f_frsize
    if needed_bytes > free:
        raise RefusedError(
            f"{file} holds {needed_bytes} bytes, and there is room for {free} in {folder}",
            hint="make room, or import it into a root on another disk",
        )


def _require_short_list(reading: BinaryIO, file: Path) -> None:
    """Refuse a file whose list of entries, which the library reads whole, would fill the memory.

    What is no zip file at all is left to the library.

    Raises:
        UsageError: the list is too long.
    """
    size = reading.seek(0, os.SEEK_END)
    begin = reading.seek(max(0, size - _END.size - _MOST_COMMENT_BYTES - _END_64_PLACE.size - _END_64.size))
    tail = reading.read()
    reading.seek(0)
    place = tail.rfind(b"PK\5\6", 0, len(tail) - _END.size + 4)
    if place < 0:
        return
    length = _END.unpack_from(tail, place)[5]
    before = place - _END_64_PLACE.size
    if before >= 0 and tail[before : before + 4] == b"PK\6\7":
        at = _END_64_PLACE.unpack_from(tail, before)[2] - begin
        for where in (at, before - _END_64.size):
            if 0 <= where <= len(tail) - _END_64.size and tail[where : where + 4] == b"PK\6\6":
                stated = _END_64.unpack_from(tail, where)[8]
                length = stated if length == _SEE_64 else max(length, stated)
    if length > MOST_DIRECTORY_BYTES:
        raise UsageError(f"{file} is no archive of a run: its list of files alone is {length} bytes long")
