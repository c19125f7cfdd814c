"""The ``matterstack`` command and its entry point."""

from __future__ import annotations

import sys
from collections.abc import Coroutine, Sequence
from typing import Any, Final

from matterstack.cli.errors import report
from matterstack.cli.glance import is_glance
from matterstack.cli.harmless_output import harmless_output

_ASKS_FOR_HELP: Final = ("-h", "--help", "--version")


def run_command_line() -> None:
    """Entry point of the ``matterstack`` script: the one place where errors become words and exit codes."""
    from matterstack.cli.app import main

    with harmless_output():
        try:
            if _only_prints(sys.argv[1:]) or is_glance(sys.argv[1:]):
                code = _without_event_loop(main.main(standalone_mode=False))
            else:
                # asyncclick runs on asyncio unless it is told otherwise.
                code = main(_anyio_backend="trio", standalone_mode=False)
        except BaseException as error:  # noqa: BLE001  every one ends here
            code = report(error, as_json="--json" in sys.argv)
    # Not in standalone mode, the code of a `click.exceptions.Exit` comes back as a value.
    sys.exit(code if isinstance(code, int) else 0)


def _only_prints(words: Sequence[str]) -> bool:
    """Whether help is asked for, with nothing before it but the names of commands."""
    return next((word for word in words if word.startswith("-")), None) in _ASKS_FOR_HELP


def _without_event_loop(command: Coroutine[Any, Any, object]) -> object:
    """The result of a coroutine that waits for nothing: trio's import would be half the time of `--help`."""
    try:
        command.send(None)
    except StopIteration as end:
        return end.value
    command.close()
    raise RuntimeError("a command waited for something, though it was said to wait for nothing")
