"""Kill engines at random while they work, and count what was lost, and what was done twice.

An engine (``matterstack run loop --until-done``) serves a run of many short tasks.  It is killed with
SIGKILL at random moments and started again at once; in half of its lives sbatch is slow by 0.3 or 2 s, so
that submissions outlive the engine that began them.  Prints one table; exits with 1 when a promise was not
kept.

    python -m benchmarks.torture --backend slurm [--tasks 300] [--kills 60] [--cap 12] [--seed 1]
    python -m benchmarks.torture --backend local --engines 2 --runs 20

For Slurm it starts a private cluster, as the tests do (see `tests.support.slurm_cluster`).
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.support.campaigns import Diary
from tests.support.command import CommandLine, command_line_in
from tests.support.places import OnSlurm, Place, ThisMachine
from tests.support.slurm_cluster import SLURM_VARIABLES, SlurmCluster
from tests.support.torture import Findings, Plan, Torture
from tests.support.trials import Trial


@contextmanager
def _place(kind: str, command_line: CommandLine) -> Iterator[Place]:
    """Where the jobs run; a cluster is gone afterwards."""
    if kind == "local":
        yield ThisMachine(command_line.root)
        return
    # A short path: the sockets of the cluster's daemons are in it.
    with tempfile.TemporaryDirectory(prefix="ms-", dir="/tmp") as directory:
        cluster = SlurmCluster.start(Path(directory), accounting=True, guarded=True)
        try:
            for name in [name for name in os.environ if name.startswith(SLURM_VARIABLES)]:
                del os.environ[name]
            os.environ.update(cluster.environment())
            yield OnSlurm.now(cluster)
        finally:
            cluster.stop()


def torture(kind: str, plan: Plan) -> Findings:
    """Do it in a folder of its own, of which nothing is left."""
    with tempfile.TemporaryDirectory(prefix="matterstack-torture-") as top:
        folder = Path(top)
        diary = Diary(folder / "diary")
        diary.folder.mkdir()
        with command_line_in(folder) as command_line, _place(kind, command_line) as place:
            trial = Trial(command_line=command_line, diary=diary, place=place)
            return Torture(trial, plan, folder / "torture").run()


def _show(kind: str, found: Findings) -> None:
    plan = found.plan
    table = Table(title=f"{kind}: {plan.runs} runs, {plan.engines} engines, seed {plan.seed}")
    table.add_column("what")
    table.add_column("number", justify="right")
    rows = {
        "kills of a living engine": found.kills,
        "kills with a submission in doubt": found.in_doubt,
        "tasks": plan.tasks,
        "tasks that did not succeed": found.lost,
        "jobs that were started": found.jobs,
        "jobs that worked": found.worked,
        "tasks that worked twice": found.twice,
        "jobs that nobody knew of": found.forgotten,
        "jobs left at the end": found.left,
        "most jobs seen at once": found.most_live,
        "most tasks at work at once": found.most_working,
        "cap": plan.cap,
        "processes that held a run": found.holders,
        "leases that two processes had": found.shared_leases,
        "problems found by check": len(found.problems.splitlines()),
        "seconds": round(found.seconds),
    }
    for what, number in rows.items():
        table.add_row(what, str(number))
    Console().print(table)


def main() -> int:
    """Torture, print, and compare with what is promised."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--backend", choices=["local", "slurm"], default="local")
    parser.add_argument("--tasks", type=int, default=300)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--cap", type=int, default=12)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--engines", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if min(options.tasks, options.cap, options.runs, options.engines) < 1 or options.tasks % options.runs:
        parser.error("there must be tasks, the same number for each run")

    plan = Plan(
        tasks=options.tasks,
        kills=options.kills,
        cap=options.cap,
        runs=options.runs,
        engines=options.engines,
        seed=options.seed,
    )
    found = torture(options.backend, plan)
    _show(options.backend, found)
    if found.problems:
        print(found.problems)
    for promise in found.broken():
        print(f"broken: {promise}")
    return 1 if found.broken() else 0


if __name__ == "__main__":
    sys.exit(main())
