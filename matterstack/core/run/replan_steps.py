"""What a plan that is asked for once more says of each task, beside what it said last time."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final

import attrs

from matterstack.core.errors import RefusedError
from matterstack.core.ids import TaskId
from matterstack.core.model.definition_merge import Clash, differences, merged
from matterstack.core.model.workflow import Task, Workflow
from matterstack.core.run import messages as m
from matterstack.core.run.facts import Change
from matterstack.core.run.state import RunState, TaskState
from matterstack.core.states import TaskStatus

_IN_VAIN: Final = frozenset({TaskStatus.FAILED, TaskStatus.SKIPPED, TaskStatus.CANCELLED})


class Step(StrEnum):
    """What becomes of a task by a plan that was asked for once more."""

    SAME = "same"
    PLANNED = "planned"
    CHANGED = "changed"
    NEXT_ATTEMPT = "next_attempt"
    TRIED_AGAIN = "tried_again"
    REDONE = "redone"
    STALE = "stale"
    BACK = "back"
    STAYS_CANCELLED = "stays_cancelled"
    WITHDRAWN = "withdrawn"
    JOB_ENDED = "job_ended"
    JOB_LEFT = "job_left"
    RESULT_KEPT = "result_kept"


NEW_DEFINITIONS: Final = frozenset(Step) - {
    Step.SAME,
    Step.PLANNED,
    Step.STALE,
    Step.WITHDRAWN,
    Step.JOB_ENDED,
    Step.JOB_LEFT,
    Step.RESULT_KEPT,
}
"""Of tasks that take the definition that the plan gives now, where it is another one."""
_HELD_BACK: Final = {Step.TRIED_AGAIN: Step.CHANGED, Step.REDONE: Step.STALE}
GONE: Final = frozenset({Step.WITHDRAWN, Step.JOB_ENDED, Step.JOB_LEFT, Step.RESULT_KEPT})


@attrs.frozen(kw_only=True)
class ReplannedTask:
    """A task as it was planned last time and as it is now.

    Attributes:
        status: where it stands; None of one that is new.
        planned: what the plan gives; None where it has the task no more.
        task: that with what a person amended on top.
        changes: by path; of an ended task, between that and what its last attempt was made of.
        redefined: by path, between that and what the task was until now.
        is_given_anew: the plan gives something else than last time.
        contents: SHA-256 of files that its last attempt was given and that are others now, by their name.
    """

    task_id: TaskId
    step: Step
    status: TaskStatus | None = None
    planned: Task | None = None
    task: Task | None = None
    changes: Mapping[str, Change] = attrs.field(factory=dict)
    redefined: Mapping[str, Change] = attrs.field(factory=dict)
    is_given_anew: bool = False
    clashes: Sequence[Clash] = ()
    contents: Mapping[str, Change] = attrs.field(factory=dict)

    @property
    def is_defined_anew(self) -> bool:
        """Whether what is known of its definition changes."""
        has_other_files = bool(self.contents) and self.step in {Step.TRIED_AGAIN, Step.REDONE}
        is_back = self.step is Step.BACK and self.status is TaskStatus.ACTIVE
        is_other = bool(self.redefined) or self.is_given_anew or has_other_files or is_back
        return self.step in NEW_DEFINITIONS and is_other

    def as_json(self) -> dict[str, Any]:
        """The object that commands print."""
        change = "new" if self.status is None else "gone" if self.step in GONE else "changed"
        return {
            "task_id": self.task_id,
            "change": change,
            "status": self.status,
            "step": self.step.value,
            "differences": [{"path": path, "old": c.old, "new": c.new} for path, c in self.changes.items()],
            "clashes": [attrs.asdict(clash) | {"takes": self._takes(clash)} for clash in self.clashes],
            "files": [{"name": name, "old": c.old, "new": c.new} for name, c in self.contents.items()],
        }

    def _takes(self, clash: Clash) -> str:
        """Whose value of a clash it is: nothing has changed there where it is the amendment's."""
        return "planned" if clash.path in self.redefined else "amended"


@attrs.frozen(kw_only=True)
class Difference:
    """All tasks that are not as they were, and what follows for others.

    Attributes:
        tasks: in the order of the plan, those that it has no more last.
        same: how many are as they were.
        reopened: ended tasks that get new attempts, those whose definition is the same included.
        skipped: tasks that will not be done, each with one that did not succeed and that it depends on.
    """

    tasks: Sequence[ReplannedTask]
    same: int
    reopened: Sequence[TaskId] = ()
    skipped: Mapping[TaskId, TaskId] = attrs.field(factory=dict)


