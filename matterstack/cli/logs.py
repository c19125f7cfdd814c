"""Where a serving command writes its log."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Final

from matterstack.storage.schema import translated_errors

MOST_BYTES: Final = 5_000_000


class _OneLine(logging.Formatter):
    """For people: no traceback."""

    def format(self, record: logging.LogRecord) -> str:
        return f"{record.levelname.lower()}: {record.getMessage()}"


class _Unbroken(RotatingFileHandler):
    """A log that cannot be written (a full disk) must neither stop an engine nor print tracebacks."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  the name is logging's
        """Drop the line: what people must see goes to stderr as well."""


@contextmanager
def log_to_file(path: Path) -> Iterator[None]:
    """Send warnings to stderr in one line each, and everything with tracebacks to a file.

    Raises:
        StoreError: the file cannot be opened.
    """
    logger = logging.getLogger("matterstack")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    with translated_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        to_file = _Unbroken(path, maxBytes=MOST_BYTES, backupCount=2, encoding="utf-8")
    to_file.setFormatter(logging.Formatter("%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"))
    to_people = logging.StreamHandler(sys.stderr)
    to_people.setLevel(logging.WARNING)
    to_people.setFormatter(_OneLine())
    handlers: tuple[logging.Handler, ...] = (to_file, to_people)
    for handler in handlers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for handler in handlers:
            logger.removeHandler(handler)
            handler.close()
