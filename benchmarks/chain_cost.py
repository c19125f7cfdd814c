"""What it costs to chain the events of a run: every commit of the lives of many tasks, before and after.

The same script runs in turn on an earlier commit, unpacked beside, and on what is here.  Measured are the
commits alone: processor time, which other programs on the machine hardly change, the statements that SQLite
was given, and the bytes that went into the write-ahead log.

    python -m benchmarks.chain_cost --before 7156bb1 [--tasks 1000] [--rounds 5]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Final

from rich.console import Console
from rich.table import Table

HERE: Final = Path(__file__).parents[1]
SCRIPT: Final = """
import json, sys, tempfile
from contextlib import closing
from pathlib import Path
from time import process_time

import matterstack
from matterstack.core.model.workflow import Workflow
from matterstack.core.run import messages as m
from matterstack.storage.journal import commit
from matterstack.storage.schema import open_database
from tests.support.states import task
from tests.support.stored import StoredRun, new_root

assert Path(matterstack.__file__).is_relative_to(Path.cwd()), matterstack.__file__
COUNTED, tasks = 50, int(sys.argv[1])
statements, spent = [], 0.0
with tempfile.TemporaryDirectory() as folder:
    root = new_root(Path(folder) / "root")
    with closing(open_database(root.database)) as connection:
        backends = {"local": {"type": "local", "max_jobs": 100_000}}
        run = StoredRun.create(connection, root, max_hpc_jobs_per_run=100_000, backends=backends)
        names = [f"t{n}" for n in range(COUNTED + tasks)]
        run.tell(m.Start(), m.Planned(iteration=1, workflow=Workflow([task(name) for name in names])))
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        wal = root.database.with_name("state.db-wal")

        def life(name):
            global spent
            for step in (lambda: run.run.prepare(seats=1), lambda: run.run.submit(name),
                         lambda: run.run.end(name), lambda: run.run.collect(name)):
                step()
                append = run.append()
                began = process_time()
                commit(connection, root.database, [append])
                spent += process_time() - began

        connection.set_trace_callback(statements.append)
        for name in names[:COUNTED]:
            life(name)
        connection.set_trace_callback(None)
        spent, before = 0.0, wal.stat().st_size
        for name in names[COUNTED:]:
            life(name)
        written = wal.stat().st_size - before
        run.lease.release(connection)
print(json.dumps([spent / tasks * 1e6, len(statements) / COUNTED, written / tasks / 1024]))
"""
WHAT: Final = ("processor time, µs", "statements", "KiB of the write-ahead log")


def measured(checkout: Path, tasks: int) -> list[float]:
    """For each task: each of `WHAT`."""
    command = [sys.executable, "-c", SCRIPT, str(tasks)]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=True)
    found: list[float] = json.loads(done.stdout)
    return found


def unpack(commit: str, folder: Path) -> None:
    """Unpack a commit of this repository."""
    packed = subprocess.run(["git", "archive", commit], cwd=HERE, capture_output=True, check=True).stdout
    subprocess.run(["tar", "-x", "-C", str(folder)], input=packed, check=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--before", metavar="COMMIT", required=True, help="what to compare with")
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    before: list[list[float]] = []
    after: list[list[float]] = []
    with tempfile.TemporaryDirectory() as folder:
        unpack(arguments.before, Path(folder))
        for _ in range(arguments.rounds):
            before.append(measured(Path(folder), arguments.tasks))
            after.append(measured(HERE, arguments.tasks))
    table = Table("of a task (four commits)", "before", "after", "ratio", "ratios of the rounds")
    for place, what in enumerate(WHAT):
        olds, news = [row[place] for row in before], [row[place] for row in after]
        ratios = sorted(new / old for old, new in zip(olds, news, strict=True))
        old, new = median(olds), median(news)
        spread = f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
        table.add_row(what, f"{old:.1f}", f"{new:.1f}", f"{new / old:.2f}", spread)
    Console().print(table)


if __name__ == "__main__":
    main()
