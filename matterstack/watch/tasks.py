"""The tasks of one run as the monitor tells of them: rows are set, nothing is concluded from events."""

from __future__ import annotations

from bisect import insort
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
    last_words: str = ""

    @classmethod
    def of(cls, row: Json) -> WatchedAttempt:
        """As the monitor has it."""
        known = {name: row[name] for name in _ATTEMPT_FIELDS if name in row}
        state = known.pop("state", None)
        return cls(**known, state=None if state is None else JobState(state))


_ATTEMPT_FIELDS: Final = tuple(field.name for field in attrs.fields(WatchedAttempt))


@attrs.define(kw_only=True, eq=False)
class WatchedTask:
    """A task as a monitor's client knows it."""

    task_id: str
    position: int
    iteration: int
    status: TaskStatus
    reason: str
    depends_on: Sequence[str]
    may_fail: bool
    operator: str
    attempts: list[WatchedAttempt] = attrs.field(factory=list)

    @classmethod
    def of(cls, row: Json) -> WatchedTask:
        """As the monitor has it, but for its attempts."""
        return cls(
            task_id=row["task_id"],
            position=row["position"],
            iteration=row["iteration"],
            status=TaskStatus(row["status"]),
            reason=row["reason"] or "",
            depends_on=row["depends_on"],
            may_fail=row["may_fail"],
            operator=row["operator"] or "",
        )

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
        is_whole: whether the document held all of them; what it left out is not taken in later.
        version: grows with every change, so that what was made of the tasks is made anew only then.
    """

    run_id: str
    seq: int
    is_whole: bool = True
    by_id: dict[str, WatchedTask] = attrs.field(factory=dict)
    counts: dict[TaskStatus, int] = attrs.field(factory=lambda: dict.fromkeys(TaskStatus, 0))
    version: int = 0
    _live: dict[str, WatchedAttempt] = attrs.field(factory=dict)
    _of_token: dict[str, str] = attrs.field(factory=dict)
    _early: dict[str, list[WatchedAttempt]] = attrs.field(factory=dict)
    _sorted: dict[frozenset[TaskStatus], tuple[int, list[WatchedTask]]] = attrs.field(factory=dict)

    @classmethod
    def of(cls, view: Json) -> WatchedTasks:
        """As the document of a run has them: ``{"seq", "run", "tasks", "left_out"}``."""
        tasks = cls(view["run"]["run_id"], view["seq"], is_whole=not view["left_out"])
        for row in view["tasks"]:
            tasks._add(WatchedTask.of(row))
            for attempt in row["attempts"]:
                tasks._set_attempt(row["task_id"], WatchedAttempt.of(attempt))
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
        task_id = self._of_token.get(data.get("token", ""), data.get("task_id"))
        return None if task_id is None else str(task_id)

    @property
    def live(self) -> Iterable[WatchedAttempt]:
        """Attempts that have not ended."""
        return list(self._live.values())

    # ---- changing ----

    def set_rows(self, rows: Json) -> None:
        """Set what has changed: ``{"seq", "run", "tasks", "attempts"}``; what was known already stays."""
        if rows["run"] != self.run_id or rows["seq"] <= self.seq:
            return
        self.version += 1
        for row in rows["tasks"]:
            task = WatchedTask.of(row)
            known = self.by_id.get(task.task_id)
            if known is None and self.is_whole:
                self._add(task)
            elif known is not None:
                self.counts[known.status] -= 1
                self.counts[task.status] += 1
                known.status, known.reason = task.status, task.reason
                # An amendment changes these.
                known.may_fail, known.operator, known.depends_on = (
                    task.may_fail,
                    task.operator,
                    task.depends_on,
                )
        for row in rows["attempts"]:
            self._set_attempt(row["task_id"], WatchedAttempt.of(row))

    def _add(self, task: WatchedTask) -> None:
        self.by_id[task.task_id] = task
        self.counts[task.status] += 1
        for attempt in self._early.pop(task.task_id, ()):
            self._set_attempt(task.task_id, attempt)

    def _set_attempt(self, task_id: str, attempt: WatchedAttempt) -> None:
        task = self.by_id.get(task_id)
        if task is None:
            # Where one catches up, a task that has changed once more comes after its attempt.
            if self.is_whole:
                self._early.setdefault(task_id, []).append(attempt)
            return
        task.attempts = [known for known in task.attempts if known.n != attempt.n]
        insort(task.attempts, attempt, key=lambda one: one.n)
        self._of_token[attempt.token] = task_id
        if attempt.ended_at is None:
            self._live[attempt.token] = attempt
        else:
            self._live.pop(attempt.token, None)
