"""SIGKILL an engine again and again while it works, and look at what became of the work.

The tasks of a run wait for kills: the first few may run at once, the last one only after the last kill.  So
the kills fall into all phases of a run, however fast the machine is, and their number is certain.
"""

import os
import random
import shlex
import shutil
import sqlite3
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from time import monotonic, sleep
from typing import Final

import attrs

from matterstack.storage.files import write_durable
from matterstack.storage.schema import open_database
from tests.support.command import PATIENCE_S, Running
from tests.support.polling import wait_until
from tests.support.trials import Trial

SLACK_KILLS: Final = 2
"""How many kills ahead of their time tasks may run, so that there is something to do between two kills."""
SAMPLE_S: Final = 0.05
AIM_S: Final = 0.002
SLOW_S: Final = (0.3, 2.0)
"""How long a slow sbatch waits; the second is longer than the next engine needs to look for its job."""
_UNCONFIRMED: Final = "SELECT token FROM attempts WHERE ended_at IS NULL AND job_id IS NULL"
_SLOW_SBATCH: Final = """\
#!/bin/sh
[ -e {switch} ] && sleep "$(cat {switch})"
exec {real} "$@"
"""


@attrs.frozen(kw_only=True)
class Plan:
    """What is done to the engines.

    Attributes:
        tasks: of all runs together.
        cap: most jobs at once, over all runs and engines.
        shortest_life_s, longest_life_s: how long an engine is left alone before the next kill.
        slow_share: the part of all lives in which sbatch is slow.
        aimed_share: the part of all kills that come when an attempt has just been prepared and its job is
            not known yet (or at the end of the engine's life, should there be none before).
    """

    tasks: int
    kills: int
    cap: int
    runs: int = 1
    engines: int = 1
    seed: int = 1
    shortest_life_s: float = 0.1
    longest_life_s: float = 2.5
    slow_share: float = 0.5
    aimed_share: float = 0.5


@attrs.frozen(kw_only=True)
class Findings:
    """What became of it.

    Attributes:
        kills: engines that were alive, and died of a SIGKILL.
        in_doubt: kills after which the store did not know of some attempt whether it had a job.
        jobs: all that were ever started, whoever knew of them.
        worked: how often the work of a task was begun.
        twice: tasks whose work was begun more than once.
        lost: tasks that did not succeed.
        forgotten: jobs that the store does not know, though they were neither turned away nor cancelled.
        left: jobs that are there after the end of all runs.
        most_live: largest number of jobs seen at once.
        most_working: largest number of tasks that had begun and not ended, by their own notes.
        shared_leases: leases that more than one process had.
        holders: processes that held a run.
        problems: what `matterstack check` says; empty if it found nothing.
        seconds: how long it took.
    """

    plan: Plan
    kills: int
    in_doubt: int
    jobs: int
    worked: int
    twice: int
    lost: int
    forgotten: int
    left: int
    most_live: int
    most_working: int
    shared_leases: int
    holders: int
    problems: str
    seconds: float

    def broken(self) -> list[str]:
        """Promises that were not kept."""
        kept = {
            "all kills hit a living engine": self.kills == self.plan.kills,
            "every task has succeeded": self.lost == 0,
            "no task worked twice": self.twice == 0 and self.worked == self.plan.tasks,
            "no job was started twice": self.jobs == self.plan.tasks,
            "no job was forgotten": self.forgotten == 0 and self.left == 0,
            "the cap held": max(self.most_live, self.most_working) <= self.plan.cap,
            "no lease was shared": self.shared_leases == 0,
            "the store proves it": not self.problems,
        }
        return [promise for promise, is_kept in kept.items() if not is_kept]


