"""Look at the outputs of jobs that have ended."""

from __future__ import annotations

from collections.abc import Sequence

from matterstack.actors.services import Services
from matterstack.core.errors import InvariantError
from matterstack.core.run.messages import Collected
from matterstack.core.run.state import TaskState
from matterstack.storage.layout import RunFolder
from matterstack.storage.outputs import collect_outputs


async def collect_all(services: Services, folder: RunFolder, tasks: Sequence[TaskState]) -> list[Collected]:
    """Collect what the last attempts of these tasks left behind."""
    return await services.runtime.files(_collect_each, folder, tasks)


def _collect_each(folder: RunFolder, tasks: Sequence[TaskState]) -> list[Collected]:
    return [_collect(folder, task) for task in tasks]


def _collect(folder: RunFolder, task: TaskState) -> Collected:
    attempt = task.last_attempt
    if attempt is None:
        raise InvariantError(f"task {task.task.id} has no attempt to collect from")
    path = folder.attempt(attempt.task_id, attempt.n).path
    given = {*task.task.files, *task.task.inputs}
    try:
        found = collect_outputs(path, task.task.outputs, given)
    except OSError as error:
        problem = f"the attempt's folder cannot be read: {error.strerror or error}"
        return Collected(token=attempt.token, problem=problem)
    return Collected(token=attempt.token, outputs=found.files, data=found.data, problem=found.problem)
