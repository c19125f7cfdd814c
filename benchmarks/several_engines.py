"""How long the same work takes with one engine, with two, and with four on one root, side by side.

Each engine is a process (``matterstack run loop``) that waits when the runs are made, one after the other, so
that each serves some of them; they share the seats of the local backend.  Measured is from the first attempt
to the end of the last task, in turns over the numbers of engines, once for each length of tasks and each
``poll_interval_s``.  With ``--kill`` one engine (of those that are several) is killed with SIGKILL when half
of the tasks have ended, and the others go on with its runs.  Prints one table of medians; exits with 1 when
several engines took longer than is promised.

    python -m benchmarks.several_engines [--kill] [--rounds 3] [--seats 4] [--runs 8]
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import attrs
from rich.console import Console
from rich.table import Table

from matterstack.actors.runtime import Runtime
from matterstack.core.ids import utc_moment
from matterstack.storage.layout import Root
from matterstack.usecases.runs import create_run
from tests.support.command import COMMAND

ENGINES: Final = (1, 2, 4)
MOST_RATIO: Final = 1.2
BETWEEN_RUNS_S: Final = 0.15
"""Less than engines take from one look at the store to the next, so that none finds all runs at once."""
PATIENCE_S: Final = 300.0

CAMPAIGN: Final = """
from matterstack import Task, Workflow


class ManyTasks:
    def __init__(self, params):
        self.params = params

    def plan(self, state, results):
        if results:
            return None
        command = ["sleep", str(self.params["seconds"])] if self.params["seconds"] else ["true"]
        return Workflow([Task(f"t{i}", command=command) for i in range(self.params["count"])])

    def analyze(self, state, results):
        return {}


def get_campaign(params):
    return ManyTasks(params)
"""


@attrs.frozen
class Work:
    """What is to be done: ``count`` tasks in each run."""

    seconds: float
    poll_interval_s: float
    count: int

    def __str__(self) -> str:
        task = f"sleep {self.seconds:g}" if self.seconds else "true"
        return f"{self.count} x {task}, poll {self.poll_interval_s:g} s"


WORK: Final = (Work(0, 1, 50), Work(0, 30, 50), Work(0.5, 1, 10), Work(0.5, 30, 10), Work(3, 5, 2))


def wait_until(predicate: Callable[[], bool], what: str) -> None:
    """Look again and again."""
    deadline = time.monotonic() + PATIENCE_S
    while not predicate():
        if time.monotonic() > deadline:
            raise SystemExit(f"waited {PATIENCE_S:g} s in vain for {what}")
        time.sleep(0.02)


@contextmanager
def engine(folder: Path, number: int) -> Iterator[subprocess.Popen[bytes]]:
    """An engine that is ready, until the end of the block."""
    log = folder / f"engine-{number}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [COMMAND, "run", "loop"],
            cwd=folder,
            env={**os.environ, "HOME": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        wait_until(lambda: _has_opened(process.pid, Root(folder).database), "an engine")
        yield process
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def _has_opened(pid: int, file: Path) -> bool:
    try:
        return any(link.resolve() == file.resolve() for link in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False


def measure(folder: Path, work: Work, engines: int, options: argparse.Namespace) -> float:
    """Do the work with so many engines; returns how long it took, in seconds."""
    workspace = folder / "workspaces" / "many"
    workspace.mkdir(parents=True)
    (workspace / "campaign.py").write_text(CAMPAIGN)
    backend = {"type": "local", "max_jobs": options.seats, "poll_interval_s": work.poll_interval_s}
    params = {"seconds": work.seconds, "count": work.count}
    (workspace / "config.json").write_text(json.dumps({"params": params, "backends": {"local": backend}}))
    root = Root(folder)
    with ExitStack() as stack:
        processes = [stack.enter_context(engine(folder, number)) for number in range(engines)]
        for _ in range(options.runs):
            create_run(root, "many", {}, Runtime())
            time.sleep(BETWEEN_RUNS_S)
        connection = sqlite3.connect(root.database)
        stack.callback(connection.close)
        total = work.count * options.runs

        def done() -> int:
            return int(
                connection.execute("SELECT count(*) FROM tasks WHERE status = 'SUCCEEDED'").fetchone()[0]
            )

        if options.kill and engines > 1:
            wait_until(lambda: done() >= total // 2, "half of the tasks")
            processes[0].kill()
        wait_until(lambda: done() == total, "all tasks")
        first, last = connection.execute(
            "SELECT min(at) FILTER (WHERE type = 'AttemptPrepared'), "
            "max(at) FILTER (WHERE type = 'TaskSucceeded') FROM events"
        ).fetchone()
    return (utc_moment(last) - utc_moment(first)).total_seconds()


def main() -> int:
    """Measure, print, and compare with what is promised."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kill", action="store_true", help="kill one of several engines in the middle")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seats", type=int, default=4)
    parser.add_argument("--runs", type=int, default=8)
    options = parser.parse_args()

    took: dict[tuple[Work, int], list[float]] = {(w, n): [] for w in WORK for n in ENGINES}
    with tempfile.TemporaryDirectory(prefix="matterstack-engines-") as top:
        for turn in range(options.rounds):
            for number, ((work, engines), times) in enumerate(took.items()):
                times.append(measure(Path(top) / f"{turn}-{number}", work, engines, options))
                print(f"{work}: {engines} engines, {times[-1]:.1f} s", file=sys.stderr, flush=True)
    return _report(options, {key: statistics.median(times) for key, times in took.items()})


def _report(options: argparse.Namespace, took: dict[tuple[Work, int], float]) -> int:
    killed = ", one killed in the middle" if options.kill else ""
    what = f"{options.runs} runs, {options.seats} seats{killed}"
    table = Table(title=f"{what}: median of {options.rounds} rounds, s (ratio)")
    table.add_column("tasks of each run")
    for engines in ENGINES:
        table.add_column(f"{engines} engine{'s' if engines > 1 else ''}", justify="right")
    worst = 0.0
    for work in WORK:
        alone_s = took[work, 1]
        ratios = {engines: took[work, engines] / alone_s for engines in ENGINES}
        worst = max(worst, *ratios.values())
        table.add_row(str(work), *(f"{took[work, n]:.1f} ({ratios[n]:.2f})" for n in ENGINES))
    Console().print(table)
    print(f"several engines beside one, at most: {worst:.2f} (promised: at most {MOST_RATIO})")
    return 0 if worst <= MOST_RATIO else 1


if __name__ == "__main__":
    sys.exit(main())
