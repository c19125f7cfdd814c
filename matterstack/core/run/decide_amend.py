"""Decisions about what people change of tasks that have not succeeded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from matterstack.core.errors import CampaignError, NotFoundError, RefusedError, UsageError
from matterstack.core.ids import TaskId
from matterstack.core.model.amending import amended, value_at
from matterstack.core.model.workflow import Task, Workflow
from matterstack.core.model.workflow_check import check_workflow
from matterstack.core.run import facts as f
from matterstack.core.run import messages as m
from matterstack.core.run.allowed import Standing, require_allowed
from matterstack.core.run.decide_resubmission import resubmissions
from matterstack.core.run.state import RunState, TaskState
from matterstack.core.states import ENDED_TASKS, TaskStatus

_MOST_NAMED: Final = 10


def decide_amend_tasks(state: RunState, message: m.AmendTasks) -> list[f.Fact]:
    """Change the definitions; what is live goes on as it was prepared, and no ended run is reopened.

    What waits in a queue may be submitted anew, where that was asked for.
    """
    require_allowed(Standing.of(state), "amend")
    tasks = amendable(state, message.tasks, message.named)
    if not message.changes and not message.resubmit:
        raise RefusedError("say what changes")
    changed = amendments(state, tasks, message.changes, message.by, message.reason) if message.changes else []
    return [*changed, *(resubmissions(state, tasks, changed, message) if message.resubmit else [])]


def amendable(state: RunState, task_ids: Sequence[TaskId], named: Sequence[TaskId] = ()) -> list[TaskId]:
    """Leave out tasks that have succeeded, unless a person named them or there are no others.

    Raises:
        NotFoundError: the run has no such task.
        RefusedError: one that was named has succeeded, or all have.
    """
    found: list[TaskId] = []
    succeeded: list[TaskId] = []
    for task_id in dict.fromkeys(task_ids):
        task = state.tasks.get(task_id)
        if task is None:
            raise NotFoundError(f"run {state.run_id} has no task {task_id!r}")
        (succeeded if task.status is TaskStatus.SUCCEEDED else found).append(task_id)
    refused = next((task_id for task_id in succeeded if task_id in set(named) or not found), None)
    if refused is not None:
        raise RefusedError(
            f"task {refused} has SUCCEEDED: its result is that of its definition",
            hint=f"to do it again as it is: matterstack run rerun {state.run_id} {refused}",
        )
    if not found:
        raise RefusedError("name the tasks to amend")
    return found


def amendments(
    state: RunState,
    task_ids: Sequence[TaskId],
    changes: Mapping[str, Any],
    by: str,
    reason: str = "",
) -> list[f.TaskAmended]:
    """What changes of each task; of one that has all these values already, nothing.

    Raises:
        RefusedError: a task could not be run so; names the task and the path.
    """
    facts: list[f.TaskAmended] = []
    new: dict[TaskId, Task] = {}
    for task_id in task_ids:
        task = state.tasks[task_id]
        try:
            new[task_id] = amended(task.task, changes)
        except UsageError as error:
            raise RefusedError(f"task {task_id}: {error}", hint=error.hint) from None
        changed = {path: _change(task.task, new[task_id], path) for path in changes}
        changed = {path: change for path, change in changed.items() if change.old != change.new}
        if changed:
            _refuse_failure_that_others_went_on_from(task, new[task_id])
            facts.append(f.TaskAmended(task_id=task_id, by=by, changes=changed, reason=reason))
    _check(state, {fact.task_id: new[fact.task_id] for fact in facts})
    return facts


def _change(old: Task, new: Task, path: str) -> f.Change:
    return f.Change(value_at(old, path), value_at(new, path))


def _refuse_failure_that_others_went_on_from(task: TaskState, new: Task) -> None:
    if task.status is TaskStatus.FAILED and task.task.allow_failure and not new.allow_failure:
        raise RefusedError(
            f"task {new.id}: allow_failure: it has FAILED, and others went on since it may",
            hint="retry it first",
        )


def _check(state: RunState, new: Mapping[TaskId, Task]) -> None:
    """Hold the tasks, and those that take files of them, to the rules of a plan."""
    behind = {d for task_id in new for d in state.dependents.get(task_id, ())}
    open_behind = {d for d in behind if d not in new and state.tasks[d].status not in ENDED_TASKS}
    checked = [*new.values(), *(state.tasks[task_id].task for task_id in sorted(open_behind))]
    if not checked:
        return
    ids = {task.id for task in checked}
    earlier = {task_id: task.task.outputs for task_id, task in state.tasks.items() if task_id not in ids}
    try:
        check_workflow(Workflow(checked), earlier, state.config["backends"])
    except CampaignError as error:
        problem = str(error).partition(": ")[2]
        raise RefusedError(f"so they could not run: {problem}") from None
    for task in new.values():
        if secret := next((name for name in task.env if name in state.secrets), None):
            raise RefusedError(f"task {task.id}: env: {secret} is a secret of config.json: the job has it")
        _refuse_missing_inputs(state, task)


def _refuse_missing_inputs(state: RunState, task: Task) -> None:
    for name, source in task.inputs.items():
        maker, _, path = source.partition("/")
        made = state.tasks[TaskId(maker)]
        if made.status is TaskStatus.SUCCEEDED and all(output.path != path for output in made.outputs):
            left = ", ".join(output.path for output in made.outputs[:_MOST_NAMED]) or "none"
            raise RefusedError(
                f"task {task.id}: inputs: {name!r}: {maker} left no {path!r} (it left: {left})",
            )
