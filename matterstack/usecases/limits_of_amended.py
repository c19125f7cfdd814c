"""Hold the tasks of a run that may run yet against what backends give under another config for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from matterstack.backends.registry import make_backend
from matterstack.core.errors import BackendError, CampaignError, RefusedError
from matterstack.core.ids import BackendName
from matterstack.core.model.workflow import Task, Workflow
from matterstack.core.model.workflow_check import check_limits
from matterstack.core.run.decide_resubmission import about_jobs
from matterstack.core.run.state import RunState
from matterstack.core.states import TaskStatus
from matterstack.storage.layout import Root
from matterstack.usecases.first_plan import probe

_OF_NO_LIMIT: Final = frozenset({"prologue", "prologue_may_fail"})
_TO_BE_SUBMITTED: Final = frozenset({TaskStatus.WAITING, TaskStatus.READY})
_NOT_SUBMITTED_AGAIN: Final = frozenset({TaskStatus.SUCCEEDED, TaskStatus.ACTIVE})


async def check_amended_limits(root: Root, state: RunState, config: Mapping[str, Any]) -> Sequence[str]:
    """Refuse a config under which a task that waits could never run; the other backends are not asked.

    Returns:
        Warnings, a line each: the same of tasks that would only run if they were retried, and of which
        backends the limits are not known.

    Raises:
        RefusedError: names the task, the field, its value and the limit.
    """
    default = config["default_backend"]
    tasks = [task for task in state.tasks.values() if task.status not in _NOT_SUBMITTED_AGAIN]
    jobs = [task for task in tasks if task.task.operator == "compute"]
    names = dict.fromkeys(BackendName(task.task.backend or default) for task in jobs)
    changed = [name for name in names if name in config["backends"] and _is_other(state, config, name)]
    if default != state.config["default_backend"] and default in names and default not in changed:
        changed.append(default)
    if not changed:
        return ()
    try:
        backends = {name: make_backend(name, config["backends"][name], root) for name in changed}
    except BackendError as error:
        return [str(error)]
    limits, warnings = await probe(backends)
    waiting = [task.task for task in jobs if task.status in _TO_BE_SUBMITTED]
    ended = [task.task for task in jobs if task.status not in _TO_BE_SUBMITTED]

    def excess(some: Sequence[Task]) -> str:
        try:
            check_limits(Workflow(some), limits, default)
        except CampaignError as error:
            return str(error)
        return ""

    if problem := excess(waiting):
        raise RefusedError(problem, hint="nothing was changed")
    return [*warnings, *([f"if it is retried: {problem}"] if (problem := excess(ended)) else [])]


def _is_other(state: RunState, config: Mapping[str, Any], name: BackendName) -> bool:
    """Whether a backend may give something else than before."""
    before, after = (
        {
            key: value
            for key, value in about_jobs(one["backends"].get(name, {})).items()
            if key not in _OF_NO_LIMIT
        }
        for one in (state.config, config)
    )
    return before != after
