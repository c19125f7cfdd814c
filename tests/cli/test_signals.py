"""A signal stops an engine in order, and within its time even if something in it does not end."""

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

STUCK: Final = """
import os, signal, sys
from contextlib import asynccontextmanager
from pathlib import Path

import trio
import trio.testing

from matterstack import engine
from matterstack.cli import run_serve, signals
from matterstack.cli.log_options import LogOptions
from matterstack.storage.layout import Root

signals.STOP_WITHIN_S = 0.1
in_order = engine.open_engine

@asynccontextmanager
async def stuck(root):
    async with in_order(root) as opened:
        yield opened
    with trio.CancelScope(shield=True):
        await trio.Event().wait()

async def serve(self, *_, **__):
    await trio.testing.wait_all_tasks_blocked()
    os.kill(os.getpid(), signal.SIGTERM)
    await trio.sleep_forever()

async def main():
    root = Root(Path(sys.argv[1]))
    await run_serve._serve(root, None, LogOptions.given("human", "info"), until_done=False, show=False)

engine.Engine.serve = serve
engine.open_engine = stuck
trio.run(main)
"""


@pytest.mark.usefixtures("processes")
def test_an_engine_that_does_not_stop_in_order_is_ended_and_its_log_says_where_it_was(tmp_path: Path) -> None:
    (tmp_path / "workspaces").mkdir()
    (tmp_path / ".matterstack").mkdir(mode=0o700)  # else it is closed first, and told

    done = subprocess.run(
        [sys.executable, "-c", STUCK, str(tmp_path)], capture_output=True, text=True, check=False, timeout=60
    )

    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("\nstopping; jobs go on running (once more: stop at once)\n")
    log = "".join(file.read_text() for file in (tmp_path / ".matterstack").glob("engine*.log"))
    assert "not stopped in order within 0.1 s, so at once; what still went on:" in log
    assert "in stuck\n" in log
