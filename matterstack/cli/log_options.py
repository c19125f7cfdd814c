"""``--log-format`` and ``--log-level`` of the commands that serve."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import asyncclick as click
import attrs

LEVELS: Final = ("debug", "info", "warning", "error")

_Command = TypeVar("_Command", bound=Callable[..., Any])


@attrs.frozen(kw_only=True)
class LogOptions:
    """How a command that serves is to log.

    Attributes:
        as_json: one JSON object in each line, in the file and on stderr.
        level: of `LEVELS`: what is less is not in the file.
    """

    as_json: bool = False
    level: str = "info"

    @classmethod
    def given(cls, log_format: str, log_level: str) -> LogOptions:
        """What was given on the command line."""
        return cls(as_json=log_format == "json", level=log_level)


def log_options(command: _Command) -> _Command:
    """Give a command the two options."""
    for option in (
        click.option(
            "--log-level",
            type=click.Choice(LEVELS),
            default="info",
            show_default=True,
            help="The least that goes into the log.",
        ),
        click.option(
            "--log-format",
            type=click.Choice(("text", "json")),
            default="text",
            show_default=True,
            help="json: one JSON object in each line of the log, and of stderr.",
        ),
    ):
        command = option(command)
    return command
