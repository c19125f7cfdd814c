"""Situations of a run, made by hand: what is not said is as in a run that goes well."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from matterstack.backends.registry import words_of
from matterstack.core.ids import BackendName, JobId, RunId, TaskId, UtcTime
from matterstack.core.states import JobState, Phase, RunStatus, TaskStatus
from matterstack.explain.causes import Cause
from matterstack.explain.frontier import get_run_frontier
from matterstack.explain.situation import (
    AttemptView,
    BackendView,
    Condition,
    Context,
    EngineView,
    RunView,
    SeatHolder,
    Situation,
    TaskView,
)

RUN: Final = RunId("20260101T000000-aaaaaa")
OTHER: Final = RunId("20260101T000000-bbbbbb")
SLURM: Final = BackendName("cluster")
ALIVE: Final = EngineView(Condition.ALIVE, "node7", 812)
DEAD: Final = EngineView(Condition.DEAD, "node7", 811)
NOBODY: Final = EngineView(Condition.NONE)


def at(clock: str) -> UtcTime:
    """A time of the day of all situations."""
    return UtcTime(f"2026-01-01T{clock}:00.000000Z")


NOW: Final = at("12:00")


def attempt(**fields: Any) -> AttemptView:
    """The first attempt on the cluster, prepared an hour ago."""
    return AttemptView(**{"n": 1, "backend": SLURM, "prepared_at": at("11:00"), **fields})


def job(job_id: str, state: JobState = JobState.QUEUED, raw: str = "PENDING", **fields: Any) -> AttemptView:
    """An attempt that has a job, which was submitted an hour ago."""
    return attempt(
        job_id=JobId(job_id), state=state, raw_state=raw, **{"submitted_at": at("11:01"), **fields}
    )


def running(job_id: str, **fields: Any) -> AttemptView:
    """An attempt whose job has been running for half an hour."""
    return job(job_id, JobState.RUNNING, "RUNNING", **{"started_at": at("11:30"), **fields})


def task(name: str, *needs: str, status: TaskStatus | None = None, **fields: Any) -> TaskView:
    """A task: ACTIVE when it has an attempt, else WAITING when it depends on others, else READY."""
    guess = TaskStatus.WAITING if needs else TaskStatus.READY
    if fields.get("attempt") is not None:
        guess = TaskStatus.ACTIVE
    return TaskView(
        task_id=TaskId(name),
        status=status or guess,
        needs=tuple(TaskId(need) for need in needs),
        **{"backend": SLURM, **fields},
    )


def failed(name: str, reason: str = "its job ended with exit code 3", **fields: Any) -> TaskView:
    """A task that has failed for good."""
    ended = running("7", ended_at=at("11:40"))
    fields = {"attempt": ended, **fields}
    return task(name, status=TaskStatus.FAILED, reason=reason, **fields)


def run_view(**fields: Any) -> RunView:
    """A RUNNING run in its first iteration."""
    return RunView(
        **{
            "run_id": RUN,
            "workspace": "w",
            "status": RunStatus.RUNNING,
            "phase": Phase.EXECUTING,
            "created_at": at("10:00"),
            "updated_at": at("11:50"),
            "iteration": 1,
            "planning_log": "/r/planning.log",
            **fields,
        }
    )


def backend(*holders: SeatHolder, **fields: Any) -> BackendView:
    """The cluster, with 100 seats; ``ssh_host``: the login node that it is behind."""
    host = fields.pop("ssh_host", "")
    config = {"type": "slurm", "ssh": {"host": host} if host else None}
    given = {"name": SLURM, "type": "slurm", "max_jobs": 100, "holders": holders, "config": config}
    return BackendView(**{**given, "words": words_of(config), **fields})


def seats(number: int, run_id: RunId = RUN, engine: EngineView = ALIVE, last: str = "11:20") -> SeatHolder:
    """Seats that a run has taken."""
    return SeatHolder(run_id, number, at(last), engine)


def situation(*tasks: TaskView, run: Mapping[str, Any] | None = None, **context: Any) -> Situation:
    """A run that an engine on this machine serves, on a cluster that answers."""
    live = sum(t.attempt is not None and t.attempt.is_live for t in tasks)
    cluster = backend(seats(live)) if live else backend()
    given = {"now": NOW, "root": "/r", "engine": ALIVE, "backends": {SLURM: cluster}, **context}
    return Situation(run_view(**(run or {})), tasks, Context(**given))


def causes(*tasks: TaskView, run: Mapping[str, Any] | None = None, **context: Any) -> tuple[Cause, ...]:
    """The causes of such a situation."""
    return get_run_frontier(situation(*tasks, run=run, **context)).causes
