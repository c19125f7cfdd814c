"""Decisions about a plan that a person had asked for once more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import attrs

from matterstack.core.errors import CampaignError, ChangedError, RefusedError
from matterstack.core.ids import TaskId
from matterstack.core.model.workflow import Task, Workflow
from matterstack.core.model.workflow_check import check_workflow
from matterstack.core.run import facts as f
from matterstack.core.run import messages as m
from matterstack.core.run.allowed import Standing, require_allowed
from matterstack.core.run.config_changes import all_changes_told, config_changes
from matterstack.core.run.decide_planning import campaign_changed, used_code
from matterstack.core.run.replan_steps import Difference, ReplannedTask, Step, changed_since, difference
from matterstack.core.run.state import RunState
from matterstack.core.states import RunStatus, TaskStatus

MOST_NAMED = 5


def decide_replan(state: RunState, message: m.Replan) -> list[f.Fact]:
    """Take a plan in the place of what was planned for the iteration in hand; nothing, where all is the same.

    What is live is never touched, unless the plan has it no more and the person wants that.
    """
    require_allowed(Standing.of(state), "replan")
    _refuse_changed_meanwhile(state, message)
    reopened: list[f.Fact] = [f.RunReopened(by=message.by)] if state.has_ended else []
    if message.workflow is None:
        return [*reopened, *campaign_changed(state, "plan", attrs.evolve(message, iteration=1))]
    found = difference(state, message.workflow, message.contents, message.choices)
    of_tasks = _facts_of_tasks(state, message, found)
    changed = campaign_changed(state, "plan", message)
    if not of_tasks and not (changed and state.is_pinned) and not failed_by_its_campaign(state):
        return []
    if not of_tasks and state.has_ended and not failed_by_its_campaign(state):
        return []
    _refuse_what_cannot_run(state, message.workflow, found)
    replanned = f.Replanned(
        iteration=message.iteration,
        by=message.by,
        task_count=len(message.workflow.tasks),
        name=message.workflow.name,
        reason=message.reason,
        **used_code(message.code),
    )
    warnings = tuple(message.warnings)
    warned: list[f.Fact] = [f.PlanWarned(iteration=message.iteration, warnings=warnings)] if warnings else []
    return [*reopened, *changed, replanned, *warned, *of_tasks]


def failed_by_its_campaign(state: RunState) -> bool:
    """Whether a run has FAILED, and none of its tasks is why: its campaign is to be asked again."""
    return state.status is RunStatus.FAILED and not state.hard_failures


def _refuse_changed_meanwhile(state: RunState, message: m.Replan) -> None:
    meanwhile = list(islice(_changed_meanwhile(state, message), MOST_NAMED + 1))
    if meanwhile:
        more = " and more" if len(meanwhile) > MOST_NAMED else ""
        raise ChangedError(
            f"run {state.run_id} has changed since its plan was shown: "
            f"{'; '.join(meanwhile[:MOST_NAMED])}{more}",
            hint="look at the plan once more, and give the command again",
        )


def _changed_meanwhile(state: RunState, message: m.Replan) -> Iterator[str]:
    if message.iteration != state.iteration:
        yield f"iteration {state.iteration} was planned"
        return
    if changes := config_changes(message.basis.config, state.config):
        yield f"its config was amended ({all_changes_told(changes)})"
    yield from changed_since(state, message.basis)


def _facts_of_tasks(state: RunState, message: m.Replan, found: Difference) -> list[f.Fact]:
    new = [each for each in found.tasks if each.status is None]
    first = len(state.tasks)
    return [
        *(
            f.TaskReopened(task_id=task_id, by=message.by, reason=message.reason)
            for task_id in found.reopened
        ),
        *(_replanned(each) for each in found.tasks if each.is_defined_anew),
        *(f.TaskPlanned(position=first + i, task=_task(each)) for i, each in enumerate(new)),
        *_withdrawn(state, message, found),
        *_skipped(found),
    ]


def _task(each: ReplannedTask) -> Task:
    if each.task is None:
        raise ValueError(f"task {each.task_id} has no definition")
    return each.task


def _replanned(each: ReplannedTask) -> f.TaskReplanned:
    planned = each.planned or _task(each)
    return f.TaskReplanned(
        task_id=each.task_id,
        changes=each.redefined,
        planned=planned,
        task=None if each.task == planned else each.task,
        contents=each.contents if each.step is not Step.CHANGED else {},
    )


def _withdrawn(state: RunState, message: m.Replan, found: Difference) -> Iterator[f.Fact]:
    for each in found.tasks:
        is_left_already = each.step is Step.JOB_LEFT and state.tasks[each.task_id].cancellation is not None
        if each.step in {Step.WITHDRAWN, Step.JOB_ENDED, Step.JOB_LEFT} and not is_left_already:
            yield f.TaskWithdrawn(
                task_id=each.task_id,
                by=message.by,
                ends_job=each.step is Step.JOB_ENDED,
                reason=message.reason,
            )


def _skipped(found: Difference) -> Iterator[f.Fact]:
    for task_id, because in found.skipped.items():
        reason = f"task {because}, which it depends on, did not succeed"
        yield f.TaskSkipped(task_id=task_id, because=because, reason=reason)


def _refuse_what_cannot_run(state: RunState, workflow: Workflow, found: Difference) -> None:
    """Hold what is to be done to the rules of a plan, with what was amended and what stays as it was."""
    steps = {each.task_id: each for each in found.tasks}
    stale = {each.task_id for each in found.tasks if each.step is Step.STALE}
    kept = stale | {t for t, task in state.tasks.items() if task.iteration < state.iteration}
    to_check = [
        _task(steps[task.id]) if task.id in steps else state.tasks[task.id].task
        for task in workflow.tasks
        if task.id not in stale
    ]
    if to_check:
        earlier = {task_id: state.tasks[task_id].task.outputs for task_id in kept}
        try:
            check_workflow(Workflow(to_check), earlier, state.config["backends"])
        except CampaignError as error:
            raise RefusedError(f"so they could not run: {str(error).partition(': ')[2]}") from None
    reopened = {*found.reopened}
    for task in to_check:
        if secret := next((name for name in task.env if name in state.secrets), None):
            raise RefusedError(f"task {task.id}: env: {secret} is a secret of config.json: the job has it")
        if _is_to_be_done(state, task.id, reopened):
            _refuse_missing_inputs(state, task, reopened)


def _is_to_be_done(state: RunState, task_id: TaskId, reopened: set[TaskId]) -> bool:
    known = state.tasks.get(task_id)
    return known is None or task_id in reopened or known.status in {TaskStatus.WAITING, TaskStatus.READY}


def _refuse_missing_inputs(state: RunState, task: Task, reopened: set[TaskId]) -> None:
    for name, source in task.inputs.items():
        maker, _, path = source.partition("/")
        made = state.tasks.get(TaskId(maker))
        if made is None or made.status is not TaskStatus.SUCCEEDED or maker in reopened:
            continue
        if all(output.path != path for output in made.outputs):
            left = _listed([output.path for output in made.outputs])
            raise RefusedError(
                f"task {task.id}: inputs: {name!r}: {maker}, which has SUCCEEDED, left no {path!r} "
                f"(it left: {left})",
                hint=f"have it done again as it is planned now: --redo-changed, or: matterstack run rerun "
                f"{state.run_id} {maker}",
            )


def _listed(paths: Sequence[str]) -> str:
    return ", ".join(paths[:MOST_NAMED]) or "none"