def difference(
    state: RunState,
    workflow: Workflow,
    contents: Mapping[TaskId, Mapping[str, Change]],
    choices: m.ReplanChoices,
) -> Difference:
    """Compare what the plan gives for the iteration in hand with its tasks.

    Raises:
        RefusedError: what a plan gives and what was amended are no task together.
    """
    planned = {task.id: task for task in workflow.tasks}
    known = {t: task for t, task in state.tasks.items() if task.iteration == state.iteration}
    found = [
        _planned(state, known[task.id], task, contents.get(task.id, {}), choices)
        if task.id in known
        else ReplannedTask(task_id=task.id, step=Step.PLANNED, planned=task, task=task)
        for task in workflow.tasks
    ]
    found += [_gone(task, choices) for t, task in known.items() if t not in planned and _is_left(task)]
    after = _After(state, found)
    reopened, skipped = after.settled(_to_reopen(state, found))
    found = [_that_ends_so(each, set(reopened)) for each in found]
    return Difference(
        tasks=[each for each in found if each.step is not Step.SAME],
        same=sum(each.step is Step.SAME for each in found),
        reopened=reopened,
        skipped=skipped,
    )


def _is_left(task: TaskState) -> bool:
    """Whether there is still something to say of a task that the plan does not have."""
    why = task.cancellation
    return why is None or (task.status is not TaskStatus.CANCELLED and not task.is_being_cancelled)


def _planned(
    state: RunState,
    task: TaskState,
    planned: Task,
    contents: Mapping[str, Change],
    choices: m.ReplanChoices,
) -> ReplannedTask:
    is_given_anew = planned != task.as_planned
    new, clashes = _merged(task, planned, choices) if is_given_anew else (task.task, [])
    redefined = _changes(task.task, new)
    has_result = task.status in {TaskStatus.SUCCEEDED, TaskStatus.FAILED}
    found = ReplannedTask(
        task_id=planned.id,
        step=Step.SAME,
        status=task.status,
        planned=planned,
        task=new,
        changes=_since_made(state, task, planned, new) if has_result else redefined,
        redefined=redefined,
        is_given_anew=is_given_anew,
        clashes=clashes,
        # Of others nothing has come yet, and the next attempt is given what is there then.
        contents=contents if has_result else {},
    )
    return attrs.evolve(found, step=_step(task, found, choices))


def _since_made(state: RunState, task: TaskState, planned: Task, new: Task) -> dict[str, Change]:
    """What differs from that which its last attempt was made of, but for what a person amended since."""
    last = task.last_attempt
    made_of = task.task if last is None else state.definition_of(last)
    if made_of == new:
        return {}
    of_plan = differences(made_of, planned)
    return {path: change for path, change in _changes(made_of, new).items() if path in of_plan}


def _merged(task: TaskState, planned: Task, choices: m.ReplanChoices) -> tuple[Task, list[Clash]]:
    try:
        return merged(task.as_planned, task.task, planned, plan_wins=choices.yes_plan)
    except (ValueError, TypeError) as error:
        raise RefusedError(
            f"task {planned.id}: what was amended does not go with what is planned now: {error}",
            hint="amend it first, or take what is planned: --yes-plan",
        ) from None


def _changes(old: Task, new: Task) -> dict[str, Change]:
    if old == new:
        return {}
    return {path: Change(*values) for path, values in differences(old, new).items()}


def _step(task: TaskState, found: ReplannedTask, choices: m.ReplanChoices) -> Step:
    changes = bool(found.changes or found.contents)
    if task.is_withdrawn or (task.cancellation is not None and task.cancellation.lets_job_end):
        return Step.BACK
    if task.status is TaskStatus.SUCCEEDED:
        if changes and choices.redo_changed:
            return Step.REDONE
        return Step.STALE if changes or found.clashes else Step.SAME
    if not changes and not found.redefined and not found.is_given_anew:
        return Step.SAME
    if task.status is TaskStatus.ACTIVE:
        return Step.NEXT_ATTEMPT
    if task.status is TaskStatus.FAILED and changes:
        return Step.TRIED_AGAIN
    is_cancelled = task.status is TaskStatus.CANCELLED and task.cancellation is not None
    return Step.STAYS_CANCELLED if is_cancelled else Step.CHANGED


def _gone(task: TaskState, choices: m.ReplanChoices) -> ReplannedTask:
    match task.status:
        case TaskStatus.SUCCEEDED:
            step = Step.RESULT_KEPT
        case TaskStatus.ACTIVE:
            step = Step.JOB_ENDED if choices.cancel_gone else Step.JOB_LEFT
        case _:
            step = Step.WITHDRAWN
    return ReplannedTask(task_id=task.task.id, step=step, status=task.status)


