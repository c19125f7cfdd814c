"""The tasks of one run, kept up to date by its events alone: an event costs what its own edges cost.

They begin as the monitor's document of a run has them, and say of every task what
`matterstack.core.run.apply` says.  Nothing here is asked of anybody.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import attrs

from matterstack.core.ids import UtcTime
from matterstack.core.states import ENDED_TASKS, JobState, TaskStatus

Json = Mapping[str, Any]

ATTENTION: Final = (
    TaskStatus.ACTIVE,
    TaskStatus.FAILED,
    TaskStatus.READY,
    TaskStatus.WAITING,
    TaskStatus.SKIPPED,
    TaskStatus.CANCELLED,
    TaskStatus.SUCCEEDED,
)
"""In which order tasks are worth a look."""
_RANK: Final = {status: rank for rank, status in enumerate(ATTENTION)}


@attrs.define(kw_only=True)
class WatchedAttempt:
    """One try of a task."""

    n: int
    token: str
    backend: str = ""
    job_id: str | None = None
    state: JobState | None = None
    raw_state: str = ""
    reason: str = ""
    exit_code: int | None = None
    host: str | None = None
    prepared_at: UtcTime | None = None
    submitted_at: UtcTime | None = None
    started_at: UtcTime | None = None
    ended_at: UtcTime | None = None

    @classmethod
    def of(cls, document: Json) -> WatchedAttempt:
        """As the document of a run has it."""
        known = {name: document[name] for name in _ATTEMPT_FIELDS if name in document}
        state = known.pop("state", None)
        return cls(**known, state=None if state is None else JobState(state))


_ATTEMPT_FIELDS: Final = tuple(field.name for field in attrs.fields(WatchedAttempt))


@attrs.define(kw_only=True, eq=False)
class WatchedTask:
    """A task as a monitor's client knows it.

    Attributes:
        unmet: how many of the tasks that it depends on do not let it start.
    """

    task_id: str
    iteration: int
    position: int
    status: TaskStatus = TaskStatus.WAITING
    reason: str = ""
    depends_on: Sequence[str] = ()
    may_fail: bool = False
    operator: str = ""
    attempts: list[WatchedAttempt] = attrs.field(factory=list)
    unmet: int = 0

    @property
    def satisfies(self) -> bool:
        """Whether tasks that depend on it may start, as far as it is concerned."""
        return self.status is TaskStatus.SUCCEEDED or (self.status is TaskStatus.FAILED and self.may_fail)

    @property
    def has_ended(self) -> bool:
        """Whether nothing more comes of it by itself."""
        return self.status in ENDED_TASKS

    @property
    def last(self) -> WatchedAttempt | None:
        """The newest attempt of the task."""
        return self.attempts[-1] if self.attempts else None


@attrs.define(eq=False)
class WatchedTasks:
    """All tasks of a run as of event ``seq``.

    Attributes:
        version: grows with every change, so that what was made of the tasks is made anew only then.
    """

    run_id: str
    seq: int
    iteration: int
    by_id: dict[str, WatchedTask] = attrs.field(factory=dict)
    counts: dict[TaskStatus, int] = attrs.field(factory=lambda: dict.fromkeys(TaskStatus, 0))
    version: int = 0
    _live: dict[str, tuple[WatchedTask, WatchedAttempt]] = attrs.field(factory=dict)
    _of_token: dict[str, WatchedTask] = attrs.field(factory=dict)
    _dependents: dict[str, list[WatchedTask]] = attrs.field(factory=dict)
    _sorted: dict[frozenset[TaskStatus], tuple[int, list[WatchedTask]]] = attrs.field(factory=dict)

    @classmethod
    def of(cls, view: Json) -> WatchedTasks:
        """As the document of a run has them: ``{"seq", "run", "tasks", ...}``."""
        tasks = cls(view["run"]["run_id"], view["seq"], view["run"]["iteration"])
        for position, document in enumerate(view["tasks"]):
            task = WatchedTask(
                task_id=document["task_id"],
                iteration=document["iteration"],
                position=position,
                status=TaskStatus(document["status"]),
                reason=document["reason"] or "",
                depends_on=document["depends_on"],
                may_fail=document["may_fail"],
                operator=document["operator"] or "",
                attempts=[WatchedAttempt.of(attempt) for attempt in document["attempts"]],
            )
            tasks._insert(task)
        return tasks

    # ---- looking ----

    def sorted(self, wanted: frozenset[TaskStatus]) -> list[WatchedTask]:
        """Those in one of these states: what is worth a look first, then as they were planned."""
        version, found = self._sorted.get(wanted, (-1, []))
        if version != self.version:
            chosen = (task for task in self.by_id.values() if task.status in wanted)
            found = sorted(chosen, key=lambda task: (_RANK[task.status], task.position))
            self._sorted[wanted] = self.version, found
        return found

    def task_of(self, event: Json) -> str | None:
        """Which task an event is about; None when it is about none that is known."""
        data = event["data"]
        task = self._of_token.get(data.get("token", ""))
        named = data.get("task_id")
        return task.task_id if task is not None else None if named is None else str(named)

    @property
    def live(self) -> Iterable[WatchedAttempt]:
        """Attempts that have not ended."""
        return [attempt for _, attempt in self._live.values()]

    # ---- changing ----

    def apply(self, event: Json) -> None:
        """Take the next event; those of other runs, and those that were known, change nothing."""
        if event["seq"] <= self.seq or event["run"] != self.run_id:
            return
        self.seq = event["seq"]
        self.version += 1
        kind, data, at = event["type"], event["data"], event["at"]
        if kind == "IterationPlanned":
            self.iteration = data["iteration"]
        elif kind == "TaskPlanned":
            self._plan(data["task"])
        elif (task := self.by_id.get(data.get("task_id", ""))) is not None:
            self._apply_to_task(task, kind, data, at)
        elif (found := self._live.get(data.get("token", ""))) is not None:
            self._apply_to_attempt(found[1], kind, data, at)

    def _apply_to_task(self, task: WatchedTask, kind: str, data: Json, at: UtcTime) -> None:
        if kind == "TaskReopened":
            self._wait_or_be_ready(task, data.get("reason", ""))
        elif kind == "TaskRetried":
            self._wait_or_be_ready(task, f"tried again after {data['kind']}: {data['reason']}")
        elif kind == "TaskSucceeded":
            self._set(task, TaskStatus.SUCCEEDED, "")
        elif kind in _ENDS:
            self._set(task, _ENDS[kind], data.get("reason", ""))
        elif kind == "AttemptPrepared":
            attempt = WatchedAttempt(
                n=data["n"], token=data["token"], backend=data["backend"], prepared_at=at
            )
            task.attempts.append(attempt)
            self._index(task, attempt)
            self._set(task, TaskStatus.ACTIVE, "")

    def _wait_or_be_ready(self, task: WatchedTask, reason: str) -> None:
        self._set(task, TaskStatus.WAITING if task.unmet else TaskStatus.READY, reason)

    def _apply_to_attempt(self, attempt: WatchedAttempt, kind: str, data: Json, at: UtcTime) -> None:
        if kind in {"SubmissionRefused", "SubmissionWithdrawn"}:
            was_refused = kind == "SubmissionRefused"
            attempt.state = JobState.COMPLETED_ERROR if was_refused else JobState.CANCELLED
            attempt.reason, attempt.ended_at = data["reason"], at
        elif kind == "JobAccepted":
            attempt.job_id, attempt.submitted_at = data["job_id"], at
            attempt.state = JobState(data.get("state", JobState.QUEUED))
            if attempt.state is JobState.RUNNING:
                attempt.started_at = at
        elif kind in {"JobStateChanged", "JobEnded"}:
            attempt.state = JobState(data["state"])
            attempt.raw_state, attempt.reason = data.get("raw_state", ""), data.get("reason", "")
            if kind == "JobEnded":
                attempt.ended_at = data.get("ended_at") or at
                attempt.started_at = data.get("started_at") or attempt.started_at
                attempt.exit_code, attempt.host = data.get("exit_code"), data.get("host")
            elif attempt.state is JobState.RUNNING:
                attempt.started_at = attempt.started_at or at
        if attempt.ended_at is not None:
            del self._live[attempt.token]

    def _plan(self, planned: Json) -> None:
        sources = (source.partition("/")[0] for source in (planned.get("inputs") or {}).values())
        operator = planned.get("operator") or "compute"
        task = WatchedTask(
            task_id=planned["id"],
            iteration=self.iteration,
            position=len(self.by_id),
            depends_on=list(dict.fromkeys((*(planned.get("depends_on") or ()), *sources))),
            may_fail=bool(planned.get("allow_failure")) and operator != "gate",
            operator=operator,
        )
        self._insert(task)
        if task.unmet == 0:
            self._set(task, TaskStatus.READY, "")

    def _insert(self, task: WatchedTask) -> None:
        self.by_id[task.task_id] = task
        self.counts[task.status] += 1
        for attempt in task.attempts:
            self._index(task, attempt)
        for task_id in task.depends_on:
            self._dependents.setdefault(task_id, []).append(task)
            known = self.by_id.get(task_id)
            task.unmet += known is None or not known.satisfies
        if task.satisfies:
            # Tasks that were planned before the one they depend on counted it as missing.
            for dependent in self._dependents.get(task.task_id, ()):
                dependent.unmet -= 1

    def _index(self, task: WatchedTask, attempt: WatchedAttempt) -> None:
        self._of_token[attempt.token] = task
        if attempt.ended_at is None:
            self._live[attempt.token] = task, attempt

    def _set(self, task: WatchedTask, status: TaskStatus, reason: str) -> None:
        before = task.satisfies
        self.counts[task.status] -= 1
        self.counts[status] += 1
        task.status, task.reason = status, reason
        if task.satisfies is before:
            return
        for dependent in self._dependents.get(task.task_id, ()):
            dependent.unmet += 1 if before else -1
            if dependent.status in {TaskStatus.WAITING, TaskStatus.READY}:
                self._wait_or_be_ready(dependent, dependent.reason)


_ENDS: Final = {
    "TaskFailed": TaskStatus.FAILED,
    "TaskCancelled": TaskStatus.CANCELLED,
    "TaskSkipped": TaskStatus.SKIPPED,
}


def status_after(event: Json) -> tuple[str | None, str] | None:
    """Status and reason of a run after an event (no status: it stays); None when it is not about that."""
    kind, data = event["type"], event["data"]
    because = f": {data['reason']}" if data.get("reason") else ""
    match kind:
        case "RunCreated":
            return "PENDING", ""
        case "RunStarted" | "RunResumed" | "RunReopened":
            return "RUNNING", ""
        case "RunPaused":
            return "PAUSED", f"paused by {data['by']}{because}"
        case "RunCancelRequested":
            return None, f"being cancelled by {data['by']}{because}"
        case "RunFailureRequested":
            return None, f"ending its jobs, because{because}"
        case "RunCancelled" | "RunFailed":
            return kind.removeprefix("Run").upper(), data.get("reason", "")
        case "RunCompleted":
            return "COMPLETED", ""
        case _:
            return None