@attrs.define
class Torture:
    """One trial under torture."""

    trial: Trial
    plan: Plan
    folder: Path
    """Where a slow sbatch is put."""
    _random: random.Random = attrs.field(init=False)
    _engines: list[Running] = attrs.field(factory=list)
    _store: sqlite3.Connection = attrs.field(init=False)
    _kills: int = 0
    _in_doubt: int = 0
    _most_live: int = 0
    _pids: dict[tuple[str, int], set[int]] = attrs.field(factory=dict)

    def run(self) -> Findings:
        """Do it; what it finds tells whether the promises were kept.

        Raises:
            TimeoutError: the runs do not come to an end.
        """
        began = monotonic()
        self._random = random.Random(self.plan.seed)  # noqa: S311  moments to kill at, no secrets
        self._make_sbatch_slow()
        per_run = self.plan.tasks // self.plan.runs
        self.trial.write([self._task(i, per_run) for i in range(per_run)], max_jobs=self.plan.cap)
        runs = [self.trial.new_run() for _ in range(self.plan.runs)]
        with closing(
            open_database(self.trial.command_line.root / ".matterstack" / "state.db")
        ) as self._store:
            for kill in range(self.plan.kills + 1):
                self.trial.diary.open(f"kill-{kill}")
                self._engines += [self._start() for _ in range(self.plan.engines - len(self._engines))]
                if kill < self.plan.kills:
                    # The first to die has held runs, so that they are handed on whatever chance does later.
                    self._kill_one(self._await_holder() if kill == 0 else None)
            self._wait_for_the_end()
        return self._findings(runs, monotonic() - began)

    def _task(self, index: int, count: int) -> dict[str, object]:
        kills = self.plan.kills
        waits_for = kills if index == count - 1 else max(0, index * kills // count - SLACK_KILLS)
        return self.trial.task(f"t{index}", self.trial.diary.gate(f"kill-{waits_for}"))

    def _make_sbatch_slow(self) -> None:
        """Put one in front of the real one (if there is one) that waits as long as a file says."""
        shims, real = self.folder / "shims", shutil.which("sbatch")
        shims.mkdir(parents=True)
        if real is not None:
            text = _SLOW_SBATCH.format(switch=shlex.quote(str(self._switch)), real=shlex.quote(real))
            (shims / "sbatch").write_text(text)
            (shims / "sbatch").chmod(0o755)
        self.trial.command_line.wrapper = ("env", f"PATH={shims}:{os.environ['PATH']}")

    @property
    def _switch(self) -> Path:
        return self.folder / "sbatch-is-slow"

    def _start(self) -> Running:
        return self.trial.command_line.start("run", "loop", "--until-done")

    def _await_holder(self) -> Running:
        def holders() -> list[Running]:
            self._look()
            return [engine for engine in self._engines if engine.process.pid in self._holders()]

        wait_until(lambda: bool(holders()), PATIENCE_S, "an engine that holds a run")
        return holders()[0]

    def _holders(self) -> set[int]:
        return set().union(*self._pids.values())

    def _kill_one(self, chosen: Running | None) -> None:
        self._switch.unlink(missing_ok=True)
        slow_s = self._random.choice(SLOW_S)
        if self._random.random() < self.plan.slow_share:
            write_durable(self._switch, f"{slow_s}\n".encode())
        life_s = self._random.uniform(self.plan.shortest_life_s, self.plan.longest_life_s)
        is_aimed = self._random.random() < self.plan.aimed_share
        delay_s = self._random.uniform(0, SLOW_S[0] if self._switch.exists() else AIM_S)
        self._watch_for(life_s, until_prepared=is_aimed)
        if is_aimed:
            sleep(delay_s)
        engine = chosen or self._random.choice(self._engines)
        self._engines.remove(engine)
        self._kills += engine.process.poll() is None
        engine.kill()
        self._in_doubt += bool(self._unconfirmed())

    def _watch_for(self, seconds: float, *, until_prepared: bool) -> None:
        """Look at all that goes on, for so long (or until another attempt has been prepared)."""
        known = self._unconfirmed()
        look_at = monotonic()
        end = look_at + seconds
        while (now := monotonic()) < end:
            if now >= look_at:
                self._look()
                look_at = now + SAMPLE_S
            if until_prepared and self._unconfirmed() - known:
                return
            sleep(AIM_S)

    def _unconfirmed(self) -> set[str]:
        return {token for (token,) in self._store.execute(_UNCONFIRMED)}

    def _wait_for_the_end(self) -> None:
        self._switch.unlink(missing_ok=True)
        deadline = monotonic() + PATIENCE_S
        while any(engine.process.poll() is None for engine in self._engines):
            self._look()
            if monotonic() > deadline:
                raise TimeoutError(f"the runs do not end: {[engine.stderr for engine in self._engines]}")
            sleep(SAMPLE_S)

    def _look(self) -> None:
        self._most_live = max(self._most_live, self.trial.place.live())
        for run_id, lease in self.trial.leases().items():
            if lease.pid is not None:
                self._pids.setdefault((run_id, lease.epoch), set()).add(lease.pid)

    def _findings(self, runs: Sequence[str], seconds: float) -> Findings:
        self.trial.command_line.wrapper = ()
        begun = Counter(self.trial.diary.started())
        tasks = [task for run_id in runs for task in self.trial.command_line.tasks(run_id).values()]
        succeeded = sum(task["status"] == "SUCCEEDED" for task in tasks)
        check = self.trial.command_line.run("check")
        return Findings(
            plan=self.plan,
            kills=self._kills,
            in_doubt=self._in_doubt,
            jobs=len(self.trial.place.jobs()),
            worked=begun.total(),
            twice=sum(count > 1 for count in begun.values()),
            lost=self.plan.tasks - succeeded,
            forgotten=len(self.trial.forgotten(runs)),
            left=self.trial.place.live(),
            most_live=self._most_live,
            most_working=self.trial.diary.most_at_once(),
            shared_leases=sum(len(pids) > 1 for pids in self._pids.values()),
            holders=len(self._holders()),
            problems="" if check.exit_code == 0 else check.stdout + check.stderr,
            seconds=seconds,
        )
