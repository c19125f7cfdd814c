"""Runs on a real Slurm of which a part fails while they work, and comes back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any, Final

import attrs

from tests.support.command import PATIENCE_S, Running
from tests.support.explanations import explained_here
from tests.support.places import OnSlurm
from tests.support.polling import wait_until
from tests.support.slurm_cluster import SlurmCluster
from tests.support.trials import Trial

FIRST: Final = 12
"""Tasks that fill the cluster: they are at work when the outage begins."""
MAX_JOBS: Final = 100
FAILS: Final = "fails"
"""A task that may fail, and does: only the accounting tells of its end what the exit record does not."""


@attrs.frozen
class Outage:
    """What fails, how it comes back, what the engine says of it, and what `run explain` calls it."""

    begin: Callable[[SlurmCluster], None]
    end: Callable[[SlurmCluster], None]
    said: str
    kind: str


def _kill_controller(cluster: SlurmCluster) -> None:
    """As it is killed in a quiet moment: what it has not saved Slurm itself does again, or forgets."""
    cluster.save_jobs()
    cluster.kill_controller()


OUTAGES: Final[Mapping[str, Outage]] = {
    "controller killed": Outage(
        _kill_controller, SlurmCluster.start_controller, "cluster does not answer", "backend_out"
    ),
    "controller hung": Outage(
        SlurmCluster.stop_controller_answering,
        SlurmCluster.continue_controller,
        "cluster does not answer",
        "backend_out",
    ),
    "accounting killed": Outage(
        SlurmCluster.kill_accounting,
        SlurmCluster.start_accounting,
        "the accounting does not answer",
        "accounting_out",
    ),
    "munge killed": Outage(
        SlurmCluster.kill_munge, SlurmCluster.start_munge, "cluster does not answer", "backend_out"
    ),
}


@attrs.frozen
class Impatient(OnSlurm):
    """A cluster whose commands are given up soon."""

    def config(self, max_jobs: int) -> Mapping[str, Any]:
        """See `tests.support.places.Place`."""
        return {**super().config(max_jobs), "command_timeout_s": 3.0, "grace_period_s": 2.0}


@attrs.define
class Scene:
    """Runs of one campaign: tasks that wait at a gate until the outage is there, and then many short ones."""

    trial: Trial
    cluster: SlurmCluster
    short: int = 18
    run_ids: list[str] = attrs.field(factory=list)

    @property
    def task_ids(self) -> list[str]:
        """All tasks of a run that end well."""
        return [f"t{i}" for i in range(FIRST + self.short)]

    def begin(self) -> Running:
        """Start an engine on a run; returns when the cluster is full of its jobs."""
        gate = self.trial.diary.gate()
        tasks = [self.trial.task(name, gate if i < FIRST else ":") for i, name in enumerate(self.task_ids)]
        fails = self.trial.task(FAILS, f"{gate}; exit 3", allow_failure=True, priority=1)
        self.trial.write([fails, *tasks], max_jobs=MAX_JOBS)
        self.run_ids.append(self.trial.new_run())
        engine = self.trial.command_line.start("run", "loop")
        wait_until(lambda: len(self.trial.diary.started()) == FIRST, PATIENCE_S, "a cluster full of jobs")
        return engine

    def work_goes_on(self, lost: Container[str] = ()) -> None:
        """Let the jobs at work (but those that are ``lost``) end, and one more run begin."""
        at_work = {n for n in self.trial.diary.started() if not n.endswith(f"/{FAILS}") and n not in lost}
        self.run_ids.append(self.trial.new_run())
        self.trial.diary.open()
        wait_until(
            lambda: at_work <= set(self.trial.diary.ended()),
            PATIENCE_S,
            "the ends of the jobs at work",
        )

    def causes(self) -> list[str]:
        """Kinds of what `run explain` says of the first run."""
        return [cause["kind"] for cause in explained_here(self.trial.command_line, self.run_ids[0])]

    def wait_completed(self, timeout_s: float = PATIENCE_S) -> None:
        """Wait for the ends of all runs."""
        status = self.trial.command_line.status

        def have_ended() -> bool:
            return all(status(run)["status"] not in {"PENDING", "RUNNING"} for run in self.run_ids)

        wait_until(have_ended, timeout_s, "the ends of all runs")

    def assert_nothing_was_lost_or_done_twice(self, begun_again: Sequence[str] = ()) -> None:
        """All runs COMPLETED, each task ended once, and none began twice but those that Slurm requeued."""
        statuses = {run: self.trial.command_line.status(run)["status"] for run in self.run_ids}
        assert statuses == dict.fromkeys(self.run_ids, "COMPLETED")
        notes = [f"{run}/{task}" for run in self.run_ids for task in [FAILS, *self.task_ids]]
        assert Counter(self.trial.diary.started()) == Counter([*notes, *begun_again])
        assert Counter(self.trial.diary.ended()) == Counter(n for n in notes if not n.endswith(f"/{FAILS}"))
        attempts = self.trial.attempts(self.run_ids)
        assert len(attempts) == len(notes)
        assert Counter(attempt["exit_code"] for attempt in attempts) == {
            0: len(notes) - len(self.run_ids),
            3: len(self.run_ids),
        }
        self.trial.assert_nothing_is_left(self.run_ids, max_jobs=MAX_JOBS)
