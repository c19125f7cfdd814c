"""The ``matterstack`` command."""

from __future__ import annotations

import sys

from matterstack.cli.errors import report


def run_command_line() -> None:
    """Entry point of the ``matterstack`` script: the one place where errors become words and exit codes."""
    from matterstack.cli.app import main

    try:
        # asyncclick runs on asyncio unless it is told otherwise.
        code = main(_anyio_backend="trio", standalone_mode=False)
    except BaseException as error:  # noqa: BLE001  every one ends here
        code = report(error, as_json="--json" in sys.argv)
    # Not in standalone mode, the code of a `click.exceptions.Exit` comes back as a value.
    sys.exit(code if isinstance(code, int) else 0)
