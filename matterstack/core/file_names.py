"""Names of files that others give: a login node's list, an instrument's answer, an archive, a job's folder.

A name is used only in its normal form, in which it leads to one place whoever reads it: rsync takes ``/./``
for a mark of its own, and a shell or a zip file takes other liberties.  How deep and how long a name may be
is said here and nowhere else.
"""

from __future__ import annotations

from typing import Final

MOST_DEPTH: Final = 64
"""How many components a name may have."""
MOST_PART_BYTES: Final = 255
"""Length of one component; no usual file system takes more."""
MOST_NAME_BYTES: Final = 1024
"""Length of the whole name: the kernel takes 4096 bytes, with the way to the folder that it lies in."""


class UnusableNameError(ValueError):
    """A name that leads nowhere in a folder, or farther than names may; says why, to stand after the name."""


def normal_name(name: str, above: int = 0) -> str:
    """The one form of a relative name below a folder: without empty components and without ``.``.

    Args:
        above: how many components stand before a name that is no longer than names may be.

    Raises:
        UnusableNameError: it has none.

    >>> normal_name("./out//x.dat")
    'out/x.dat'
    """
    if name.startswith("/"):
        raise UnusableNameError("must not be absolute")
    parts = [part for part in name.split("/") if part not in {"", "."}]
    if ".." in parts:
        raise UnusableNameError("must not hold '..'")
    if not parts or "\0" in name:
        raise UnusableNameError("is no file name")
    if len(parts) > MOST_DEPTH + above:
        raise UnusableNameError(f"lies deeper than {MOST_DEPTH} folders")
    sizes = [_bytes(part) for part in parts]
    if max(sizes) > MOST_PART_BYTES:
        raise UnusableNameError("is no file name")
    if sum(sizes) + len(sizes) - 1 > MOST_NAME_BYTES + above * (MOST_PART_BYTES + 1):
        raise UnusableNameError(f"has more than {MOST_NAME_BYTES} bytes")
    return "/".join(parts)


def name_problem(name: str, above: int = 0) -> str | None:
    """Say why a name that must be in its normal form already cannot be used, or None.

    ``above``: as of `normal_name`.

    >>> name_problem("out/./x.dat")
    "must be written as 'out/x.dat'"
    """
    try:
        normal = normal_name(name, above)
    except UnusableNameError as error:
        return str(error)
    return None if normal == name else f"must be written as {normal!r}"


def _bytes(part: str) -> int:
    try:
        # As the file system has names: bytes that are no UTF-8 stand in a string as lone surrogates.
        written = len(part.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:
        raise UnusableNameError("is no file name") from None
    # A bundle writes each byte that is no UTF-8 with three characters, and ``%`` then, too.
    escaped = sum("\udc80" <= character <= "\udcff" for character in part)
    return written + 2 * (escaped + part.count("%")) if escaped else written
