"""Hold what happens against what was promised.

The judge knows the truth of the cluster, which no engine sees, and compares it with the store.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import trio

from matterstack.core.ids import RunId, TaskId, Token
from matterstack.core.run import facts as f
from matterstack.core.run.state import AttemptState
from matterstack.core.states import ENDED_RUNS, JobState, RunStatus, TaskStatus
from matterstack.storage.check import check_store
from matterstack.storage.commands import command_outcome
from matterstack.storage.journal import Append
from matterstack.storage.layout import Root
from matterstack.storage.snapshot import load_run
from tests.simulated_cluster.cluster import SimulatedCluster, SimulatedJob, Word
from tests.simulation.ledger import Ledger
from tests.simulation.scenario import Scenario


class BrokenPromiseError(AssertionError):
    """Something happened that must never happen."""


@attrs.define(eq=False)
class Judge:
    """Watches one world.

    Attributes:
        plans: see `tests.simulation.ledger.Ledger`.
        diary: what happened outside of the store: virtual time, and what.
        broken: what was promised and did not hold, in words.
        cancelled: tasks that a person cancelled by name.
        withdrawn: tasks that a plan had no more.
        named: tasks that a person had done again by name.
    """

    scenario: Scenario
    root: Root
    cluster: SimulatedCluster
    connection: sqlite3.Connection
    plans: Mapping[tuple[str, int, str], Mapping[str, Any]] = attrs.field(factory=dict)
    diary: list[tuple[float, str]] = attrs.field(factory=list)
    broken: list[str] = attrs.field(factory=list)
    cancelled: set[tuple[RunId, TaskId]] = attrs.field(factory=set)
    withdrawn: set[tuple[RunId, TaskId]] = attrs.field(factory=set)
    named: set[tuple[RunId, TaskId]] = attrs.field(factory=set)
    ledger: Ledger = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.ledger = Ledger(self.connection, self._attempt_folder, self.blame, self._jobs_in, self.plans)

    def note(self, what: str) -> None:
        """Write into the diary."""
        self.diary.append((trio.current_time(), what))

    def blame(self, what: str) -> None:
        """Something was broken."""
        self.note(f"BROKEN {what}")
        self.broken.append(what)

    # ---- watching ----

    def saw_commit(self, append: Append) -> None:
        """Facts have just become durable: is the cluster as they say?"""
        self.ledger.read()
        for _, fact in append.facts:
            self._saw_cancelled(append.run_id, fact)
            match fact:
                case f.RunCancelled():
                    if left := [job.job_id for job in self.live_jobs(append.run_id)]:
                        self.blame(f"{append.run_id} is CANCELLED, but has jobs {left}")
                case f.TaskFailed(reason=reason) if "cancelled outside" in reason:
                    self.blame(f"{fact.task_id} FAILED as if somebody outside had cancelled its job")
                case f.JobEnded(token=token) | f.SubmissionWithdrawn(token=token):
                    self._saw_end_of(append.run_id, token, type(fact).__name__)
                case _:
                    pass

    def _saw_end_of(self, run_id: RunId, token: Token, fact: str) -> None:
        task_id, n = self.connection.execute(
            "SELECT task_id, n FROM attempts WHERE run_id = ? AND token = ?", (run_id, token)
        ).fetchone()
        folder = self._folder(run_id).attempt(task_id, n).path
        for job in self.cluster.jobs.values():
            # One that is COMPLETING has left its record already: nothing more comes from it.
            is_at_it = job.is_alive and job.word is not Word.COMPLETING
            if job.folder == folder and is_at_it and self._is_own_or_worked(job):
                self.blame(f"{fact} of {task_id} attempt {n}, but its job {job.job_id} is {job.word}")

    def _is_own_or_worked(self, job: SimulatedJob) -> bool:
        """Not a second job of the same attempt, that will find the folder claimed."""
        workers = self.cluster.worked.get(job.folder)
        return not workers or job.job_id in workers

    def _saw_cancelled(self, run_id: RunId, fact: f.Fact) -> None:
        """What a person cancelled by name stays so until somebody names it."""
        match fact:
            case f.TaskCancelRequested(by=by, because=None) if by:
                self.cancelled.add((run_id, fact.task_id))
            case f.TaskCancelled(by=by, because=None) if by and (run_id, fact.task_id) not in self.withdrawn:
                self.cancelled.add((run_id, fact.task_id))
            case f.TaskWithdrawn():
                # Whatever becomes of it by that is not by name: it may be back in the next plan.
                self.withdrawn.add((run_id, fact.task_id))
                self.cancelled.discard((run_id, fact.task_id))
            case f.TaskSucceeded():
                self.cancelled.discard((run_id, fact.task_id))
            case f.TaskReopened() if (run_id, fact.task_id) in self.cancelled - self.named:
                self.blame(f"{fact.task_id} of {run_id} was cancelled, and reopened, though nobody named it")
            case _:
                pass

    def saw_submission(self, job: SimulatedJob) -> None:
        """A job came into being."""
        run_id = self._run_of(job)
        status = self.statuses()[run_id]
        self.note(f"job {job.job_id} in {job.folder.relative_to(self.root.workspaces)}")
        others = [j.job_id for j in self.cluster.jobs.values() if j.folder == job.folder and j is not job]
        left = [job_id for job_id in others if not self.cluster.jobs[job_id].is_forgotten]
        if left and job.first is None:
            self.blame(f"job {job.job_id} was submitted for the attempt of {left}")
        if status is RunStatus.PAUSED or status in ENDED_RUNS:
            self.blame(f"job {job.job_id} was submitted while {run_id} was {status}")
        self.ledger.saw_job(job)

    def saw_work(self, job: SimulatedJob) -> None:
        """A job began to work, or began again."""
        self.note(f"job {job.job_id} works")
        workers = set(self.cluster.worked[job.folder])
        if len(workers) > 1:
            self.blame(f"jobs {sorted(workers)} all worked in {job.folder.relative_to(self.root.path)}")
        run_id = self._run_of(job)
        if self.statuses()[run_id] in ENDED_RUNS:
            self.blame(f"job {job.job_id} works for {run_id}, which has ended")
        self.ledger.saw_job(job)
        self._judge_caps(run_id)

    def _judge_caps(self, run_id: RunId) -> None:
        """Whatever works now had a seat when the newest of it was prepared, under the caps of that moment."""
        own = [job for job in self.live_jobs(run_id) if self._works(job)]
        newest = self.ledger.newest(own)
        cap = newest.own_cap if newest else int(self.ledger.config_of(run_id)["max_hpc_jobs_per_run"])
        if len(own) > cap:
            self.blame(f"{len(own)} jobs of {run_id} work at once, of at most {cap}")
        working = [job for job in self.cluster.jobs.values() if self._works(job)]
        for backend in dict.fromkeys(self.ledger.backend_of(job) for job in working):
            on_it = [job for job in working if self.ledger.backend_of(job) == backend]
            newest = self.ledger.newest(on_it)
            if newest is not None and len(on_it) > newest.shared_cap:
                self.blame(f"{len(on_it)} jobs on {backend} work at once, of at most {newest.shared_cap}")

    def _works(self, job: SimulatedJob) -> bool:
        is_at_it = job.is_alive and job.word is Word.RUNNING
        return is_at_it and job.job_id in self.cluster.worked.get(job.folder, ())

    # ---- looking ----

    def live_jobs(self, run_id: RunId) -> Iterator[SimulatedJob]:
        """Jobs of a run that may still do something."""
        folder = self._folder(run_id).path
        return (job for job in self.cluster.jobs.values() if job.is_alive and folder in job.folder.parents)

    def statuses(self) -> dict[RunId, RunStatus]:
        """Where all runs stand."""
        rows = self.connection.execute("SELECT run_id, status FROM runs ORDER BY run_id")
        return {RunId(run_id): RunStatus(status) for run_id, status in rows}

    def stuck(self) -> str:
        """Runs that have not ended, and what they are about."""
        parts = []
        for run_id, status in self.statuses().items():
            state = load_run(self.connection, run_id)
            if status not in ENDED_RUNS and state is not None:
                live = {t: (a.job_id, a.state) for t, a in state.live.items()}
                parts.append(f"{run_id} {status} {state.phase} {dict(state.counts)} live {live}")
        return "; ".join(parts)

    def _run_of(self, job: SimulatedJob) -> RunId:
        return RunId(job.folder.parts[job.folder.parts.index("runs") + 1])

    def _folder(self, run_id: RunId) -> Any:
        (slug,) = self.connection.execute("SELECT workspace FROM runs WHERE run_id = ?", (run_id,)).fetchone()
        return self.root.run_folder(slug, run_id)

    def _jobs_in(self, folder: Path) -> list[SimulatedJob]:
        return [job for job in self.cluster.jobs.values() if job.folder == folder]

    def _attempt_folder(self, run_id: RunId, task_id: TaskId, n: int) -> Path:
        path: Path = self._folder(run_id).attempt(task_id, n).path
        return path

    # ---- at the end ----

    def judge(self) -> None:
        """Hold all that was left behind against what was promised.

        Raises:
            BrokenPromiseError: naming all that was broken, also on the way.
        """
        for problem in check_store(self.root):
            self.broken.append(f"{problem.rule} at {problem.seq} of {problem.run_id}: {problem.problem}")
        for run_id in self.statuses():
            if left := [job.job_id for job in self.live_jobs(run_id)]:
                self.broken.append(f"jobs {left} of {run_id} were forgotten")
            self.broken += self._wrong_results(run_id)
        self.ledger.blame = self.broken.append  # time has come to its end
        self.ledger.judge_answers(lambda command_id: command_outcome(self.connection, command_id))
        if self.broken:
            raise BrokenPromiseError("\n".join(self.broken))

    def _wrong_results(self, run_id: RunId) -> Iterator[str]:
        """A task succeeded if, and only if, its job did the work and ended well."""
        state = load_run(self.connection, run_id)
        if state is None:
            yield f"{run_id} is gone"
            return
        for task in state.tasks.values():
            attempt = task.last_attempt
            did_well = attempt is not None and self._jobs_that_did_well(run_id, attempt)
            if task.status is TaskStatus.SUCCEEDED and attempt is not None and not did_well:
                yield f"{task.task.id} SUCCEEDED, but its job {attempt.job_id} did not"
        for attempt in state.attempts():
            well = self._jobs_that_did_well(run_id, attempt)
            if well and attempt.state is not JobState.COMPLETED_OK:
                yield f"job {well[0]} of {attempt.token} did its work well, which was lost"

    def _jobs_that_did_well(self, run_id: RunId, attempt: AttemptState) -> list[str]:
        """Jobs of an attempt: a second one may have worked in place of the one that the store knows."""
        folder = self._folder(run_id).attempt(attempt.task_id, attempt.n).path
        return [
            job.job_id for job in self.cluster.jobs.values() if job.folder == folder and job.recorded == 0
        ]
