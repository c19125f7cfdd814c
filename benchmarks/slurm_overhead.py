"""Measure what MatterStack adds to the time of many short jobs on a real Slurm.

A private cluster runs the same commands twice: as one bare ``sbatch --array``, and as the tasks of a run.
The first is timed from before sbatch until the last job has left the queue, the second from before the engine
is started until it has ended, with every output looked at.  Prints one table; exits with 1 when the ratio, or
the number of commands that the cluster was asked, is larger than what is promised.

    python -m benchmarks.slurm_overhead [--tasks 1000] [--rounds 1] [--shell 'sleep 1'] [--poll 2]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import attrs
from rich.console import Console
from rich.table import Table

from matterstack.storage.backend_reports import read_reports
from matterstack.storage.layout import Root
from tests.support.campaigns import write_tasks
from tests.support.command import CommandLine, command_line_in
from tests.support.polling import wait_until
from tests.support.slurm_cluster import SLURM_VARIABLES, SlurmCluster

MOST_RATIO: Final = 1.15
MOST_SBATCH: Final = 10
COMMANDS: Final = ("sbatch", "squeue", "sacct", "scancel", "scontrol", "sacctmgr", "sinfo")
PATIENCE_S: Final = 1800.0
LOOK_S: Final = 0.1


@attrs.frozen
class Round:
    """One measurement of both, in seconds, and how often the run asked which command.

    ``told`` is the same as the engine itself had counted it, shortly before its end.
    """

    bare_s: float
    run_s: float
    calls: Counter[str]
    told: Mapping[str, int]

    @property
    def ratio(self) -> float:
        """How much longer it takes through MatterStack."""
        return self.run_s / self.bare_s


@attrs.frozen
class Bench:
    """A cluster, a root, and a diary of the commands that are run."""

    cluster: SlurmCluster
    command_line: CommandLine
    diary: Path
    tasks: int
    shell: str
    poll_s: float

    def measure(self, number: int) -> Round:
        """Both, one after the other."""
        bare_s = self._bare()
        self.diary.write_text("")
        run_s, told = self._through_matterstack(f"round{number}")
        return Round(bare_s, run_s, Counter(self.diary.read_text().split()), told)

    def _bare(self) -> float:
        begun = time.monotonic()
        what = (f"--array=0-{self.tasks - 1}", "--mem=20", "--output=/dev/null", f"--wrap={self.shell}")
        job = self.cluster.output("sbatch", "--parsable", *what)
        left = ("squeue", "--noheader", f"--jobs={job}", "--format=%i")
        wait_until(lambda: not self.cluster.output(*left), PATIENCE_S, "the end of the array")
        return time.monotonic() - begun

    def _through_matterstack(self, slug: str) -> tuple[float, Mapping[str, int]]:
        task = {"command": ["sh", "-c", self.shell], "resources": {"memory_mib": 20}}
        folder = write_tasks(
            self.command_line.root, slug, [{"id": f"t{i}", **task} for i in range(self.tasks)]
        )
        backend = {"type": "slurm", "max_jobs": self.tasks, "poll_interval_s": self.poll_s}
        config = {
            "max_hpc_jobs_per_run": self.tasks,
            "default_backend": "cluster",
            "backends": {"cluster": backend},
        }
        (folder / "config.json").write_text(json.dumps(config))
        run_id = self.command_line.new_run(slug)
        begun = time.monotonic()
        engine = self.command_line.start("run", "loop", "--until-done", run_id)
        told: Mapping[str, int] = {}
        while engine.process.poll() is None:
            told = self._told() or told
            time.sleep(LOOK_S)
        done = engine.wait(PATIENCE_S)
        took_s = time.monotonic() - begun
        if done.exit_code != 0 or self.command_line.status(run_id)["tasks"]["SUCCEEDED"] != self.tasks:
            raise RuntimeError(done.stderr)
        return took_s, told

    def _told(self) -> Mapping[str, int]:
        """What ``run status --json`` would say, without the processor time of a command."""
        reports = read_reports(Root(self.command_line.root))
        return {name: told.count for report in reports for name, told in report.statistics.items()}


def _log_commands(folder: Path) -> Path:
    """Put commands that write down each call in front of the real ones; returns the file."""
    diary = folder / "calls"
    for command in COMMANDS:
        shim = folder / command
        shim.write_text(f'#!/bin/sh\necho {command} >> {diary}\nexec {shutil.which(command)} "$@"\n')
        shim.chmod(0o755)
    os.environ["PATH"] = f"{folder}:{os.environ['PATH']}"
    return diary


def measure(tasks: int, rounds: int, shell: str, poll_s: float) -> list[Round]:
    """Do it in a folder of its own, of which nothing is left."""
    # A short path: the sockets of the cluster's daemons are in it.
    with (
        tempfile.TemporaryDirectory(prefix="ms-", dir="/tmp") as place,
        tempfile.TemporaryDirectory(prefix="matterstack-overhead-") as top,
    ):
        cluster = SlurmCluster.start(Path(place), accounting=True, guarded=True)
        try:
            for name in [name for name in os.environ if name.startswith(SLURM_VARIABLES)]:
                del os.environ[name]
            os.environ.update(cluster.environment())
            shims = Path(top) / "shims"
            shims.mkdir()
            diary = _log_commands(shims)
            with command_line_in(Path(top)) as command_line:
                bench = Bench(cluster, command_line, diary, tasks, shell, poll_s)
                return [bench.measure(number) for number in range(rounds)]
        finally:
            cluster.stop()


def _broken(rounds: list[Round], poll_s: float) -> list[str]:
    ratio = statistics.median(one.ratio for one in rounds)
    broken = [f"it takes {ratio:.2f} times as long"] if ratio > MOST_RATIO else []
    for one in rounds:
        for command, newer in (("sbatch", 0), ("squeue", 2)):  # the last ones may have been after its report
            if not one.calls[command] - newer <= one.told.get(command, 0) <= one.calls[command]:
                broken.append(f"{command} was called {one.calls[command]} times, and {one.told} was told")
        if one.calls["sbatch"] > MOST_SBATCH:
            broken.append(f"{one.calls['sbatch']} calls of sbatch")
        if one.calls["squeue"] > one.run_s / poll_s + 1:
            broken.append(f"{one.calls['squeue']} calls of squeue in {one.run_s:.1f} s")
    return broken


def main() -> int:
    """Measure, print, and compare with what is promised."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--shell", default="sleep 1", help="what each task runs")
    parser.add_argument("--poll", type=float, default=2.0, help="poll interval, in seconds")
    options = parser.parse_args()

    rounds = measure(options.tasks, options.rounds, options.shell, options.poll)
    table = Table(title=f"{options.tasks} tasks of {options.shell!r} on a real Slurm")
    table.add_column("what")
    for number in range(1, len(rounds) + 1):
        table.add_column(f"round {number}", justify="right")
    table.add_row("a bare array, s", *(f"{one.bare_s:.1f}" for one in rounds))
    table.add_row("through MatterStack, s", *(f"{one.run_s:.1f}" for one in rounds))
    table.add_row(f"ratio (at most {MOST_RATIO})", *(f"{one.ratio:.3f}" for one in rounds))
    for command in COMMANDS:
        table.add_row(f"calls of {command}", *(str(one.calls[command]) for one in rounds))
    Console().print(table)
    broken = _broken(rounds, options.poll)
    for promise in broken:
        print(f"broken: {promise}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
