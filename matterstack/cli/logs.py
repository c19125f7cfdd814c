"""Where a serving command writes its log, and how."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Final

from matterstack.cli.log_options import LogOptions
from matterstack.core.log_context import log_fields
from matterstack.storage.schema import translated_errors

MOST_BYTES: Final = 5_000_000


def _moment(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


class _Text(logging.Formatter):
    """For people who look into the file: with tracebacks, and with what a record is about."""

    def __init__(self) -> None:
        super().__init__("%(at)s %(process)d %(levelname)s %(name)s%(about)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  the name is logging's
        record.at = _moment(record)
        told = (f"{key} {value}" for key, value in log_fields().items() if value not in record.message)
        about = ", ".join(told)
        record.about = f" [{about}]" if about else ""
        return super().formatMessage(record)


class _OneLine(logging.Formatter):
    """For people: no traceback."""

    def format(self, record: logging.LogRecord) -> str:
        return f"{record.levelname.lower()}: {record.getMessage()}"


class _JsonLine(logging.Formatter):
    """For programs: one object in each line."""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, object] = {
            "at": _moment(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **log_fields(),
            "pid": record.process,
        }
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        # In ASCII: a file name that is no valid Unicode must not cost a line.
        return json.dumps(fields)


class _Unbroken(RotatingFileHandler):
    """A log that cannot be written (a full disk) must neither stop an engine nor print tracebacks."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  the name is logging's
        """Drop the line: what people must see goes to stderr as well."""


@contextmanager
def log_to_file(path: Path, options: LogOptions | None = None) -> Iterator[None]:
    """Send warnings to stderr in one line each, and everything with tracebacks to a file.

    Raises:
        StoreError: the file cannot be opened.
    """
    options = options or LogOptions()
    logger = logging.getLogger("matterstack")
    with translated_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        to_file = _Unbroken(path, maxBytes=MOST_BYTES, backupCount=2, encoding="utf-8")
    to_file.setFormatter(_JsonLine() if options.as_json else _Text())
    to_people = logging.StreamHandler(sys.stderr)
    to_people.setLevel(logging.WARNING)
    to_people.setFormatter(_JsonLine() if options.as_json else _OneLine())
    handlers: tuple[logging.Handler, ...] = (to_file, to_people)
    was = logger.level, logger.propagate
    logger.setLevel(options.level.upper())
    logger.propagate = False
    for handler in handlers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for handler in handlers:
            logger.removeHandler(handler)
            handler.close()
        logger.setLevel(was[0])
        logger.propagate = was[1]
