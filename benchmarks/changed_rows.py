"""What it takes to find, beside the events of a commit, the rows that it changed, in a run of many tasks.

In processor time, which other programs on the machine hardly change.

    python -m benchmarks.changed_rows [--tasks 10000] [--commits 1000]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from time import process_time
from typing import TypeVar

from rich.console import Console
from rich.table import Table

from matterstack.core.model.workflow import Workflow
from matterstack.core.run import messages as m
from matterstack.monitor.batches import read_batch
from matterstack.storage.journal import commit
from matterstack.storage.read.events import last_seq
from matterstack.storage.schema import open_database
from tests.support.states import task
from tests.support.stored import StoredRun, new_root

_T = TypeVar("_T")
BACKENDS = {"local": {"type": "local", "max_jobs": 100_000}, "cluster": {"type": "slurm", "max_jobs": 1}}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--commits", type=int, default=1000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        _report(*_measure(Path(folder) / "root", arguments.tasks // 2, arguments.commits))


def _measure(
    folder: Path, half: int, commits: int
) -> tuple[list[float], list[float], list[float], list[tuple[int, int]]]:
    """For each commit: how long it took, then its events alone, then with rows; and the bytes of both."""
    root = new_root(folder)
    committing: list[float] = []
    plain: list[float] = []
    with_rows: list[float] = []
    sizes: list[tuple[int, int]] = []
    with closing(open_database(root.database)) as connection:
        run = StoredRun.create(connection, root, max_hpc_jobs_per_run=100_000, backends=BACKENDS)
        tasks = [task(f"a{i}") for i in range(half)] + [task(f"b{i}", f"a{i}") for i in range(half)]
        run.tell(m.Start(), m.Planned(iteration=1, workflow=Workflow(tasks)))
        run.run.prepare(seats=half)
        run.commit()
        seq = last_seq(connection)

        def read(*, rows: bool) -> tuple[int, bytes]:
            batch = read_batch(connection, seq, None, 500, with_rows=rows)
            return batch.last, batch.data_with_rows

        for i in range(commits):
            run.run.submit(f"a{i}")
            run.run.end(f"a{i}")
            run.run.collect(f"a{i}")
            append = run.append()
            _timed(committing, lambda append=append: commit(connection, root.database, [append]))
            _, alone = _timed(plain, lambda: read(rows=False))
            last, full = _timed(with_rows, lambda: read(rows=True))
            sizes.append((len(alone), len(full)))
            seq = last
        if run.lease is not None:
            run.lease.release(connection)
    return committing, plain, with_rows, sizes


def _timed(times: list[float], call: Callable[[], _T]) -> _T:
    began = process_time()
    result = call()
    times.append(process_time() - began)
    return result


def _report(
    committing: Sequence[float],
    plain: Sequence[float],
    with_rows: Sequence[float],
    sizes: Sequence[tuple[int, int]],
) -> None:
    table = Table("of a commit of three events", "µs of processor time (median)", "bytes")
    events, rows = (f"{statistics.median(size[which] for size in sizes):.0f}" for which in (0, 1))
    for what, times, size in (
        ("the commit", committing, ""),
        ("its events made ready to be sent", plain, events),
        ("the same with the rows that it changed", with_rows, rows),
    ):
        table.add_row(what, f"{1e6 * statistics.median(times):.0f}", size)
    Console().print(table)


if __name__ == "__main__":
    main()
