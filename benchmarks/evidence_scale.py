"""Time and memory of building and verifying the evidence of runs of many tasks.

Each task has a script, an output and a record of what it was given.  Every export is a process of its
own, so that its memory can be told.  Last comes a run with one large output (a file with a hole, so that it
takes no room): it is named by its hash, which the second export takes from the first.

    python -m benchmarks.evidence_scale [--tasks 1000 10000] [--gib 5]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from time import perf_counter

from rich.console import Console
from rich.table import Table

from matterstack.storage.layout import Root
from tests.evidence.crowd import crowd
from tests.evidence.processes import EXPORT, VERIFY, peak_kib
from tests.evidence.stage import half_done, stage
from tests.support.states import RUN_ID
from tests.support.stored import new_root


def measured(script: str, *arguments: str) -> tuple[float, float]:
    """Run a script in a process of its own; returns seconds and MiB."""
    start = perf_counter()
    peak = peak_kib(script, *arguments)
    return perf_counter() - start, peak / 1024


def large(root: Root, gib: int) -> Root:
    """A run in the middle of its work, of which one task left a file of so many GiB."""
    with stage(root) as made:
        half_done(made)
        made.end_with_hole("odd", "large.dat", gib << 30)
    return root


def rows(root: Root) -> list[tuple[str, float, float]]:
    """What it takes to build evidence, to build it over what is there, and to verify it."""
    bundle = str(root.run_folder("demo", RUN_ID).path / "evidence")
    return [
        ("export", *measured(EXPORT, str(root.path), RUN_ID)),
        ("export again", *measured(EXPORT, str(root.path), RUN_ID)),
        ("verify", *measured(VERIFY, bundle)),
    ]


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tasks", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--gib", type=int, default=5)
    table = Table("run", "what", "seconds", "MiB")
    arguments = parser.parse_args()
    for count in arguments.tasks:
        with tempfile.TemporaryDirectory() as folder:
            for what, seconds, mib in rows(crowd(Path(folder) / "root", count)):
                table.add_row(f"{count} tasks", what, f"{seconds:.1f}", f"{mib:.0f}")
    with tempfile.TemporaryDirectory() as folder:
        for what, seconds, mib in rows(large(new_root(Path(folder) / "root"), arguments.gib)):
            table.add_row(f"output of {arguments.gib} GiB", what, f"{seconds:.1f}", f"{mib:.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
