"""Everything that an explanation is made from: plain values, read at one moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, Final

import attrs

from matterstack.core.ids import BackendName, JobId, RunId, TaskId, UtcTime
from matterstack.core.model.resources import Resources
from matterstack.core.run.facts import AlikeFailures
from matterstack.core.scheduler_words import PLAIN, JobSight, SchedulerWords
from matterstack.core.states import JobState, Phase, RunStatus, TaskStatus
from matterstack.storage.finishing_reports import Finishing

UNFINISHED: Final = frozenset({TaskStatus.WAITING, TaskStatus.READY, TaskStatus.ACTIVE})


@attrs.frozen(kw_only=True)
class AttemptView:
    """The newest attempt of a task.

    Attributes:
        walltime_s: when its job is ended, while that runs.
        asked: what it asked for; None where that is not known.
        is_outdated: its task was amended since, and its job would be another one now.
        is_resubmitted: it is to be given up before it begins.
    """

    n: int
    backend: BackendName
    prepared_at: UtcTime
    job_id: JobId | None = None
    state: JobState | None = None
    raw_state: str = ""
    reason: str = ""
    submitted_at: UtcTime | None = None
    started_at: UtcTime | None = None
    ended_at: UtcTime | None = None
    walltime_s: int | None = None
    last_words: str = ""
    exit_code: int | None = None
    host: str | None = None
    asked: Resources | None = None
    is_outdated: bool = False
    is_resubmitted: bool = False

    @property
    def is_live(self) -> bool:
        """Whether it holds a seat."""
        return self.ended_at is None


@attrs.frozen(kw_only=True)
class TaskView:
    """A task that has not succeeded.

    Attributes:
        needs: tasks that it depends on; those that are not among the tasks of the situation have succeeded.
        is_cancelled: a person had this task ended; its job may be left.
        is_withdrawn: the plan has it no more.
        tries: attempts since it was planned or reopened, of ``retries + 1`` at the most.
    """

    task_id: TaskId
    status: TaskStatus
    backend: BackendName
    operator: str = "compute"
    needs: tuple[TaskId, ...] = ()
    reason: str = ""
    tries: int = 0
    retries: int = 0
    allow_failure: bool = False
    is_cancelled: bool = False
    is_withdrawn: bool = False
    attempt: AttemptView | None = None


@attrs.frozen(kw_only=True)
class RunView:
    """The run itself, apart from its tasks.

    Attributes:
        since: when it was paused, asked to end, or ended; None when it is none of these.
        was_given_up: it FAILED because its engine could not serve it, not by its own tasks or planning.
        tasks: how many it has in all.
        done: how many of them have ended.
        held: the failures for whose sake its engine holds it.
        worked_on: where jobs of it have ended well; empty where no task has failed.
        campaign_class: of the object that a host program started it with; empty: it has a ``campaign.py``.
        is_pinned: another campaign than that which made it may not plan it, unless a person says so.
    """

    run_id: RunId
    workspace: str
    status: RunStatus
    phase: Phase
    created_at: UtcTime
    updated_at: UtcTime
    status_reason: str = ""
    iteration: int = 0
    ending: RunStatus | None = None
    ending_reason: str = ""
    since: UtcTime | None = None
    was_given_up: bool = False
    tasks: int = 0
    done: int = 0
    job_cap: int = 10
    planning_timeout_s: float = 3600.0
    planning_log: str = "planning.log"
    campaign_class: str = ""
    is_pinned: bool = False
    held: AlikeFailures | None = None
    worked_on: frozenset[str] = frozenset()


class Condition(Enum):
    """How the engine that serves a run is, as far as can be seen from here."""

    NONE = "none"
    ALIVE = "alive"
    DEAD = "dead"
    """Its name stands in the store still."""
    STOPPED = "stopped"
    """It lives, and was stopped by a signal (Ctrl-Z)."""
    SEIZED = "seized"
    """None: its lock is held by a process of another user, which is no engine."""
    ELSEWHERE = "elsewhere"
    """It is on another machine: nobody can tell from here."""

    @property
    def serves(self) -> bool:
        """Whether the run goes on by itself."""
        return self is Condition.ALIVE


@attrs.frozen
class EngineView:
    """Who has the lease of a run.  ``pid`` is None where it is not known; ``intruder``: which one."""

    condition: Condition
    host: str = ""
    pid: int | None = None
    intruder: str = ""

    def __str__(self) -> str:
        if self.intruder:
            return self.intruder
        process = f"process {self.pid}" if self.pid is not None else "a process"
        return f"{process} on {self.host}" if self.host else process


@attrs.frozen
class SeatHolder:
    """A run that has live attempts on a backend; ``last_at``: when it took the newest of these seats."""

    run_id: RunId
    seats: int
    last_at: UtcTime
    engine: EngineView


@attrs.frozen(kw_only=True)
class Health:
    """What engines have last noticed of a backend.  A time is None when all is well."""

    out_since: UtcTime | None = None
    problem: str = ""
    accounting_out_since: UtcTime | None = None
    accounting_problem: str = ""
    limited_since: UtcTime | None = None
    limit: str = ""


@attrs.frozen(kw_only=True)
class BackendView:
    """A backend as the run's config has it, and its seats over all runs.

    Attributes:
        config: its part of the run's frozen config.
        words: what to say of its jobs and troubles.
    """

    name: BackendName
    type: str
    max_jobs: int
    config: Mapping[str, Any] = attrs.field(factory=dict)
    words: SchedulerWords = PLAIN
    holders: Sequence[SeatHolder] = ()
    health: Health = attrs.field(factory=Health)

    @property
    def seats(self) -> int:
        """How many seats of the backend are taken."""
        return sum(holder.seats for holder in self.holders)

    @property
    def full_since(self) -> UtcTime | None:
        """When the last of its seats was taken."""
        return max((holder.last_at for holder in self.holders), default=None)


@attrs.frozen
class OpenCommand:
    """What a person asked of the run, and nobody has answered yet."""

    type: str
    by: str
    at: UtcTime


@attrs.frozen(kw_only=True)
class Context:
    """What is around the run.

    Attributes:
        root: folder of the store, as people should see it.
        full_disk: which disk has no room, in words; empty when there is room.
        sights: of live jobs, where somebody asked; never needed.
        finishing: how far large outputs of tasks were looked at.
        missing_secrets: why secrets of the run have no value in its engine, by their names.
        missing_since: when they were first missed.
    """

    now: UtcTime
    root: str
    engine: EngineView
    backends: Mapping[BackendName, BackendView]
    full_disk: str = ""
    command: OpenCommand | None = None
    sights: Mapping[JobId, JobSight] = attrs.field(factory=dict)
    finishing: Mapping[TaskId, Finishing] = attrs.field(factory=dict)
    missing_secrets: Mapping[str, str] = attrs.field(factory=dict)
    missing_since: UtcTime | None = None


@attrs.frozen
class Situation:
    """A run at one moment.  ``tasks``: all that have not succeeded."""

    run: RunView
    tasks: Sequence[TaskView]
    context: Context

    def words_of(self, name: BackendName) -> SchedulerWords:
        """What to say of the jobs of a backend; questions to people are jobs of none."""
        backend = self.context.backends.get(name)
        return backend.words if backend is not None else PLAIN

    @property
    def live_jobs(self) -> int:
        """How many seats the run has, on all backends together."""
        return sum(
            holder.seats
            for backend in self.context.backends.values()
            for holder in backend.holders
            if holder.run_id == self.run.run_id
        )
