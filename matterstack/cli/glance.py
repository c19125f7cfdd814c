"""Commands that look at the store once, and end: they wait for nothing, and need no event loop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import sqlite3

    from matterstack.storage.layout import Root

_GLANCES: Final = (["run", "list"], ["run", "status"], ["run", "tasks"])
_STAY: Final = ("-f", "--follow")


def is_glance(words: Sequence[str]) -> bool:
    """Whether the words of a command line are those of such a command.

    >>> is_glance(["--root", "lab", "run", "status", "@last"]), is_glance(["run", "status", "-f", "@last"])
    (True, False)
    """
    match words:
        case ["--root", _, *command]:
            pass
        case [root, *command] if root.startswith("--root="):
            pass
        case command:
            pass
    return list(command[:2]) in _GLANCES and not any(word.startswith(_STAY) for word in command)


@contextmanager
def store_of(root: Root) -> Iterator[sqlite3.Connection]:
    """Open the store for queries.  Blocking: whoever asks has nothing else that it could keep.

    Raises:
        StoreError: it cannot be read.
    """
    from matterstack.storage.schema import open_database, reading

    with closing(open_database(root.database)) as connection, reading(root.database, connection):
        yield connection
