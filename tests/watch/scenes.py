"""Documents of a monitor as it would give them of runs in memory, and pictures of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from matterstack.core.run.allowed import RETRIABLE_TASKS, Standing, allowed
from matterstack.core.run.state import TaskState
from matterstack.core.states import JobState
from matterstack.storage.fact_codec import encode_fact
from matterstack.watch.drawing import draw
from matterstack.watch.known import Known, Stream, run_path
from matterstack.watch.parts import Scene
from matterstack.watch.view import View, run_of
from tests.support.states import ToldRun

NOW = datetime(2026, 1, 1, 0, 5, tzinfo=UTC)
Json = dict[str, Any]


def events_of(run: ToldRun) -> list[Json]:
    """Everything that has happened, as the stream has it."""
    events = []
    for seq, (at, fact) in enumerate(run.facts, start=1):
        kind, data = encode_fact(fact)
        events.append({"seq": seq, "run": run.state.run_id, "at": at, "type": kind, "data": json.loads(data)})
    return events


def entry_of(run: ToldRun) -> Json:
    """The run in the list of runs."""
    state = run.state
    jobs = {name: sum(a.backend == name for a in state.live.values()) for name in state.config["backends"]}
    counts = {status.value: count for status, count in state.counts.items()}
    return {
        "run_id": state.run_id,
        "workspace": state.workspace,
        "status": state.status.value,
        "status_reason": state.status_reason,
        "iteration": state.iteration,
        "tasks": counts,
        "created_at": state.created_at,
        "updated_at": state.updated_at,
        "ending": None if state.ending is None else state.ending.value,
        "allowed": allowed(Standing.of(state)),
        "stages": [
            {"iteration": number, "name": name, "jobs": 0, "tasks": counts}
            for number, name in enumerate(state.stage_names, start=1)
        ],
        "questions": state.asking,
        "caps": {
            "run": state.config["max_hpc_jobs_per_run"],
            "backends": {
                name: {"max_jobs": backend["max_jobs"], "jobs": jobs[name]}
                for name, backend in state.config["backends"].items()
            },
        },
    }


def document_of(run: ToldRun) -> Json:
    """The run with its tasks."""
    return {
        "seq": len(run.facts),
        "run": entry_of(run),
        "left_out": 0,
        "tasks": [
            {**_task(one), "attempts": [_attempt(attempt) for attempt in one.attempts]}
            for one in _in_order(run)
        ],
    }


def change_of(run: ToldRun, seen: int = 0) -> Json:
    """What has happened since so many events, as a link with rows gives it; of the rows all there are."""
    entry = entry_of(run)
    names = ("run_id", "workspace", "status", "status_reason", "iteration", "created_at", "updated_at",
             "ending", "allowed")  # fmt: skip
    tasks = _in_order(run)
    rows = {
        "type": "rows",
        "seq": len(run.facts),
        "run": run.state.run_id,
        "row": {name: entry[name] for name in names},
        "tasks": [_task(one) for one in tasks],
        "attempts": [{"task_id": one.task.id, **_attempt(a)} for one in tasks for a in one.attempts],
    }
    return {"seq": len(run.facts), "events": events_of(run)[seen:], "rows": [rows]}


def _in_order(run: ToldRun) -> list[TaskState]:
    return sorted(run.state.tasks.values(), key=lambda one: one.position)


def _task(one: TaskState) -> Json:
    return {
        "task_id": one.task.id,
        "position": one.position,
        "iteration": one.iteration,
        "status": one.status.value,
        "reason": one.reason,
        "depends_on": list(one.task.dependencies()),
        "may_fail": one.task.allow_failure and one.task.operator != "gate",
        "operator": one.task.operator,
        "retriable": one.status in RETRIABLE_TASKS,
    }


def _attempt(attempt: Any) -> Json:
    names = (
        "n", "token", "backend", "job_id", "raw_state", "reason", "exit_code", "host", "prepared_at",
        "submitted_at", "started_at", "ended_at",
    )  # fmt: skip
    shown = {name: value for name in names if (value := getattr(attempt, name)) not in {None, ""}}
    return shown if attempt.state is None else {**shown, "state": JobState(attempt.state).value}


def known_of(*runs: ToldRun, opened: bool = True) -> Known:
    """What is known of runs while events come; the first one is looked at closely."""
    jobs: dict[str, int] = {}
    for run in runs:
        for attempt in run.state.live.values():
            jobs[attempt.backend] = jobs.get(attempt.backend, 0) + 1
    seq = max((len(run.facts) for run in runs), default=0)
    known = Known.of({"seq": seq, "jobs": jobs, "runs": [entry_of(run) for run in runs]})
    known.stream = Stream()
    if opened:
        known.follow(runs[0].state.run_id)
        assert known.open is not None
        known.open.take(document_of(runs[0]), events_of(runs[0]))
    return known


def because(known: Known, run: ToldRun, *causes: Json) -> None:
    """Why a run does not go on."""
    path = run_path(run.state.run_id, "explain")
    full = [{"since": None, "blocks": 0, "action": "", "needs_person": False, **cause} for cause in causes]
    known.take_document(path, {"causes": full})


def rows(known: Known, view: View, width: int = 80, height: int = 24) -> list[str]:
    """What is drawn, as text."""
    scene = Scene(known=known, view=view, width=width, height=height, now=NOW, zone=UTC)
    return [row.plain for row in draw(scene).rows]


def look(known: Known, view: View | None = None, width: int = 80, height: int = 24) -> str:
    """The same in one piece; without a view, the run that is looked at closely."""
    if view is None:
        assert known.open is not None
        view = run_of(known.open.run_id)
    return "\n".join(row.rstrip() for row in rows(known, view, width, height))


def lines_with(text: str, words: str) -> Sequence[str]:
    """Rows in which these words are."""
    return [line for line in text.splitlines() if words in line]