def _to_reopen(state: RunState, found: Sequence[ReplannedTask]) -> list[TaskId]:
    """Ended tasks that are to get new attempts, if what they depend on allows it."""
    steps = {each.task_id: each for each in found}
    again = {Step.TRIED_AGAIN, Step.REDONE}
    chosen = [each.task_id for each in found if each.step in again]
    for task_id, task in state.tasks.items():
        each = steps.get(task_id)
        if each is not None and (each.step in again or each.step in GONE):
            continue
        is_back = each is not None and task.is_withdrawn
        is_skipped = each is not None and task.status is TaskStatus.SKIPPED
        with_the_run = task.status is TaskStatus.CANCELLED and task.cancellation is None
        if is_back or is_skipped or with_the_run:
            chosen.append(task_id)
    return chosen


def _that_ends_so(each: ReplannedTask, reopened: Collection[TaskId]) -> ReplannedTask:
    """What another failure holds back as well stays as it is."""
    if each.task_id not in reopened and each.step in _HELD_BACK:
        return attrs.evolve(each, step=_HELD_BACK[each.step])
    return each


@attrs.define
class _After:
    """How the tasks stand when all definitions are as they are now."""

    state: RunState
    found: Sequence[ReplannedTask]
    _tasks: dict[TaskId, Task] = attrs.field(init=False)
    _dependents: dict[TaskId, list[TaskId]] = attrs.field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self._tasks = {task_id: task.task for task_id, task in self.state.tasks.items()}
        for each in self.found:
            if each.task is not None and (each.is_defined_anew or each.status is None):
                self._tasks[each.task_id] = each.task
        for task_id, task in self._tasks.items():
            for dependency in task.dependencies():
                self._dependents.setdefault(dependency, []).append(task_id)

    def settled(self, candidates: Sequence[TaskId]) -> tuple[list[TaskId], dict[TaskId, TaskId]]:
        """Which candidates get new attempts, and which open tasks never will, each with the first cause.

        What would wait for ever is none of the former.
        """
        may_run = dict.fromkeys([*candidates, *self._open()])
        in_vain = self._in_vain().difference(candidates)
        causes: dict[TaskId, TaskId] = {}
        queue = deque(may_run)
        while queue:
            task_id = queue.popleft()
            culprit = next((d for d in self._tasks[task_id].dependencies() if d in in_vain), None)
            if culprit is None or task_id not in may_run:
                continue
            del may_run[task_id]
            causes[task_id] = causes.get(culprit, culprit)
            known = self.state.tasks.get(task_id)
            if known is None or known.status is not TaskStatus.SUCCEEDED:
                in_vain.add(task_id)
                queue.extend(d for d in self._dependents.get(task_id, ()) if d in may_run)
        chosen = set(candidates)
        return (
            [task_id for task_id in candidates if task_id in may_run],
            {task_id: cause for task_id, cause in causes.items() if task_id not in chosen},
        )

    def _open(self) -> list[TaskId]:
        """Tasks that wait for others, or could."""
        gone = {each.task_id for each in self.found if each.step in GONE}
        waiting = {TaskStatus.WAITING, TaskStatus.READY}
        known = [t for t, task in self.state.tasks.items() if task.status in waiting and t not in gone]
        return [*known, *(each.task_id for each in self.found if each.status is None)]

    def _in_vain(self) -> set[TaskId]:
        ended = {each.task_id for each in self.found if each.step in {Step.WITHDRAWN, Step.JOB_ENDED}}
        return ended | {
            task_id
            for task_id, task in self.state.tasks.items()
            if task.is_being_cancelled or (task.status in _IN_VAIN and not self._is_tolerated(task))
        }

    def _is_tolerated(self, task: TaskState) -> bool:
        new = self._tasks[task.task.id]
        return task.status is TaskStatus.FAILED and new.allow_failure and new.operator != "gate"


def seen_of(state: RunState) -> m.Basis:
    """What of a run a plan of its iteration in hand relies on."""
    return m.Basis(config=state.config, tasks={t: _seen(state, task) for t, task in state.tasks.items()})


def _seen(state: RunState, task: TaskState) -> m.Seen:
    if task.iteration < state.iteration:
        return m.Seen(version=task.version, standing=f"{task.status} after {len(task.attempts)} attempts")
    return m.Seen(version=task.version, standing="" if task.cancellation is None else str(task.cancellation))


def changed_since(state: RunState, basis: m.Basis) -> Iterator[str]:
    """What has changed of what a plan relies on, in words, one thing each."""
    now = seen_of(state)
    for task_id, seen in now.tasks.items():
        before = basis.tasks.get(task_id)
        if before is None:
            yield f"task {task_id} was planned"
        elif before.version != seen.version:
            yield f"task {task_id} was amended or planned anew"
        elif before.standing != seen.standing:
            yield f"task {task_id} is {seen.standing or 'not cancelled any more'}"
