"""Where a serving command writes its log, and how."""

from __future__ import annotations

import fcntl
import io
import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import IO, Final

from matterstack.cli.log_options import LogOptions
from matterstack.core.log_context import log_fields
from matterstack.core.shown_text import shown_lines
from matterstack.storage.modes import open_shared
from matterstack.storage.schema import translated_errors
from matterstack.storage.secret_values import free_of_secrets

MOST_BYTES: Final = 5_000_000


def _moment(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


class _Text(logging.Formatter):
    """For people who look into the file: with tracebacks, and with what a record is about."""

    def __init__(self) -> None:
        super().__init__("%(at)s %(process)d %(levelname)s %(name)s%(about)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Format a log record; whoever looks into the file does so in a terminal."""
        return shown_lines(free_of_secrets(super().format(record)))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  the name is logging's
        record.at = _moment(record)
        told = (f"{key} {value}" for key, value in log_fields().items() if value not in record.message)
        about = ", ".join(told)
        record.about = f" [{about}]" if about else ""
        return super().formatMessage(record)


class _OneLine(logging.Formatter):
    """Format a log record for people: one line, no traceback."""

    def format(self, record: logging.LogRecord) -> str:
        return shown_lines(free_of_secrets(f"{record.levelname.lower()}: {record.getMessage()}"))


class _JsonLine(logging.Formatter):
    """For programs: one object in each line."""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, object] = {
            "at": _moment(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": free_of_secrets(record.getMessage()),
            **log_fields(),
            "pid": record.process,
        }
        if record.exc_info:
            fields["traceback"] = free_of_secrets(self.formatException(record.exc_info))
        # In ASCII: a file name that is no valid Unicode must not cost a line.
        return json.dumps(fields)


class _SharedFile(RotatingFileHandler):
    """A file into which several engines of a root write, any of which may rotate it.

    One that was rotated by another process is let go before the next line.  Whoever rotates holds a lock on
    the file (flock), so that two do not rename one after the other, which would push a whole log out.
    If it cannot be written (a full disk), that must neither stop an engine nor print tracebacks.
    """

    def _open(self) -> io.TextIOWrapper:
        descriptor = open_shared(Path(self.baseFilename), os.O_APPEND)
        return io.TextIOWrapper(os.fdopen(descriptor, "ab"), encoding=self.encoding, write_through=True)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line to the file that has the name now."""
        if not self._is_current():
            self._reopen()
        super().emit(record)

    def doRollover(self) -> None:  # noqa: N802  the name is logging's
        """Rotate, unless somebody else does, or has done it."""
        with _lock_on(self.stream) as is_mine:
            if not is_mine:
                return  # this line still goes into the full one
            if self._is_current():
                super().doRollover()
            else:
                self._reopen()

    def _is_current(self) -> bool:
        if self.stream is None:  # after a rotation that failed
            return False
        try:
            return os.path.samestat(os.fstat(self.stream.fileno()), os.stat(self.baseFilename))  # noqa: PTH116
        except OSError:
            return False

    def _reopen(self) -> None:
        with suppress(OSError):
            fresh = self._open()
            if self.stream is not None:
                self.stream.close()
            self.stream = fresh

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  the name is logging's
        """Drop the line: what people must see goes to stderr as well."""


@contextmanager
def _lock_on(file: IO[str] | None) -> Iterator[bool]:
    """Lock a file, or see that somebody else has; a file system without locks has one host, which goes on."""
    if file is None:
        yield True
        return
    descriptor = os.dup(file.fileno())  # the file itself may be closed in the block
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    except OSError:
        yield True
    else:
        yield True
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


@contextmanager
def log_to_file(
    path: Path, options: LogOptions | None = None, *, has_terminal: bool = False
) -> Iterator[None]:
    """Send warnings to stderr in one line each, and everything with tracebacks to a file.

    Args:
        has_terminal: the command draws on the whole terminal: nothing goes to stderr.

    Raises:
        StoreError: the file cannot be opened.
    """
    options = options or LogOptions()
    logger = logging.getLogger("matterstack")
    with translated_errors(path):
        to_file = _SharedFile(path, maxBytes=MOST_BYTES, backupCount=2, encoding="utf-8")
    to_file.setFormatter(_JsonLine() if options.as_json else _Text())
    to_people = logging.StreamHandler(sys.stderr)
    to_people.setLevel(logging.WARNING)
    to_people.setFormatter(_JsonLine() if options.as_json else _OneLine())
    handlers: tuple[logging.Handler, ...] = (to_file,) if has_terminal else (to_file, to_people)
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
