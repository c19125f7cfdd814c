"""Copy files into a bundle, or hash those that are too large for it.

Everything is read below the run's folder without following links, and hashed while it is copied: a file
that changes meanwhile is found out by its hash.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import attrs

from matterstack.evidence.gathering.withholding import HoldsSecretError, Withholding
from matterstack.evidence.hashes import HashCache
from matterstack.evidence.survey import FileState
from matterstack.storage.confine import confined
from matterstack.storage.files import chunks, write_all
from matterstack.storage.layout import RunFolder

OnBytes = Callable[[int], None]


@attrs.frozen
class Gathering:
    """Where files come from and go to; ``on_bytes`` is told how many bytes were read, from any thread."""

    workspace: str
    folder: RunFolder
    target: Path
    copy_below_bytes: int
    cache: HashCache
    on_bytes: OnBytes
    withholding: Withholding = attrs.field(factory=Withholding)


class BundleWriteError(Exception):
    """The bundle cannot be written: not the fault of the file that is looked at."""

    def __init__(self, cause: OSError) -> None:
        super().__init__()
        self.cause = cause


def failure(error: OSError, what: str = "it ") -> tuple[FileState, str]:
    """What an error says of the file that was to be read."""
    if isinstance(error, FileNotFoundError):
        return FileState.MISSING, f"{what}is not there"
    return FileState.UNREADABLE, f"{what}cannot be read: {error.strerror or error}"


def copy(gathering: Gathering, reading: int, place: str) -> str:
    """Copy an open file into the bundle; returns its hash.

    Raises:
        OSError: it cannot be read.
        HoldsSecretError: it holds the value of a secret; there is no copy.
        BundleWriteError: the copy cannot be written.
    """
    if gathering.withholding.search:
        require_no_secret(gathering, reading)
    digest = hashlib.sha256()
    with _writing(gathering, place) as write:
        for chunk in chunks(reading):
            digest.update(chunk)
            gathering.on_bytes(len(chunk))
            write(chunk)
    return digest.hexdigest()


def require_no_secret(gathering: Gathering, reading: int) -> None:
    """Look through an open file before anything of it is written anywhere, and go back to its beginning.

    Raises:
        OSError: it cannot be read.
        HoldsSecretError: it holds the value of a secret.
    """
    digest = hashlib.sha256()

    def read() -> Iterator[bytes]:
        for chunk in chunks(reading):
            digest.update(chunk)
            yield chunk

    names = gathering.withholding.search.names_in_all(read())
    os.lseek(reading, 0, os.SEEK_SET)
    if names:
        gathering.on_bytes(os.fstat(reading).st_size)
        raise HoldsSecretError(names, digest.hexdigest())


def write_copy(gathering: Gathering, data: bytes, place: str) -> None:
    """Write what is in memory into the bundle.

    Raises:
        BundleWriteError: it cannot be written.
    """
    with _writing(gathering, place) as write:
        write(data)


@contextmanager
def _writing(gathering: Gathering, place: str) -> Iterator[Callable[[bytes], None]]:
    try:
        with confined(gathering.target) as target:
            descriptor = target.create_file(place)
    except OSError as error:
        raise BundleWriteError(error) from None

    def write(data: bytes) -> None:
        try:
            write_all(descriptor, data)
        except OSError as error:
            raise BundleWriteError(error) from None

    with closing(os.fdopen(descriptor, "wb", buffering=0)):
        yield write


def take_back(gathering: Gathering, place: str) -> None:
    """Take a copy away that turned out to be of something else, and the folders that are empty then."""
    path = gathering.target / place
    path.unlink(missing_ok=True)
    for parent in path.parents:
        if parent == gathering.target:
            return
        try:
            parent.rmdir()
        except OSError:
            return


def hash_once(gathering: Gathering, reading: int, name: str) -> str:
    """Hash an open file, unless it was hashed since it last changed."""
    status = os.fstat(reading)
    known = gathering.cache.find(name, status)
    if known is not None:
        gathering.on_bytes(status.st_size)
        return known
    digest = hashlib.sha256()
    for chunk in chunks(reading):
        digest.update(chunk)
        gathering.on_bytes(len(chunk))
    gathering.cache.keep(name, status, digest.hexdigest())
    return digest.hexdigest()


@attrs.frozen
class Taken:
    """A file whose hash nobody recorded, as it was found.  ``why``: of one that is withheld."""

    bytes: int
    sha256: str
    state: FileState
    place: str | None = None
    why: str = ""


def take_unrecorded(gathering: Gathering, reading: int, place: str, name: str, withheld: str = "") -> Taken:
    """Copy an open file whose hash nobody recorded, or hash it where it is too large.

    Args:
        withheld: why it must not be copied, where that is known before it is looked through.
    """
    size = os.fstat(reading).st_size
    if withheld:
        return Taken(size, hash_once(gathering, reading, name), FileState.WITHHELD, why=withheld)
    try:
        if size > gathering.copy_below_bytes:
            if gathering.withholding.search:
                require_no_secret(gathering, reading)
            return Taken(size, hash_once(gathering, reading, name), FileState.REFERENCED)
        return Taken(size, copy(gathering, reading, place), FileState.COPIED, place)
    except HoldsSecretError as error:
        return Taken(size, error.digest, FileState.WITHHELD, why=str(error))
