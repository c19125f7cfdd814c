"""How long commands take in a root with a thousand runs, each beside ``--help``.

The runs are stored as engines store them, with tasks, attempts and outcomes, and a folder each.  Every
command is a process of its own, as people run it; of those that change nothing the median of several is told.
Prints one table, beside the seconds on the clock those of the processor, which other programs on the machine
hardly change; exits with 1 when `run list --last 20` takes more than 0.2 s of it longer than `--help`.

    python -m benchmarks.many_runs [--runs 1000] [--tasks 20] [--delete 500] [--times 5]
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Final

from rich.console import Console
from rich.table import Table

from matterstack.core.ids import RunId
from matterstack.core.model.workflow import Workflow
from matterstack.core.run import messages as m
from matterstack.storage.layout import Root
from matterstack.storage.schema import open_database
from tests.support.command import CommandLine, command_line_in
from tests.support.states import task
from tests.support.stored import StoredRun

MOST_LONGER_S: Final = 0.2


def fill(root: Root, runs: int, tasks: int) -> list[RunId]:
    """Store runs that have ended."""
    made = [RunId(f"20260102T{n // 3600 % 24:02}{n // 60 % 60:02}{n % 60:02}-abcdef") for n in range(runs)]
    names = [f"t{n}" for n in range(tasks)]
    with closing(open_database(root.database)) as connection:
        connection.execute("PRAGMA synchronous = OFF")  # it is what they read that is measured
        for run_id in made:
            folder = root.run_folder("demo", run_id)
            for name in names:
                (folder.path / "tasks" / name / "1").mkdir(parents=True)
                (folder.path / "tasks" / name / "1" / "stdout.log").write_text("x")
            run = StoredRun.create(connection, root, run_id)
            run.tell(m.Start(), m.Planned(iteration=1, workflow=Workflow([task(name) for name in names])))
            for name in names:
                run.run.succeed(name)
            run.commit()
            run.tell(m.Cancel(by="benchmark"), m.Settle())
            if run.lease is not None:
                run.lease.release(connection)
    return made


def processor_s() -> float:
    """Seconds that all commands so far have kept a processor busy."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def timed(command_line: CommandLine, *words: str) -> tuple[float, float]:
    """Seconds that a command takes, which must succeed: on the clock, and of the processor."""
    began, used = perf_counter(), processor_s()
    command_line.ok(*words)
    return perf_counter() - began, processor_s() - used


def medians(times: Iterable[tuple[float, float]]) -> tuple[float, float]:
    """Of each of the two kinds of seconds."""
    clock, processor = zip(*times, strict=True)
    return median(clock), median(processor)


def main() -> int:
    """Measure, print, and say whether the promise holds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--tasks", type=int, default=20)
    parser.add_argument("--delete", type=int, default=500)
    parser.add_argument("--times", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ms-") as folder, command_line_in(Path(folder)) as command_line:
        command_line.apart, command_line.check_at_end = True, False
        root = Root(command_line.root)
        runs = fill(root, given.runs, given.tasks)
        before = root.database.stat().st_size
        commands = {
            "--help": ["--help"],
            "run list --last 20": ["run", "list", "--last", "20"],
            "run list --status FAILED": ["run", "list", "--status", "FAILED"],
            "run status PREFIX": ["run", "status", runs[len(runs) // 2][:15]],
            "run status @last": ["run", "status", "@last"],
            "run list": ["run", "list"],
        }
        taken = {
            name: medians(timed(command_line, *words) for _ in range(given.times))
            for name, words in commands.items()
        }
        name = f"run delete, {given.delete} runs"
        taken[name] = timed(
            command_line, "run", "delete", *runs[: given.delete], "--yes", "--without-evidence"
        )
        after = root.database.stat().st_size
    help_s, help_processor_s = taken["--help"]
    more = "more than --help"
    table = Table(f"{given.runs} runs of {given.tasks} tasks", "seconds", more, "of the processor", more)
    for command, (clock, processor) in taken.items():
        figures = (clock, clock - help_s, processor, processor - help_processor_s)
        table.add_row(command, *(f"{figure:.2f}" for figure in figures))
    Console().print(table)
    print(f"the store had {before / 1e6:.1f} MB, and has {after / 1e6:.1f} MB after the deletion")
    return int(taken["run list --last 20"][1] - help_processor_s > MOST_LONGER_S)


if __name__ == "__main__":
    sys.exit(main())
