"""The state of one run in memory: its tasks, their attempts, and the frontier.

The frontier (which tasks are ready, in which order) is kept up to date edge by edge, so that a fact
costs what its own edges cost, with 10 tasks or with 10,000.  Only `matterstack.core.run.apply` changes it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import attrs
from sortedcontainers import SortedSet

from matterstack.core.ids import BackendName, JobId, RunId, TaskId, Token, UtcTime
from matterstack.core.model.resources import Resources
from matterstack.core.model.workflow import Task
from matterstack.core.operators import ASKED, COMPUTE, NO_CAP
from matterstack.core.run.campaign_code import KnownCode
from matterstack.core.run.facts import OutputFile
from matterstack.core.run.holding import ONE_MACHINE, AlikeEnds, Holding, seconds_taken
from matterstack.core.states import ENDED_RUNS, JobState, Phase, RunStatus, TaskStatus


@attrs.frozen(kw_only=True)
class Resubmission:
    """That a person wants an attempt given up, if it has not begun, and another one in its place."""

    by: str
    reason: str = ""

    def __str__(self) -> str:
        """Who wants it, and why.

        >>> str(Resubmission(by="ann", reason="the partition is closed"))
        'to be submitted anew, as ann wants: the partition is closed'
        """
        return f"to be submitted anew, as {self.by} wants" + (f": {self.reason}" if self.reason else "")


@attrs.define(kw_only=True)
class AttemptState:
    """One try of a task.  It is live, and holds its seat, until ``ended_at`` is set.

    Attributes:
        last_words: of a try that failed, the last lines that its job printed.
        version: of the task's definition that it was prepared with.
        definition: that definition, where the task has been amended since; else None.
        resubmission: of one that is to be given up before it begins, or was.
    """

    task_id: TaskId
    n: int
    token: Token
    backend: BackendName
    resources: Resources
    prepared_at: UtcTime
    batch: Token | None = None
    index: int = 0
    nonce_sha256: str | None = None
    job_id: JobId | None = None
    state: JobState | None = None
    raw_state: str = ""
    reason: str = ""
    exit_code: int | None = None
    host: str | None = None
    submitted_at: UtcTime | None = None
    started_at: UtcTime | None = None
    ended_at: UtcTime | None = None
    manifest_sha256: str | None = None
    last_words: str = ""
    version: int = 1
    definition: Task | None = None
    resubmission: Resubmission | None = None


@attrs.frozen(kw_only=True)
class Cancellation:
    """That a person had a task ended, and not the whole run.

    Attributes:
        because: the task that they named, where this one depends on that.
        is_gone: it was ended since the plan has it no more.
        lets_job_end: its job goes on, and what that leaves is kept.
    """

    by: str
    reason: str = ""
    because: TaskId | None = None
    is_gone: bool = False
    lets_job_end: bool = False

    def __str__(self) -> str:
        """What is said of the task.

        >>> str(Cancellation(by="ann", reason="too hot", because=TaskId("relax")))
        'task relax, which it depends on, was cancelled by ann: too hot'
        """
        word = "withdrawn by" if self.is_gone else "cancelled by"
        what = f"{word} {self.by}" + (f": {self.reason}" if self.reason else "")
        return what if self.because is None else f"task {self.because}, which it depends on, was {what}"


@attrs.define(kw_only=True)
class TaskState:
    """A task with all its attempts.

    Attributes:
        position: order in which the campaign planned it, over all iterations.
        unmet: number of dependencies that have not been satisfied.
        tries: attempts since it was planned, or reopened by a person.
        cancellation: of a task that a person had ended: while its job is being ended, and when it is over.
        version: of its definition, ``task``: 1 as it was planned.
        planned: what the plan gave, where it was amended since; else None.
    """

    task: Task
    position: int
    iteration: int
    status: TaskStatus = TaskStatus.WAITING
    reason: str = ""
    unmet: int = 0
    tries: int = 0
    attempts: list[AttemptState] = attrs.field(factory=list)
    outputs: tuple[OutputFile, ...] = ()
    data: Any = None
    cancellation: Cancellation | None = None
    version: int = 1
    planned: Task | None = None

    @property
    def as_planned(self) -> Task:
        """What the plan gave when it was asked last."""
        return self.planned or self.task

    @property
    def is_being_cancelled(self) -> bool:
        """Whether its job is to come to its end for that a person had it ended."""
        why = self.cancellation
        return self.status is TaskStatus.ACTIVE and why is not None and not why.lets_job_end

    @property
    def is_withdrawn(self) -> bool:
        """Whether it is CANCELLED since the plan has it no more."""
        why = self.cancellation
        return self.status is TaskStatus.CANCELLED and why is not None and why.is_gone

    @property
    def satisfies_dependents(self) -> bool:
        """Whether tasks that depend on this one may go on."""
        # What is behind a gate that was closed does not go on, whether the run may fail of it or not.
        may_fail = self.task.allow_failure and self.task.operator != "gate"
        return self.status is TaskStatus.SUCCEEDED or (self.status is TaskStatus.FAILED and may_fail)

    @property
    def is_hard_failure(self) -> bool:
        """Whether this task alone keeps the run from completing."""
        return self.status is TaskStatus.FAILED and not self.task.allow_failure

    @property
    def last_attempt(self) -> AttemptState | None:
        """The newest attempt, if there was any."""
        return self.attempts[-1] if self.attempts else None


ReadyKey = tuple[int, int, TaskId]


@attrs.define(kw_only=True)
class RunState:
    """Everything that decisions about a run need.

    Attributes:
        campaign_state: what the next ``analyze`` or ``plan`` is given.
        base_state: what the iteration in hand was planned from (needed to analyze it once more).
        ending: CANCELLED or FAILED once that was asked for and jobs are still to be ended.
        code: newest versions of the workspace's files that a call of the campaign used, or that made the run.
        stage_names: label of each iteration, the first one first.
        live: attempts that hold a seat, and those of operators that wait for an answer.
        asking: how many of them wait for an answer; no cap counts these.
        collecting: ACTIVE tasks whose last job has ended, and whose outputs are to be collected.
        being_cancelled: ACTIVE tasks that a person had ended, while the rest of the run goes on.
        resubmitting: live attempts that are to be given up if they have not begun.
        holding: which failures are alike, and whether the engine holds the run for their sake.
        nodes: where its jobs were seen, by backend.
    """

    run_id: RunId
    workspace: str
    config: Mapping[str, Any]
    created_at: UtcTime
    updated_at: UtcTime
    status: RunStatus = RunStatus.PENDING
    status_reason: str = ""
    phase: Phase = Phase.PLANNING
    iteration: int = 0
    stage_names: list[str | None] = attrs.field(factory=list)
    campaign_state: Mapping[str, Any] = attrs.field(factory=dict)
    base_state: Mapping[str, Any] = attrs.field(factory=dict)
    code: KnownCode = attrs.field(factory=KnownCode)
    ending: RunStatus | None = None
    ending_reason: str = ""
    tasks: dict[TaskId, TaskState] = attrs.field(factory=dict)
    dependents: dict[TaskId, list[TaskId]] = attrs.field(factory=dict)
    ready: dict[BackendName, SortedSet[ReadyKey]] = attrs.field(factory=dict)
    live: dict[Token, AttemptState] = attrs.field(factory=dict)
    asking: int = 0
    collecting: dict[TaskId, None] = attrs.field(factory=dict)
    being_cancelled: dict[TaskId, None] = attrs.field(factory=dict)
    resubmitting: dict[Token, None] = attrs.field(factory=dict)
    hard_failures: dict[TaskId, None] = attrs.field(factory=dict)
    counts: Counter[TaskStatus] = attrs.field(factory=Counter)
    holding: Holding = attrs.field(factory=Holding)
    nodes: dict[BackendName, set[str]] = attrs.field(factory=dict)

    @property
    def has_ended(self) -> bool:
        """Whether the run is COMPLETED, FAILED or CANCELLED."""
        return self.status in ENDED_RUNS

    @property
    def may_submit(self) -> bool:
        """Whether new jobs may be submitted at all."""
        return self.status is RunStatus.RUNNING and self.ending is None and not self.to_be_held_for

    @property
    def to_be_held_for(self) -> str:
        """What too many failures have in common, while there is a task left to keep from the same."""
        waiting = self.counts[TaskStatus.WAITING] + self.counts[TaskStatus.READY]
        if not self.holding.alike or not waiting or self.ending or self.status is not RunStatus.RUNNING:
            return ""
        return self.holding.reached(self.hold_after_alike, self._has_other_nodes) or ""

    @property
    def hold_after_alike(self) -> int:
        """How many tasks that fail alike hold the run; 0: it never is.  Runs of 0.2.0 never are."""
        return int(self.config.get("hold_after_alike", 0))

    def _has_other_nodes(self, backend: BackendName, ends: AlikeEnds) -> bool:
        if self.backend_config(backend)["type"] in ONE_MACHINE:
            return False
        if self.nodes.get(backend, set()) - ends.nodes[backend].keys():
            return True
        # A job does not say where it is before it has ended; one that outlasts these is no such failure.
        lasting = (a for a in self.live.values() if a.backend == backend and a.state is JobState.RUNNING)
        least_s = max(1.0, 2 * ends.longest_s)
        return any((seconds_taken(a.started_at, self.updated_at) or 0.0) > least_s for a in lasting)

    @property
    def open_count(self) -> int:
        """How many tasks have not ended."""
        counts = self.counts
        return counts[TaskStatus.WAITING] + counts[TaskStatus.READY] + counts[TaskStatus.ACTIVE]

    @property
    def job_cap(self) -> int:
        """Most live jobs of this run."""
        return int(self.config["max_hpc_jobs_per_run"])

    @property
    def priority(self) -> int:
        """Weight of this run when seats are shared out."""
        return int(self.config["priority"])

    @property
    def is_pinned(self) -> bool:
        """Whether only the campaign that made it may plan it."""
        return bool(self.config.get("pin_campaign", False))

    @property
    def secrets(self) -> tuple[str, ...]:
        """Names of what its jobs find in their environment, and nobody else anywhere."""
        return tuple(self.config.get("secrets", ()))

    def definition_of(self, attempt: AttemptState) -> Task:
        """What an attempt's task was when that was prepared."""
        return attempt.definition or self.tasks[attempt.task_id].task

    def backend_of(self, task: Task) -> BackendName:
        """Name of the backend that runs a task."""
        if task.operator != COMPUTE:
            return ASKED
        return self.job_backend_of(task)

    def job_backend_of(self, task: Task) -> BackendName:
        """Name of the backend of its job, also where a person submits that by hand."""
        return BackendName(task.backend or self.config["default_backend"])

    def backend_cap(self, backend: BackendName) -> int:
        """Most live jobs of the backend, over all runs, as this run's config has it."""
        if backend == ASKED:
            return NO_CAP
        return int(self.config["backends"][backend]["max_jobs"])

    def backend_config(self, backend: BackendName) -> Mapping[str, Any]:
        """The part of the run's config that defines the backend."""
        return backend_config(self.config, backend)

    def ready_count(self, backend: BackendName) -> int:
        """How many tasks are ready for a backend."""
        return len(self.ready.get(backend, ()))

    def first_ready(self, backend: BackendName, most: int) -> list[TaskState]:
        """The next tasks for a backend: highest priority first, then in planned order."""
        keys: Sequence[ReadyKey] = list(islice(self.ready.get(backend, ()), max(most, 0)))
        return [self.tasks[task_id] for _, _, task_id in keys]

    def attempts(self) -> Iterator[AttemptState]:
        """All attempts of all tasks."""
        for task in self.tasks.values():
            yield from task.attempts


def backend_config(config: Mapping[str, Any], backend: BackendName) -> Mapping[str, Any]:
    """The part of a run's config that defines a backend.

    Raises:
        KeyError: there is none of this name.
    """
    if backend == ASKED:
        return {"type": ASKED, "max_jobs": NO_CAP, "backends": config["backends"]}
    defined: Mapping[str, Any] = config["backends"][backend]
    return defined
