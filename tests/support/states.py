"""Runs that tests drive by messages, without store, files or jobs; and what their state must always be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Self

import attrs

from matterstack.core.ids import BackendName, JobId, RunId, TaskId, Token, UtcTime, attempt_token, utc_text
from matterstack.core.model.workflow import Task, Workflow
from matterstack.core.run import facts as f
from matterstack.core.run import messages as m
from matterstack.core.run.apply import Touched, apply, fold, new_run, ready_key
from matterstack.core.run.decide import decide
from matterstack.core.run.state import RunState
from matterstack.core.states import JobState, TaskStatus

RUN_ID: Final = RunId("20260101T000000-abcdef")
LOCAL: Final = BackendName("local")
CLUSTER: Final = BackendName("cluster")
BEGINNING: Final = datetime(2026, 1, 1, tzinfo=UTC)


def config(**overrides: Any) -> dict[str, Any]:
    """The effective configuration of a run with two backends."""
    return {
        "max_hpc_jobs_per_run": 10,
        "default_backend": "local",
        "priority": 1,
        "planning_timeout_s": 60.0,
        "params": {},
        "backends": {
            "local": {"type": "local", "max_jobs": 4},
            "cluster": {"type": "slurm", "max_jobs": 100},
        },
        **overrides,
    }


def task(name: str, *depends_on: str, **options: Any) -> Task:
    """A task with a command."""
    options.setdefault("command", ["true"])
    return Task(TaskId(name), depends_on=[TaskId(d) for d in depends_on], **options)


def chain(count: int, **options: Any) -> list[Task]:
    """Tasks t0 <- t1 <- t2 ..."""
    return [task(f"t{i}", *([f"t{i - 1}"] if i else []), **options) for i in range(count)]


@attrs.define
class ToldRun:
    """A run in memory, and all facts that made it what it is.

    Its clock goes on by a second with every message.
    """

    state: RunState
    facts: list[tuple[UtcTime, f.Fact]] = attrs.field(factory=list)
    touched: Touched = attrs.field(factory=Touched)

    @classmethod
    def new(cls, run_id: RunId = RUN_ID, **overrides: Any) -> Self:
        """A PENDING run."""
        created = f.RunCreated(workspace="demo", config=config(**overrides))
        at = utc_text(BEGINNING)
        run = cls(new_run(run_id, created, at), [(at, created)])
        run.touched.run = True
        return run

    @classmethod
    def running(cls, *tasks: Task, **overrides: Any) -> Self:
        """A RUNNING run whose first iteration has these tasks (none: it is still to be planned)."""
        run = cls.new(**overrides)
        run.tell(m.Start())
        if tasks:
            run.tell(m.Planned(iteration=1, workflow=Workflow(tasks)))
        return run

    @property
    def now(self) -> UtcTime:
        """When the next facts happen."""
        return utc_text(BEGINNING + timedelta(seconds=len(self.facts)))

    def tell(self, *messages: m.Message) -> list[f.Fact]:
        """Decide and apply; returns the facts of all messages."""
        new: list[f.Fact] = []
        for message in messages:
            facts = decide(self.state, message)
            self.take(*facts)
            new.extend(facts)
        return new

    def take(self, *facts: f.Fact) -> None:
        """Apply facts."""
        at = self.now
        for fact in facts:
            apply(self.state, fact, at, self.touched)
            self.facts.append((at, fact))

    # ---- shorthands ----

    def token(self, task_id: str) -> Token:
        """Of the newest attempt of a task."""
        return attempt_token(
            self.state.run_id, TaskId(task_id), len(self.state.tasks[TaskId(task_id)].attempts)
        )

    def prepare(self, seats: int = 100, backend: BackendName = LOCAL) -> list[f.Fact]:
        """Prepare what is ready."""
        return self.tell(m.Prepare(backend=backend, seats=seats))

    def submit(self, *task_ids: str) -> None:
        """The jobs of prepared tasks are accepted."""
        for task_id in task_ids:
            self.tell(m.Accepted(token=self.token(task_id), job_id=JobId(f"job-{task_id}")))

    def end(self, task_id: str, state: JobState = JobState.COMPLETED_OK, **seen: Any) -> list[f.Fact]:
        """The job of a task ends."""
        seen.setdefault("exit_code", 0 if state is JobState.COMPLETED_OK else 1)
        return self.tell(m.Observed(token=self.token(task_id), state=state, **seen))

    def collect(self, task_id: str, **found: Any) -> list[f.Fact]:
        """The outputs of a task are looked at."""
        return self.tell(m.Collected(token=self.token(task_id), **found))

    def activate(self, *task_ids: str) -> None:
        """Bring ready tasks to a job that runs."""
        self.prepare()
        self.prepare(backend=CLUSTER)
        self.submit(*task_ids)

    def succeed(self, *task_ids: str) -> None:
        """Bring ready tasks to SUCCEEDED, one after the other."""
        for task_id in task_ids:
            self.activate(task_id)
            self.end(task_id)
            self.collect(task_id)

    def fail(self, *task_ids: str) -> None:
        """Bring ready tasks to the end of a job that failed, and look at its outputs."""
        for task_id in task_ids:
            self.activate(task_id)
            self.end(task_id, JobState.COMPLETED_ERROR)
            self.collect(task_id)

    def statuses(self) -> dict[str, str]:
        """Status of each task."""
        return {task_id: task.status.value for task_id, task in self.state.tasks.items()}

    def refolded(self) -> RunState:
        """The state that all facts give from the start."""
        return fold(self.state.run_id, self.facts)


def kinds(facts: Sequence[f.Fact]) -> list[str]:
    """Names of facts."""
    return [type(fact).__name__ for fact in facts]


def comparable(state: RunState) -> dict[str, Any]:
    """All that a state holds, in a form in which equal states are equal: no empty sets, no zero counts."""
    fields: dict[str, Any] = {
        field.name: getattr(state, field.name) for field in attrs.fields(RunState) if field.name != "tasks"
    }
    fields["tasks"] = {task_id: attrs.asdict(task, recurse=False) for task_id, task in state.tasks.items()}
    fields["ready"] = {backend: list(keys) for backend, keys in state.ready.items() if keys}
    fields["dependents"] = {task_id: list(ids) for task_id, ids in state.dependents.items() if ids}
    fields["counts"] = +state.counts
    return fields


def derived(state: RunState) -> dict[str, Any]:
    """What a state keeps up to date step by step, in the form of `recomputed`."""
    mine = comparable(state)
    return {
        "unmet": {task_id: task.unmet for task_id, task in state.tasks.items()},
        **{name: mine[name] for name in ("ready", "counts", "dependents")},
        "live": set(state.live),
        "collecting": set(state.collecting),
        "hard_failures": set(state.hard_failures),
        "being_cancelled": set(state.being_cancelled),
        "resubmitting": set(state.resubmitting),
    }


def recomputed(state: RunState) -> dict[str, Any]:
    """The same as `derived`, made from the tasks and their attempts alone."""
    tasks = state.tasks
    ready: dict[BackendName, list[tuple[int, int, TaskId]]] = {}
    dependents: dict[TaskId, list[TaskId]] = {}
    for task_id, one in tasks.items():
        if one.status is TaskStatus.READY:
            ready.setdefault(BackendName(one.task.backend or state.config["default_backend"]), []).append(
                ready_key(one)
            )
        for dependency in one.task.dependencies():
            dependents.setdefault(dependency, []).append(task_id)
    return {
        "unmet": {
            t: sum(not _lets_go_on(tasks, d) for d in one.task.dependencies()) for t, one in tasks.items()
        },
        "ready": {backend: sorted(keys) for backend, keys in ready.items()},
        "counts": Counter(one.status for one in tasks.values()),
        "dependents": dependents,
        "live": {a.token for one in tasks.values() for a in one.attempts if a.ended_at is None},
        "collecting": {
            t
            for t, one in tasks.items()
            if one.status is TaskStatus.ACTIVE and one.attempts and one.attempts[-1].ended_at is not None
        },
        "hard_failures": {
            t for t, one in tasks.items() if one.status is TaskStatus.FAILED and not one.task.allow_failure
        },
        "being_cancelled": {
            t
            for t, one in tasks.items()
            if one.status is TaskStatus.ACTIVE
            and one.cancellation is not None
            and not one.cancellation.lets_job_end
        },
        "resubmitting": {
            a.token
            for one in tasks.values()
            for a in one.attempts
            if a.ended_at is None and a.resubmission is not None
        },
    }


def _lets_go_on(tasks: Mapping[TaskId, Any], task_id: TaskId) -> bool:
    one = tasks[task_id]
    return bool(
        one.status is TaskStatus.SUCCEEDED or (one.status is TaskStatus.FAILED and one.task.allow_failure)
    )
