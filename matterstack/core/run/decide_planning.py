"""Decisions about what a campaign planned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from matterstack.core.model.workflow import Task
from matterstack.core.run import facts as f
from matterstack.core.run import messages as m
from matterstack.core.run.campaign_code import UsedCode
from matterstack.core.run.state import RunState
from matterstack.core.states import Phase, RunStatus, TaskStatus

_IN_VAIN: Final = frozenset({TaskStatus.FAILED, TaskStatus.SKIPPED, TaskStatus.CANCELLED})


def wants_plan(state: RunState) -> bool:
    """Whether ``plan`` is to be called now; a task that a person reopened is waited for."""
    return state.may_submit and state.phase is Phase.PLANNING and _all_is_settled(state)


def wants_analysis(state: RunState) -> bool:
    """Whether ``analyze`` is to be called now: all tasks have ended, and none of them in vain."""
    return state.may_submit and state.phase is Phase.EXECUTING and _all_is_settled(state)


def _all_is_settled(state: RunState) -> bool:
    return state.open_count == 0 and not state.hard_failures


def decide_planned(state: RunState, message: m.Planned) -> list[f.Fact]:
    """Take a plan in, unless it comes too late.

    That is when the run was cancelled or planned meanwhile, or a person reopened a task: the plan knows
    nothing of its new result, and a run must not complete while one of its jobs runs.
    """
    late = message.iteration != state.iteration + 1 or state.phase is not Phase.PLANNING
    if state.has_ended or state.ending is not None or late or not _all_is_settled(state):
        return []
    if message.workflow is None:
        # A paused run must not complete behind the back of the person who paused it.
        if state.status is not RunStatus.RUNNING:
            return []
        return [*campaign_changed(state, "plan", message), f.RunCompleted(**used_code(message.code))]
    tasks = message.workflow.tasks
    first = len(state.tasks)
    planned = f.IterationPlanned(
        iteration=message.iteration,
        task_count=len(tasks),
        name=message.workflow.name,
        **used_code(message.code),
    )
    warned = f.PlanWarned(iteration=message.iteration, warnings=tuple(message.warnings))
    told: list[f.Fact] = [*campaign_changed(state, "plan", message), planned]
    told += [warned] if warned.warnings else []
    return [*told, *(f.TaskPlanned(position=first + i, task=task) for i, task in enumerate(tasks)),
            *_skipped_from_the_start(state, tasks)]  # fmt: skip


def _skipped_from_the_start(state: RunState, tasks: Sequence[Task]) -> list[f.Fact]:
    """Tasks that wait for one of an earlier iteration that will never succeed (it may fail by its rules)."""
    never = {
        task_id
        for task_id, task in state.tasks.items()
        if task.status in _IN_VAIN and not task.satisfies_dependents
    }
    skipped: list[f.Fact] = []
    more = bool(never)
    while more:
        more = False
        for task in tasks:
            culprit = next((d for d in task.dependencies() if d in never), None)
            if culprit is not None and task.id not in never:
                never.add(task.id)
                reason = f"task {culprit}, which it depends on, did not succeed"
                skipped.append(f.TaskSkipped(task_id=task.id, because=culprit, reason=reason))
                more = True
    return skipped


def decide_analyzed(state: RunState, message: m.Analyzed) -> list[f.Fact]:
    """Take an analysis in, unless something changed while it was made."""
    late = message.iteration != state.iteration or state.phase is not Phase.EXECUTING
    if state.has_ended or state.ending is not None or late or not _all_is_settled(state):
        return []
    analyzed = f.IterationAnalyzed(
        iteration=message.iteration, state=message.state, **used_code(message.code)
    )
    return [*campaign_changed(state, "analyze", message), analyzed]


def decide_planning_failed(state: RunState, message: m.PlanningFailed) -> list[f.Fact]:
    """A campaign that cannot plan ends its run; `run retry` asks it once more.

    With a task open (a person reopened it meanwhile) the answer is out of date like any other.
    """
    if state.has_ended or state.ending is not None or state.open_count:
        return []
    return [*campaign_changed(state, message.action, message), f.RunFailed(reason=message.reason)]


def campaign_changed(
    state: RunState, action: str, message: m.Planned | m.Analyzed | m.PlanningFailed | m.Replan
) -> list[f.Fact]:
    """Say that another campaign answered than the one that is known, before what it answered."""
    files = state.code.changed(message.code)
    if not files:
        return []
    before = {path: state.code.files[path] for path in files if path in state.code.files}
    unkept = tuple(path for path in files if path in message.code.unkept)
    return [
        f.CampaignChanged(
            action=action, iteration=message.iteration, files=files, before=before, unkept=unkept
        )
    ]


def used_code(code: UsedCode) -> dict[str, Any]:
    """What a fact has of the code behind it."""
    return {"code": dict(sorted(code.files.items())), "unkept": tuple(sorted(code.unkept))}
