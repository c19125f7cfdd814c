"""From a run's state to a call of its campaign, and from the answer to a workflow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import attrs

from matterstack.actors.planner import CodeQuestion, PlanningRequest
from matterstack.core.ids import TaskId
from matterstack.core.model.workflow import Workflow
from matterstack.core.run.state import RunState, TaskState
from matterstack.core.states import ENDED_TASKS
from matterstack.storage.codec import CONVERTER
from matterstack.storage.layout import Root, RunFolder, Workspace

PlanningAction: TypeAlias = Literal["plan", "analyze"]


def planning_request(root: Root, state: RunState, action: PlanningAction) -> PlanningRequest:
    """Ask with everything that has ended so far."""
    folder = root.run_folder(state.workspace, state.run_id)
    workspace = Workspace(root.workspaces / state.workspace)
    kept = state.config.get("campaign_object")
    return PlanningRequest(
        action=action,
        campaign_file=workspace.campaign_file if kept is None else folder.campaign_object,
        object_sha256=None if kept is None else kept["sha256"],
        folder=workspace.path,
        params=state.config["params"],
        state=state.campaign_state,
        results=_results(folder, state.tasks),
        earlier={task_id: list(task.task.outputs) for task_id, task in state.tasks.items()},
        backends={name: config["type"] for name, config in state.config["backends"].items()},
        default_backend=state.config["default_backend"],
        timeout_s=state.config["planning_timeout_s"],
        code=CodeQuestion(known=state.code, is_pinned=state.is_pinned),
        log=folder.planning_log,
    )


def replanning_request(root: Root, state: RunState) -> PlanningRequest:
    """Ask once more for the plan of the iteration in hand, with all that was known when that was planned.

    Before the first one: for that.  Other files than before are welcome, also where the campaign is pinned,
    and what it prints is dropped: nothing of the answer may be kept before somebody has agreed.
    """
    request = planning_request(root, state, "plan")
    earlier = {t: task for t, task in state.tasks.items() if task.iteration < state.iteration}
    folder = root.run_folder(state.workspace, state.run_id)
    return attrs.evolve(
        request,
        state=state.base_state if state.iteration else state.campaign_state,
        results=_results(folder, earlier),
        earlier={task_id: list(task.task.outputs) for task_id, task in earlier.items()},
        code=CodeQuestion(known=state.code),
        log=None,
    )


def _results(folder: RunFolder, tasks: Mapping[TaskId, TaskState]) -> dict[str, Any]:
    return {
        task_id: _result(folder, task)
        for task_id, task in tasks.items()
        if task.status in ENDED_TASKS and not task.is_withdrawn
    }


def _result(folder: RunFolder, task: TaskState) -> dict[str, Any]:
    attempt = task.last_attempt
    path = folder.attempt(task.task.id, attempt.n).path if attempt is not None else None
    return {
        "status": task.status.value,
        "reason": task.reason,
        "exit_code": attempt.exit_code if attempt is not None else None,
        "outputs": [str(path / output.path) for output in task.outputs] if path is not None else [],
        "data": task.data,
    }


def structured_answer(action: str, answer: Any) -> Any:  # noqa: ANN401  JSON
    """A `Workflow` or None from ``plan``, the state from ``analyze``."""
    if action == "plan" and answer is not None:
        return CONVERTER.structure(answer, Workflow)
    return answer
