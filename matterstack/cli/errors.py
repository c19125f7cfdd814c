"""Errors become one clear message and an exit code.  No traceback reaches a user."""

from __future__ import annotations

import json
import os
import sys
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from matterstack.core.errors import MatterStackError
from matterstack.core.shown_text import shown_json, shown_lines

INTERRUPTED: Final = 130
CRASH_LOG: Final = "matterstack-crash.log"


def report(error: BaseException, *, as_json: bool) -> int:
    """Say on stderr what went wrong; returns the exit code."""
    import asyncclick as click

    cause = _cause(error)
    if isinstance(cause, SystemExit):
        return cause.code if isinstance(cause.code, int) else 1
    if isinstance(cause, click.exceptions.Exit):
        return int(cause.exit_code)
    if isinstance(cause, KeyboardInterrupt | click.Abort):
        print("interrupted", file=sys.stderr)  # noqa: T201
        return INTERRUPTED
    if isinstance(cause, BrokenPipeError):
        # The reader of a pipe has seen enough (`| head`); Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    if isinstance(cause, MatterStackError):
        _say(cause.code, str(cause), cause.hint, as_json=as_json)
        return cause.exit_code
    if isinstance(cause, click.exceptions.NoArgsIsHelpError):
        print(cause.format_message(), file=sys.stderr)  # noqa: T201
        return 2
    if isinstance(cause, click.ClickException):
        context = getattr(cause, "ctx", None)
        hint = f"see: {context.command_path} --help" if context else ""
        _say("usage", cause.format_message(), hint, as_json=as_json)
        return 2
    _say("internal", _crash(error, cause), "please report this, with that file", as_json=as_json)
    return 1


def _cause(error: BaseException) -> BaseException:
    """The error to tell about, out of a group: ours first."""
    if isinstance(error, SystemExit) and isinstance(error.__context__, BrokenPipeError):
        return error.__context__  # click makes an exit of it
    flat = list(_flatten(error))
    ours = [e for e in flat if isinstance(e, MatterStackError)]
    return (ours or flat)[0]


def _flatten(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _flatten(inner)]
    return [error]


def _say(code: str, message: str, hint: str, *, as_json: bool) -> None:
    if as_json:
        told = {"error": {"code": code, "message": message, "hint": hint}}
        text = shown_json(json.dumps(told, ensure_ascii=False))
    else:
        text = f"Error: {message}" + (f"\nHint: {hint}" if hint else "")
    print(text, file=sys.stderr)  # noqa: T201


def _crash(error: BaseException, cause: BaseException) -> str:
    """Keep the traceback in a file; returns one line about it."""
    log = Path(os.environ.get("XDG_STATE_HOME", "~/.local/state")).expanduser() / CRASH_LOG
    line = f"{type(cause).__name__}: {cause}"
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "a", encoding="utf-8") as file:
            file.write(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {' '.join(sys.argv)}\n")
            file.write(shown_lines("".join(traceback.format_exception(error))) + "\n")
    except OSError:
        return f"this should not have happened: {line}"
    return f"this should not have happened: {line} (details in {log})"
