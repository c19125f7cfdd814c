"""How fast tasks go through the whole durable path on this machine, beside bare processes.

In one run, side by side and in turns: the rate of ``trio.run_process(["true"])``, 8 at once; of a bare job
script, 8 at once, which shows what claiming and recording cost by themselves; and of 1,000 and 5,000 tasks
``true`` of a run on the local backend, ``max_jobs`` 8, with every fact synced to the disk.  Prints one table;
exits with 1 when a ratio is not what is promised.

    python benchmarks/local_rate.py [--tasks 1000] [--more 5000] [--rounds 2]
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import statistics
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Final

import trio
from rich.console import Console
from rich.table import Table

from matterstack.actors.runtime import Runtime
from matterstack.backends.base import PreparedAttempt
from matterstack.backends.local import LocalBackend
from matterstack.backends.local_config import LocalBackendConfig
from matterstack.core.ids import BackendName, RunId, TaskId, attempt_token, utc_moment
from matterstack.core.model.resources import Resources
from matterstack.core.nonces import LENGTH as NONCE_LENGTH
from matterstack.core.states import RunStatus
from matterstack.engine import open_engine
from matterstack.storage.layout import Root
from matterstack.storage.read.reader import open_reader
from matterstack.storage.read.runs import require_run
from matterstack.usecases.runs import create_run

AT_ONCE: Final = 8
LEAST_RATIO: Final = 0.2
MOST_GROWTH: Final = 1.2

CAMPAIGN: Final = """
from matterstack import Task, Workflow


class ManyTasks:
    def __init__(self, count):
        self.count = count

    def plan(self, state, results):
        if results:
            return None
        return Workflow([Task(f"t{i}", command=["true"]) for i in range(self.count)])

    def analyze(self, state, results):
        return {}


def get_campaign(params):
    return ManyTasks(params["count"])
"""


async def bare_rate(count: int) -> float:
    """Processes per second, without anything around them."""
    return await _rate([["true"]] * count)


async def script_rate(folder: Path, count: int) -> float:
    """Job scripts per second, started by nobody but a loop."""
    backend = LocalBackend(BackendName("local"), LocalBackendConfig(type="local"), folder / "lock")
    commands = []
    for i in range(count):
        attempt = PreparedAttempt(
            run_id=RunId("r"),
            task_id=TaskId(f"t{i}"),
            n=1,
            token=attempt_token(RunId("r"), TaskId(f"t{i}"), 1),
            folder=folder / str(i),
            command=["true"],
            env={},
            resources=Resources(),
            nonce="0" * NONCE_LENGTH,
        )
        (attempt.folder / "claim").mkdir(parents=True)
        script = attempt.folder / "job.sh"
        script.write_text(backend.script(attempt))
        script.chmod(0o755)
        commands.append([str(script)])
    return await _rate(commands)


async def _rate(commands: list[list[str]]) -> float:
    seats = trio.CapacityLimiter(AT_ONCE)

    async def one(command: list[str]) -> None:
        async with seats:
            await trio.run_process(command)

    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        for command in commands:
            nursery.start_soon(one, command)
    return len(commands) / (trio.current_time() - start)


async def run_rate(folder: Path, count: int) -> float:
    """Tasks per second of one run, from the moment at which they are planned to the end of the last one.

    The campaign's own calls before and after that (each in a process of its own) are the same for any
    number of tasks.
    """
    workspace = folder / "workspaces" / "many"
    workspace.mkdir(parents=True)
    (workspace / "campaign.py").write_text(CAMPAIGN)
    config = {
        "max_hpc_jobs_per_run": AT_ONCE,
        "params": {"count": count},
        "backends": {"local": {"type": "local", "max_jobs": AT_ONCE}},
    }
    (workspace / "config.json").write_text(json.dumps(config))
    root = Root(folder)
    run_id = create_run(root, "many", {}, Runtime())
    async with open_engine(root) as engine:
        await engine.serve([run_id], until_done=True)
    async with open_reader(root) as reader:
        summary = await reader.read(require_run, run_id)
        planned, ended = await reader.read(_span, run_id)
    if summary.status is not RunStatus.COMPLETED:
        raise SystemExit(f"the run is {summary.status}: {summary.status_reason}")
    return count / (utc_moment(ended) - utc_moment(planned)).total_seconds()


def _span(connection: sqlite3.Connection, run_id: RunId) -> tuple[str, str]:
    first, last = connection.execute(
        "SELECT min(at) FILTER (WHERE type = 'IterationPlanned'), "
        "max(at) FILTER (WHERE type = 'TaskSucceeded') FROM events WHERE run_id = ?",
        (run_id,),
    ).fetchone()
    return first, last


def main() -> int:
    """Measure, print, and compare with what is promised."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--more", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()

    bare: list[float] = []
    script: list[float] = []
    few: list[float] = []
    many: list[float] = []
    # Folders are removed at the very end: on ext4, creating files is slow for a while after a large removal.
    with tempfile.TemporaryDirectory(prefix="matterstack-rate-") as top:
        for turn in range(options.rounds):
            folder = Path(top) / str(turn)
            (folder / "scripts").mkdir(parents=True)
            bare.append(trio.run(bare_rate, options.tasks))
            script.append(trio.run(partial(script_rate, folder / "scripts", options.tasks)))
            few.append(trio.run(partial(run_rate, folder / "few", options.tasks)))
            many.append(trio.run(partial(run_rate, folder / "many", options.more)))
    return _report(options, *(statistics.median(rates) for rates in (bare, script, few, many)))


def _report(options: argparse.Namespace, bare: float, script: float, few: float, many: float) -> int:
    table = Table(title=f"median of {options.rounds} rounds, {AT_ONCE} at once")
    for column in ("what", "per second", "of bare"):
        table.add_column(column, justify="left" if column == "what" else "right")
    rows = (
        (f"bare trio.run_process, {options.tasks} times", bare),
        (f"bare job script, {options.tasks} times", script),
        (f"a run of {options.tasks} tasks", few),
        (f"a run of {options.more} tasks", many),
    )
    for what, rate in rows:
        table.add_row(what, f"{rate:.0f}", f"{rate / bare:.2f}")
    Console().print(table)
    ratio, growth = few / bare, few / many
    print(f"rate of tasks / bare rate: {ratio:.2f} (promised: at least {LEAST_RATIO})")
    print(f"cost per task, {options.more} to {options.tasks}: {growth:.2f} (promised: at most {MOST_GROWTH})")
    return 0 if ratio >= LEAST_RATIO and growth <= MOST_GROWTH else 1


if __name__ == "__main__":
    sys.exit(main())
