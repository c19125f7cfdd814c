"""Commands in a terminal: what they say where a person reads it."""

import os
import pty
import subprocess

from tests.support.command import COMMAND, PATIENCE_S, CommandLine, Done


def on_terminal(command_line: CommandLine, *arguments: str, typed: str | None = "", **variables: str) -> Done:
    """Run a command to its end in a terminal: all that it says is in ``stdout``, as the terminal gets it.

    Args:
        typed: what is typed there before it asks; None: its input comes from nowhere.
        variables: of its environment, beside those of the command line.
    """
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [COMMAND, *arguments],
        cwd=command_line.root,
        env={**command_line.environment, **variables},
        stdin=subprocess.DEVNULL if typed is None else theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    os.write(ours, (typed or "").encode())
    said = b""
    try:
        while chunk := os.read(ours, 1 << 16):
            said += chunk
    except OSError:  # the other side is closed: pty(7)
        pass
    os.close(ours)
    return Done(process.wait(PATIENCE_S), said.decode(), "")
