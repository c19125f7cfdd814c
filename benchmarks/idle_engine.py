"""How much of a core an engine uses while all that it serves waits for people.

A run asks many questions at once, and ``matterstack run loop`` serves it in a process of its own.  When all
are asked and the engine has come to rest, its CPU time (all threads; user and system) is read before and
after a stretch of time in which nobody answers.  Prints one table; exits with 1 when it was more than is
promised.

    python -m benchmarks.idle_engine [--questions 200] [--seconds 60]
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from time import monotonic, sleep
from typing import Final

import attrs
from rich.console import Console
from rich.table import Table

from tests.support.campaigns import write_tasks
from tests.support.command import CommandLine, command_line_in
from tests.support.polling import wait_until

MOST_OF_A_CORE: Final = 0.01
REST_S: Final = 5.0
"""After the last question, until the engine has nothing left to do."""
PATIENCE_S: Final = 120.0
_FIELDS: Final = {"energy": {"type": "number", "unit": "eV"}, "keep": {"type": "boolean"}}


@attrs.frozen
class Measured:
    """CPU time of a process within so many seconds."""

    seconds: float
    cpu_s: float
    threads: int

    @property
    def share(self) -> float:
        """Of one core."""
        return self.cpu_s / self.seconds


def measure(command_line: CommandLine, questions: int, seconds: float) -> Measured:
    """Have them asked, and watch the engine while they wait."""
    params = {"question": "Is this structure worth a calculation?", "fields": _FIELDS}
    tasks = [{"id": f"ask-{n}", "operator": "human", "params": params} for n in range(questions)]
    write_tasks(command_line.root, "w", tasks)
    run_id = command_line.new_run("w")
    process = command_line.start("run", "loop", run_id).process

    def all_wait() -> bool:
        asked = [task["attempts"] for task in command_line.tasks(run_id).values()]
        return len(asked) == questions and all(attempts and attempts[-1]["job_id"] for attempts in asked)

    wait_until(all_wait, PATIENCE_S, "all questions")
    sleep(REST_S)
    began, before_s = monotonic(), _cpu_s(process.pid)
    sleep(seconds)
    cpu_s, lasted_s = _cpu_s(process.pid) - before_s, monotonic() - began
    return Measured(lasted_s, cpu_s, len(list(Path(f"/proc/{process.pid}/task").iterdir())))


def _cpu_s(pid: int) -> float:
    """Seconds of CPU that a process and its threads have used: see proc_pid_stat(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> int:
    """Measure, print, and judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, command_line_in(Path(folder)) as command_line:
        measured = measure(command_line, options.questions, options.seconds)
    table = Table("questions that wait", "seconds", "CPU, s", "threads", "of a core, %", "promised, %")
    table.add_row(
        str(options.questions),
        f"{measured.seconds:.0f}",
        f"{measured.cpu_s:.2f}",
        str(measured.threads),
        f"{100 * measured.share:.2f}",
        f"{100 * MOST_OF_A_CORE:.0f}",
    )
    Console().print(table)
    return 0 if measured.share < MOST_OF_A_CORE else 1


if __name__ == "__main__":
    sys.exit(main())
