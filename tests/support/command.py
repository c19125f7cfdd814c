"""The installed ``matterstack`` command, run as people run it: a child process with its output in pipes.

Commands that are no engines need not be one: `tests.support.inside`.
"""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import attrs
import pytest

from matterstack.actors.runtime import Runtime
from matterstack.core.ids import RunId
from matterstack.storage.layout import Root
from matterstack.storage.read.events import event_lines
from matterstack.storage.read.runs import require_run
from matterstack.storage.read.tasks import task_list
from matterstack.storage.schema import open_database
from matterstack.usecases.given_changes import typed_settings
from matterstack.usecases.runs import create_run
from tests.support.history import assert_history_if_readable
from tests.support.inside import can_run_inside, run_inside
from tests.support.polling import wait_until
from tests.support.process import Process, killed

COMMAND: Final = Path(sys.executable).parent / "matterstack"
MARK: Final = "MATTERSTACK_TEST"
"""Has a value of its own in each test: by it what a test left behind is told from all else."""
PATIENCE_S: Final = 60.0
"""How long anything may take; nothing depends on it but the end of a test that has failed."""

_T = TypeVar("_T")


@attrs.frozen
class Done:
    """A command that has ended."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """What ``--json`` printed."""
        return json.loads(self.stdout)

    @property
    def error(self) -> Mapping[str, str]:
        """What ``--json`` printed of an error; stderr holds nothing else."""
        document: Mapping[str, Mapping[str, str]] = json.loads(self.stderr)
        return document["error"]


@attrs.frozen
class Running:
    """A command that runs in the background."""

    process: "subprocess.Popen[str]"
    stdout_file: Path
    stderr_file: Path

    @property
    def stdout(self) -> str:
        """What it has printed so far."""
        return self.stdout_file.read_text()

    @property
    def stderr(self) -> str:
        """What it has complained about so far."""
        return self.stderr_file.read_text()

    def signal(self, number: signal.Signals) -> None:
        """Signal it, and none of its children."""
        self.process.send_signal(number)

    def wait(self, timeout_s: float = PATIENCE_S) -> Done:
        """Wait for its end."""
        code = self.process.wait(timeout_s)
        return Done(code, self.stdout, self.stderr)

    def kill(self) -> None:
        """End it with SIGKILL, as a crash would, and wait until it is gone."""
        self.process.kill()
        self.process.wait(PATIENCE_S)


@attrs.define
class CommandLine:
    """Runs commands on one root; `shut_down` ends all that they have left behind."""

    root: Path
    home: Path
    mark: str = attrs.field(factory=lambda: uuid.uuid4().hex)
    wrapper: Sequence[str] = ()
    """What the command is started by, if not directly."""
    apart: bool = False
    """Whether each command has a process of its own, also where it need not: see `tests.support.inside`."""
    check_at_end: bool = True
    """Whether the store must be what was promised when the test is over: False where a test breaks it."""
    _running: list[Running] = attrs.field(factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """That of this process, without anything of its user's own configuration."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("MATTERSTACK")}
        return {**inherited, "HOME": str(self.home), "LC_ALL": "C.UTF-8", "COLUMNS": "100", MARK: self.mark}

    def run(
        self,
        *arguments: str,
        root: Path | None = None,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Done:
        """Run a command to its end, in the root (or in another folder ``cwd``).

        Whatever it is, it must not show a traceback.  One that is no engine has no process of its own.
        """
        option = ["--root", str(root)] if root is not None else []
        if not (self.apart or self.wrapper or env) and can_run_inside(arguments):
            said = run_inside([*option, *arguments], cwd or self.root, self.environment, PATIENCE_S)
            assert "Traceback" not in said.stderr + said.stdout, said.stderr
            return Done(said.exit_code, said.stdout, said.stderr)
        done = subprocess.run(
            [*self.wrapper, COMMAND, *option, *arguments],
            cwd=cwd or self.root,
            env={**self.environment, **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )
        assert "Traceback" not in done.stderr + done.stdout, done.stderr
        return Done(done.returncode, done.stdout, done.stderr)

    def ok(self, *arguments: str) -> str:
        """Run a command that must succeed; returns what it printed."""
        done = self.run(*arguments)
        assert done.exit_code == 0, done.stderr + done.stdout
        return done.stdout

    def json(self, *arguments: str) -> Any:
        """Run a command that must succeed with ``--json``."""
        return json.loads(self.ok(*arguments, "--json"))

    def start(self, *arguments: str) -> Running:
        """Start a command in the background; it is ended with the test."""
        folder = self.home / f"command-{len(self._running)}"
        folder.mkdir()
        # Files, not pipes: they never fill up.
        with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
            process = subprocess.Popen(
                [*self.wrapper, COMMAND, *arguments],
                cwd=self.root,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                text=True,
            )
        running = Running(process, folder / "stdout", folder / "stderr")
        self._running.append(running)
        return running

    # ---- runs ----

    # Made, and read from the store, as the commands do it, without the cost of a process each time.

    def new_run(self, slug: str, *settings: str) -> str:
        """Make a run as ``run init`` does, after its look at the first plan; returns its id."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HOME", str(self.home))
            return create_run(Root(self.root), slug, typed_settings(settings), Runtime())

    def status(self, run_id: str) -> dict[str, Any]:
        """What ``run status --json`` says."""
        return self.read(lambda store: require_run(store, RunId(run_id)).as_json())

    def tasks(self, run_id: str) -> dict[str, Any]:
        """What ``run tasks --json`` says, by task id."""
        listed = self.read(lambda store: task_list(store, RunId(run_id)))
        return {task["task_id"]: task for task in listed}

    def events(self, run_id: str) -> list[Any]:
        """What ``run events`` says."""
        lines = self.read(lambda store: event_lines(store, 0, RunId(run_id), most=1_000_000))
        return [event for _, event in lines]

    def read(self, query: Callable[[sqlite3.Connection], _T]) -> _T:
        """Ask the store something."""
        store = open_database(self.root / ".matterstack" / "state.db")
        try:
            return query(store)
        finally:
            store.close()

    def event_types(self, run_id: str) -> list[str]:
        """Types of all events of a run."""
        return [event["type"] for event in self.events(run_id)]

    def run_folder(self, slug: str, run_id: str) -> Path:
        """Folder of a run."""
        return self.root / "workspaces" / slug / "runs" / run_id

    # ---- what runs ----

    def processes(self) -> set[Process]:
        """Every process that this test's commands have started, and that is still alive."""
        mark = f"{MARK}={self.mark}"
        return {process for process in Process.all() if mark in process.environment}

    def job_processes(self, run_id: str) -> set[Process]:
        """Every living process of the jobs of a run."""
        mark = f"MATTERSTACK_RUN_ID={run_id}"
        return {process for process in self.processes() if mark in process.environment}

    def shut_down(self) -> None:
        """End everything that is still running."""
        for running in self._running:
            running.process.kill()
            running.process.wait(PATIENCE_S)
        # Jobs start processes: look again until there are none.
        wait_until(lambda: killed(self.processes()) and not self.processes(), PATIENCE_S, "the end of it all")


@contextlib.contextmanager
def command_line_in(folder: Path) -> Iterator[CommandLine]:
    """A command line on a fresh root below ``folder``, whose store is checked in the end."""
    root, home = folder / "root", folder / "home"
    (root / "workspaces").mkdir(parents=True)
    home.mkdir()
    command_line = CommandLine(root, home)
    try:
        yield command_line
    finally:
        command_line.shut_down()
    if command_line.check_at_end:
        assert_history_if_readable(Root(root))
