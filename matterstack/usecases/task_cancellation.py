"""What a command to cancel some tasks of a run would end."""

from __future__ import annotations

import sqlite3

import attrs

from matterstack.core.ids import RunId, TaskId
from matterstack.core.run.allowed import Standing, require_allowed
from matterstack.core.run.decide_control import cancellations, why_not_cancelled
from matterstack.core.run.messages import CancelTasks
from matterstack.core.run.selection import Selectable, Selection, require_fitting, select
from matterstack.core.states import TaskStatus
from matterstack.storage.read.deleted_runs import no_such_run
from matterstack.storage.snapshot import load_run


@attrs.frozen(kw_only=True)
class ToEnd:
    """A task that would be cancelled.

    Attributes:
        is_live: whether it has a job, or asks somebody, or is about to.
        because: the task that was named, where this one depends on that.
    """

    task_id: TaskId
    is_live: bool
    because: TaskId | None = None


def tasks_to_end(connection: sqlite3.Connection, run_id: RunId, command: CancelTasks) -> list[ToEnd]:
    """Say what would end now: the tasks that are meant, then those that depend on them.

    None of them, where all are cancelled already.

    Raises:
        NotFoundError: there is no such run, a name is none of its tasks, or a pattern fits none.
        RefusedError: not in the run's state, or a task that was named has ended.
    """
    state = load_run(connection, run_id)
    if state is None:
        raise no_such_run(connection, run_id)
    require_allowed(Standing.of(state), "cancel_tasks")
    found = cancellations(state, command)
    # Whoever writes the name of a task that has ended should know; of a pattern, the others are meant.
    selection = Selection(names=tuple(command.tasks))
    selected = select(run_id, [Selectable.of(task) for task in state.tasks.values()], selection)
    require_fitting(selected, selection, why_not_cancelled)
    return [
        ToEnd(task_id=task.task.id, is_live=task.status is TaskStatus.ACTIVE, because=why.because)
        for task, why in found
    ]
