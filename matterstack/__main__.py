"""``python -m matterstack`` is the ``matterstack`` command."""

from matterstack.cli import run_command_line

if __name__ == "__main__":
    run_command_line()
