"""Look at what an amendment would change, for every face: nothing is stored before somebody has agreed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import trio

from matterstack.backends.registry import OptionRules, make_backend
from matterstack.core.errors import BackendError, CampaignError, RefusedError, UsageError
from matterstack.core.ids import BackendName, RunId, TaskId, Token
from matterstack.core.model.amending import amended
from matterstack.core.model.resources import Limits
from matterstack.core.model.workflow import Task, Workflow
from matterstack.core.model.workflow_check import check_limits
from matterstack.core.run import facts as f
from matterstack.core.run.agreed import Before, before_of
from matterstack.core.run.allowed import RETRIABLE_TASKS
from matterstack.core.run.decide import decide
from matterstack.core.run.messages import AmendTasks, Retry
from matterstack.core.run.scrubbing import scrubbed
from matterstack.core.run.selection import Selectable, Selection, require_fitting, select
from matterstack.core.run.state import RunState
from matterstack.core.states import JobState, TaskStatus
from matterstack.storage.layout import Root
from matterstack.storage.read.reader import Reader
from matterstack.storage.read.runs import require_run
from matterstack.storage.secret_values import SecretVault
from matterstack.storage.snapshot import load_run
from matterstack.storage.staging import unusable_file
from matterstack.usecases.first_plan import probe


@attrs.frozen(kw_only=True)
class Difference:
    """One value that is to change, of all tasks that have the same now."""

    path: str
    old: Any
    new: Any
    tasks: Sequence[TaskId]

    def as_json(self) -> dict[str, Any]:
        """The object that commands print."""
        return {"path": self.path, "old": self.old, "new": self.new, "tasks": list(self.tasks)}


@attrs.frozen(kw_only=True)
class Amendment:
    """What a command would change of the definitions of tasks, and what it leaves as it is.

    Attributes:
        command: does it, whatever else is changed before it is carried out.
        before: what it replaces.
        selected: all tasks that were meant.
        amended: those of them whose definition changes.
        queued: tasks of these with a job in a queue, which keeps what it was submitted with.
        resubmitted: tasks whose job waits, and is cancelled and submitted anew, with that attempt of each.
        running: tasks that are meant or amended, with a job that runs.
        warnings: what could not be checked.
    """

    run_id: RunId
    command: AmendTasks | Retry
    before: Before
    selected: Sequence[TaskId]
    amended: Sequence[TaskId] = ()
    differences: Sequence[Difference] = ()
    queued: Sequence[TaskId] = ()
    resubmitted: Mapping[TaskId, Token] = attrs.field(factory=dict)
    running: Sequence[TaskId] = ()
    warnings: Sequence[str] = ()

    @property
    def agreed(self) -> AmendTasks | Retry:
        """The command of somebody who was shown this: refused where it would replace other values."""
        return attrs.evolve(self.command, before=self.before)

    def as_json(self) -> dict[str, Any]:
        """The object that commands print."""
        return {
            "selected": list(self.selected),
            "tasks": list(self.amended),
            "differences": [difference.as_json() for difference in self.differences],
            "queued": list(self.queued),
            "resubmitted": list(self.resubmitted),
            "running": list(self.running),
            "warnings": list(self.warnings),
        }


async def preview_amendment(
    reader: Reader,
    run_id: RunId,
    selection: Selection,
    changes: Mapping[str, Any],
    by: str,
    reason: str = "",
    *,
    resubmit: bool = False,
) -> Amendment:
    """What ``run amend`` would change; ``resubmit``: as in `AmendTasks`.

    Raises:
        NotFoundError: no such run, or no task is meant.
        UsageError: nothing was selected.
        RefusedError: a task has succeeded, the run was cancelled, or a task could not be run so.
    """
    state = await reader.read(_load, run_id)
    if selection.is_empty:
        raise UsageError(
            "name the tasks to amend, or say which", hint="such as: --failed, --kind timeout, '*'"
        )
    selected = _select(state, selection)

    def why_not(task: Selectable) -> str | None:
        if task.status is not TaskStatus.SUCCEEDED:
            return None
        rerun = f"matterstack run rerun {run_id} {task.task_id}"
        return f"has SUCCEEDED: its result is that of its definition (to do it again as it is: {rerun})"

    tasks = [task.task_id for task in require_fitting(selected, selection, why_not)]
    command = AmendTasks(
        by=by, tasks=tasks, changes=changes, reason=reason, named=selection.exact, resubmit=resubmit
    )
    return await _preview(reader.root, state, command, tasks)


async def preview_retry(
    reader: Reader, run_id: RunId, selection: Selection, changes: Mapping[str, Any], by: str, reason: str = ""
) -> Amendment:
    """What ``run retry`` would do; an empty selection: all tasks that keep the run from completing.

    Raises:
        NotFoundError: no such run, or no task is meant.
        RefusedError: a task that was named has not failed, or could not be run so; or nothing can be retried.
    """
    state = await reader.read(_load, run_id)
    if selection.is_empty:
        return await _preview(reader.root, state, Retry(by=by, changes=changes, reason=reason), ())

    def why_not(task: Selectable) -> str | None:
        if task.status in RETRIABLE_TASKS:
            return None
        rerun = f"; to do it again all the same: matterstack run rerun {run_id} {task.task_id}"
        return f"is {task.status}, and only failed tasks can be retried" + (
            rerun if task.status is TaskStatus.SUCCEEDED else ""
        )

    tasks = [task.task_id for task in require_fitting(_select(state, selection), selection, why_not)]
    return await _preview(
        reader.root, state, Retry(by=by, tasks=tasks, changes=changes, reason=reason), tasks
    )


def _load(connection: sqlite3.Connection, run_id: RunId) -> RunState:
    require_run(connection, run_id)
    state = load_run(connection, run_id)
    if state is None:
        raise RefusedError(f"run {run_id} is in another root: only its evidence is here")
    return state


def _select(state: RunState, selection: Selection) -> list[Selectable]:
    return select(state.run_id, map(Selectable.of, state.tasks.values()), selection)


async def _preview(
    root: Root, state: RunState, command: AmendTasks | Retry, selected: Sequence[TaskId]
) -> Amendment:
    vault = SecretVault(root)
    await trio.to_thread.run_sync(vault.look_up, state.secrets)
    facts = decide(state, scrubbed(command, vault.search()))
    changed = [fact for fact in facts if isinstance(fact, f.TaskAmended)]
    selected = selected or [fact.task_id for fact in facts if isinstance(fact, f.TaskReopened)]
    new = {fact.task_id: _new(state, fact) for fact in changed}
    _refuse_options(state, new.values())
    await trio.to_thread.run_sync(_refuse_missing_files, root, state, changed, new)
    live = {attempt.task_id: attempt for attempt in state.live.values()}
    anew = {fact.task_id: fact.token for fact in facts if isinstance(fact, f.TaskResubmitRequested)}
    asked = selected if isinstance(command, AmendTasks) and command.resubmit and not command.changes else new
    of_live = [live[task_id] for task_id in asked if task_id in live and task_id not in anew]
    return Amendment(
        run_id=state.run_id,
        command=command,
        before=before_of(changed),
        selected=selected,
        amended=list(new),
        differences=_differences(changed),
        queued=[a.task_id for a in of_live if a.state is not JobState.RUNNING],
        resubmitted=anew,
        running=[a.task_id for a in of_live if a.state is JobState.RUNNING],
        warnings=await _check_limits(root, state, changed, new),
    )


def _new(state: RunState, fact: f.TaskAmended) -> Task:
    return amended(state.tasks[fact.task_id].task, {path: c.new for path, c in fact.changes.items()})


def _differences(facts: Iterable[f.TaskAmended]) -> list[Difference]:
    """One for each path and old value, in the order in which they were given."""
    found: dict[tuple[str, str], tuple[f.Change, list[TaskId]]] = {}
    for fact in facts:
        for path, change in fact.changes.items():
            found.setdefault((path, repr(change)), (change, []))[1].append(fact.task_id)
    return [
        Difference(path=path, old=change.old, new=change.new, tasks=tasks)
        for (path, _), (change, tasks) in found.items()
    ]


def _refuse_options(state: RunState, tasks: Iterable[Task]) -> None:
    rules = OptionRules(
        {name: config["type"] for name, config in state.config["backends"].items()},
        state.config["default_backend"],
    )
    for task in tasks:
        problem = next(iter(rules(task.backend, task.resources)), None) if task.resources.extra else None
        if problem is not None:
            raise RefusedError(f"task {task.id}: resources: extra: {problem}")


def _refuse_missing_files(
    root: Root, state: RunState, facts: Iterable[f.TaskAmended], new: Mapping[TaskId, Task]
) -> None:
    """Files that an amendment names must be there: who names them now has them now.  Blocking."""
    workspace: Path = root.workspaces / state.workspace
    known: dict[str, str] = {}
    for fact in facts:
        if not any(path.partition(".")[0] == "files" for path in fact.changes):
            continue
        before = state.tasks[fact.task_id].task.files
        for name, path in new[fact.task_id].files.items():
            if before.get(name) == path:
                continue
            if str(path) not in known:
                known[str(path)] = unusable_file(str(path), workspace)
            if problem := known[str(path)]:
                raise RefusedError(
                    f"task {fact.task_id}: files: {name!r} cannot be copied from {path}: {problem}"
                )


async def _check_limits(
    root: Root, state: RunState, facts: Iterable[f.TaskAmended], new: Mapping[TaskId, Task]
) -> Sequence[str]:
    """Refuse what a backend can never give; returns why that is not known of some."""
    asked = [new[fact.task_id] for fact in facts if any(map(_is_of_place, fact.changes))]
    jobs = [task for task in asked if task.operator == "compute"]
    names = dict.fromkeys(state.job_backend_of(task) for task in jobs)
    if not names:
        return ()
    limits, warnings = await _limits(root, state, names)
    try:
        check_limits(Workflow(jobs), limits, state.config["default_backend"])
    except CampaignError as error:
        raise RefusedError(str(error), hint="nothing was changed") from None
    return warnings


async def _limits(
    root: Root, state: RunState, names: Iterable[BackendName]
) -> tuple[dict[str, Limits], list[str]]:
    try:
        backends = {name: make_backend(name, state.backend_config(name), root) for name in names}
    except BackendError as error:
        return {}, [str(error)]
    return await probe(backends)


def _is_of_place(path: str) -> bool:
    """Whether a path is about what a backend must give."""
    return path.partition(".")[0] in {"resources", "backend"}


def require_changes(amendment: Amendment) -> None:
    """Refuse an amendment that would change nothing at all.

    Raises:
        RefusedError: every task that is meant has these values already.
    """
    if not amendment.amended and not amendment.resubmitted:
        raise RefusedError("nothing would change: the tasks that are meant have these values already")
