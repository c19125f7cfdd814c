"""Take parts of a cluster away while a run works, for as long as real outages last, and tell what happened.

A run of short tasks, of which one in ten fails, on a private Slurm (see `tests.support.slurm_cluster`) whose
squeue shows no jobs that have ended, as where MinJobAge is short: then the accounting is needed.  One after
the other the controller is killed, the controller hangs, and the accounting is killed.  Prints one line for
each outage and what became of the run; exits with 1 when something was lost, was done twice or was left over.

    python -m benchmarks.outages [--tasks 360] [--cap 24] [--killed 60] [--hung 30] [--accounting 60]
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Final

import attrs
from rich.console import Console
from rich.table import Table

from tests.support.campaigns import Diary
from tests.support.command import CommandLine, Running, command_line_in
from tests.support.outages import OUTAGES, Outage
from tests.support.places import OnSlurm
from tests.support.polling import wait_until
from tests.support.slurm_cluster import SLURM_VARIABLES, SlurmCluster
from tests.support.trials import Trial

BETWEEN_S: Final = 15.0
"""How long all is well before each outage."""
LONGEST_S: Final = 600.0
FAILING_EXIT_CODE: Final = 3
_ENDED: Final = "[|](COMPLETED|FAILED)[|]"


@attrs.frozen
class AsConfigured(OnSlurm):
    """With the settings of a real cluster, but for the interval of its polls."""

    def config(self, max_jobs: int) -> Mapping[str, Any]:
        """See `tests.support.places.Place`."""
        return {"type": "slurm", "max_jobs": max_jobs, "poll_interval_s": 1.0, "command_timeout_s": 10.0}


@attrs.frozen
class Told:
    """What was seen of one outage; times in seconds."""

    name: str
    lasted_s: float
    explained_s: float | None
    ended_meanwhile: int
    concluded_meanwhile: int
    went_on_after_s: float


@attrs.frozen
class Bench:
    """One run, an engine, and a cluster."""

    trial: Trial
    cluster: SlurmCluster
    run_id: str
    engine: Running

    def suffer(self, name: str, outage: Outage, seconds: float) -> Told:
        """Let something fail for so long."""
        sleep(BETWEEN_S)
        outage.begin(self.cluster)
        began = monotonic()
        ends, concluded = len(self.trial.diary.ended()), self._concluded()
        explained: float | None = None
        while monotonic() < began + seconds:
            if explained is None and outage.kind in self._causes():
                explained = monotonic() - began
            sleep(0.5)
        ended_meanwhile = len(self.trial.diary.ended()) - ends
        concluded_meanwhile = self._concluded() - concluded
        outage.end(self.cluster)
        over = monotonic()
        before = self._concluded()
        wait_until(lambda: self._concluded() > before or self._is_over(), LONGEST_S, "the run to go on")
        return Told(name, over - began, explained, ended_meanwhile, concluded_meanwhile, monotonic() - over)

    def _causes(self) -> list[str]:
        said = self.trial.command_line.json("run", "explain", self.run_id)
        return [cause["kind"] for cause in said["causes"]]

    def _concluded(self) -> int:
        tasks: Mapping[str, int] = self.trial.command_line.status(self.run_id)["tasks"]
        return tasks["SUCCEEDED"] + tasks["FAILED"]

    def _is_over(self) -> bool:
        status: str = self.trial.command_line.status(self.run_id)["status"]
        return status not in {"PENDING", "RUNNING"}

    def findings(self, expected: int, failing: int) -> dict[str, int | str]:
        """What became of the run, of whose tasks so many fail."""
        status = self.trial.command_line.status(self.run_id)
        attempts = self.trial.attempts([self.run_id])
        starts, ends = Counter(self.trial.diary.started()), Counter(self.trial.diary.ended())
        check = self.trial.command_line.run("check")
        return {
            "run": status["status"],
            "tasks that did not end as they should": (
                abs(expected - failing - status["tasks"]["SUCCEEDED"])
                + abs(failing - _failed_by_itself(attempts))
            ),
            "attempts beyond one for each task": len(attempts) - expected,
            "tasks whose work was done twice": sum(count > 1 for count in ends.values()),
            "tasks that Slurm itself began again": sum(count > 1 for count in starts.values()),
            "jobs that nobody knew of": len(self.trial.forgotten([self.run_id])),
            "jobs left at the end": self.trial.place.live(),
            "problems found by check": 0 if check.exit_code == 0 else len(check.stdout.splitlines()),
        }

    def oddities(self) -> Iterator[str]:
        """What Slurm says of jobs that nobody knew of, and of those that ended as none should."""
        attempts = self.trial.attempts([self.run_id])
        for job in self.trial.forgotten([self.run_id]):
            yield f"nobody knew of job {job.job_id}, submitted as {job.name}"
            yield self._accounted(job.job_id)
        for attempt in attempts:
            if attempt["exit_code"] not in {0, FAILING_EXIT_CODE}:
                yield f"ended oddly: {attempt}"
                yield self._accounted(attempt["job_id"])

    def _accounted(self, job_id: str) -> str:
        return self.cluster.run("sacct", "--duplicates", f"--jobs={job_id}", check=False).stdout


def _failed_by_itself(attempts: Sequence[Mapping[str, Any]]) -> int:
    return sum(attempt["exit_code"] == FAILING_EXIT_CODE for attempt in attempts)


def main(words: Sequence[str] | None = None) -> int:
    """Do what the command line says; the exit code."""
    options = _parser().parse_args(words)
    lasting = {
        "controller killed": options.killed,
        "controller hung": options.hung,
        "accounting killed": options.accounting,
    }
    with tempfile.TemporaryDirectory(prefix="ms-", dir="/tmp") as top, command_line_in(Path(top)) as line:
        cluster = SlurmCluster.start(Path(top) / "c", accounting=True, guarded=True)
        try:
            for name in [name for name in os.environ if name.startswith(SLURM_VARIABLES)]:
                del os.environ[name]
            os.environ.update(cluster.environment())
            os.environ["PATH"] = f"{_forgetful_squeue(Path(top))}:{os.environ['PATH']}"
            return _play(Path(top), line, cluster, options, lasting)
        finally:
            cluster.stop()


def _forgetful_squeue(top: Path) -> Path:
    """A folder with a squeue that hides jobs that have ended."""
    (top / "bin").mkdir()
    wrapper = top / "bin" / "squeue"
    wrapper.write_text(f'#!/bin/bash\nset -o pipefail\n{shutil.which("squeue")} "$@" | grep -vE "{_ENDED}"\n')
    wrapper.chmod(0o755)
    return wrapper.parent


def _play(
    top: Path,
    command_line: CommandLine,
    cluster: SlurmCluster,
    options: argparse.Namespace,
    lasting: Mapping[str, float],
) -> int:
    (top / "diary").mkdir()
    trial = Trial(command_line=command_line, diary=Diary(top / "diary"), place=AsConfigured.now(cluster))
    works = f"sleep {options.work}"
    fails = f"{works}; exit {FAILING_EXIT_CODE}"
    tasks = [
        trial.task(f"t{i}", works if i % 10 else fails, allow_failure=True) for i in range(options.tasks)
    ]
    trial.write(tasks, max_jobs=options.cap)
    began = monotonic()
    run_id = trial.new_run()
    bench = Bench(trial, cluster, run_id, command_line.start("run", "loop", "--until-done", run_id))
    told = [bench.suffer(name, OUTAGES[name], seconds) for name, seconds in lasting.items()]
    bench.engine.wait(LONGEST_S)
    found = {
        **bench.findings(options.tasks, len(range(0, options.tasks, 10))),
        "seconds in all": round(monotonic() - began),
    }
    _show(told, found)
    bad = [value for what, value in found.items() if what not in _NO_HARM and value not in {0, "COMPLETED"}]
    if bad:
        reason = command_line.status(run_id)["status_reason"]
        sys.stderr.write(
            f"{bench.engine.stderr}the run is {found['run']}{f' because: {reason}' if reason else ''}\n"
        )
        sys.stderr.writelines(f"{line}\n" for line in bench.oddities())
    return 1 if bad else 0


_NO_HARM: Final = frozenset({"seconds in all", "tasks that Slurm itself began again"})


def _show(told: Sequence[Told], found: Mapping[str, int | str]) -> None:
    outages = Table(title="outages, times in seconds")
    for heading in ("what", "lasted", "explained after", "jobs ended", "concluded", "went on after"):
        outages.add_column(heading, justify="left" if heading == "what" else "right")
    for one in told:
        explained = "never" if one.explained_s is None else f"{one.explained_s:.1f}"
        outages.add_row(
            one.name,
            f"{one.lasted_s:.0f}",
            explained,
            str(one.ended_meanwhile),
            str(one.concluded_meanwhile),
            f"{one.went_on_after_s:.1f}",
        )
    run = Table(title="the run")
    run.add_column("what")
    run.add_column("number", justify="right")
    for what, value in found.items():
        run.add_row(what, str(value))
    Console().print(outages, run)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Outages of a cluster in the middle of a run.")
    parser.add_argument("--tasks", type=int, default=360)
    parser.add_argument("--work", type=float, default=4.0, help="seconds of work of each task")
    parser.add_argument("--cap", type=int, default=24, help="jobs at once")
    parser.add_argument("--killed", type=float, default=60.0, help="seconds without a controller")
    parser.add_argument("--hung", type=float, default=30.0, help="seconds with a controller that hangs")
    parser.add_argument("--accounting", type=float, default=60.0, help="seconds without accounting")
    return parser


if __name__ == "__main__":
    sys.exit(main())
