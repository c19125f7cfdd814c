"""What was changed of a run while it lived, in order of time, as its events tell it.

One command of a person is one change, of however many tasks: facts of one kind, by one person, for one reason
and of one moment, that follow each other; or all that follows from a plan that was asked for once more.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import attrs

from matterstack.core.ids import TaskId, UtcTime
from matterstack.core.run import facts as f
from matterstack.core.run.state import RunState
from matterstack.core.states import TaskStatus


class ChangeKind(StrEnum):
    """What was changed, or done to the run, in words."""

    AMENDED = "amended"
    CONFIG = "amended the config"
    CAMPAIGN = "took another campaign"
    HELD = "held the run"
    PAUSED = "paused the run"
    RESUMED = "resumed the run"
    CANCELLED = "cancelled"
    CANCELLED_RUN = "asked to cancel the run"
    RETRIED = "retried"
    RERAN = "reran"
    REPLANNED = "planned anew"
    RESUBMITTED = "had jobs submitted anew that had not begun"


DONE_AGAIN: Final = frozenset({ChangeKind.RETRIED, ChangeKind.RERAN})


class Became(StrEnum):
    """What a plan that was asked for once more made of a task whose definition it left as it was."""

    NEW = "new"
    GONE = "gone"
    AGAIN = "done again"


@attrs.define(kw_only=True)
class RunChange:
    """One change, and the tasks that it was of.

    Attributes:
        number: in the order of time, from 1.
        fact: the first one that tells of it.
        tasks: by id, the version that their definitions have since, or where none was changed, how many
            attempts there were.
        values: what was changed of each task, in the same order.
        version: of the config or of the campaign, which it gave.
        behind: tasks among them that were cancelled since they depend on one that was named.
        became: other tasks of a new plan, each with how many attempts there were.
    """

    number: int
    kind: ChangeKind
    at: UtcTime
    by: str
    reason: str
    fact: f.Fact
    tasks: dict[TaskId, int] = attrs.field(factory=dict)
    values: list[Mapping[str, f.Change]] = attrs.field(factory=list)
    version: int = 0
    behind: int = 0
    became: dict[Became, dict[TaskId, int]] = attrs.field(factory=dict)

    def done_again(self) -> Mapping[TaskId, int]:
        """Tasks that were to be tried again with it, and how many attempts each had had."""
        if self.kind in DONE_AGAIN:
            return self.tasks
        return self.became.get(Became.AGAIN, {})


@attrs.define
class RunChanges:
    """All changes of a run so far."""

    all: list[RunChange] = attrs.field(factory=list)
    _is_open: bool = False

    def take(self, state: RunState, fact: f.Fact, at: UtcTime, *, version: int) -> int | None:
        """Take in a fact that is about to be applied; returns the number of the change that it belongs to.

        Args:
            version: which the config or the campaign has with this fact, where it changes one of them.
        """
        change = self.all[-1] if self._is_open else None
        if change is not None and change.at == at and self._goes_on_planning(state, change, fact):
            return change.number
        kind = _kind_of(state, fact)
        if kind is None:
            self._is_open = False
            return None
        by = getattr(fact, "by", "")
        reason = getattr(fact, "reason", "")
        change = self.all[-1] if self._is_open else None
        task_id: TaskId | None = getattr(fact, "task_id", None)
        if change is None or not _goes_on(change, kind, at, by, reason) or task_id in {None, *change.tasks}:
            change = RunChange(
                number=len(self.all) + 1, kind=kind, at=at, by=by, reason=reason, fact=fact, version=version
            )
            self.all.append(change)
        if change.kind is ChangeKind.RETRIED:
            change.kind = kind  # of several tasks that are done again, one that had succeeded is enough
        self._is_open = task_id is not None or kind is ChangeKind.REPLANNED
        if task_id is not None:
            self._add_task(state, change, fact, task_id)
        return change.number

    def _goes_on_planning(self, state: RunState, change: RunChange, fact: f.Fact) -> bool:
        """Whether a fact is a part of a new plan that was taken in just before; it is noted if it is."""
        if change.kind is not ChangeKind.REPLANNED:
            return False
        match fact:
            case f.TaskReplanned():
                change.tasks[fact.task_id] = state.tasks[fact.task_id].version + 1
                contents = {f"the content of files.{name}": one for name, one in fact.contents.items()}
                change.values.append({**fact.changes, **contents})
            case f.TaskPlanned():
                change.became.setdefault(Became.NEW, {})[fact.task.id] = 0
            case f.TaskReopened():
                count = len(state.tasks[fact.task_id].attempts)
                change.became.setdefault(Became.AGAIN, {})[fact.task_id] = count
            case f.TaskWithdrawn():
                count = len(state.tasks[fact.task_id].attempts)
                change.became.setdefault(Became.GONE, {})[fact.task_id] = count
            case f.TaskSkipped() | f.PlanWarned():
                pass
            case _:
                return False
        return True

    def _add_task(self, state: RunState, change: RunChange, fact: f.Fact, task_id: TaskId) -> None:
        task = state.tasks.get(task_id)
        if isinstance(fact, f.TaskAmended):
            change.tasks[task_id] = (task.version if task is not None else 0) + 1
            change.values.append(fact.changes)
        else:
            change.tasks[task_id] = len(task.attempts) if task is not None else 0
            change.behind += getattr(fact, "because", None) is not None


def _goes_on(change: RunChange, kind: ChangeKind, at: UtcTime, by: str, reason: str) -> bool:
    kinds = {change.kind, kind}
    return (len(kinds) == 1 or kinds == DONE_AGAIN) and (change.at, change.by, change.reason) == (
        at,
        by,
        reason,
    )


def is_told(state: RunState, fact: f.TaskCancelled | f.TaskCancelRequested) -> bool:
    """Whether the end of a task is only what a person had asked for before."""
    task = state.tasks.get(fact.task_id)
    if task is None or task.cancellation is None:
        return False
    return task.is_being_cancelled or isinstance(fact, f.TaskCancelled)


def _kind_of(state: RunState, fact: f.Fact) -> ChangeKind | None:
    match fact:
        case f.TaskReopened():
            task = state.tasks.get(fact.task_id)
            had_succeeded = task is not None and task.status is TaskStatus.SUCCEEDED
            return ChangeKind.RERAN if had_succeeded else ChangeKind.RETRIED
        case f.RunPaused():
            return ChangeKind.PAUSED if fact.alike is None else ChangeKind.HELD
        case f.TaskCancelled() | f.TaskCancelRequested():
            return ChangeKind.CANCELLED if fact.by and not is_told(state, fact) else None
        case _:
            return _KINDS.get(type(fact))


_KINDS: Final[Mapping[type[f.Fact], ChangeKind]] = {
    f.TaskAmended: ChangeKind.AMENDED,
    f.ConfigAmended: ChangeKind.CONFIG,
    f.CampaignChanged: ChangeKind.CAMPAIGN,
    f.RunResumed: ChangeKind.RESUMED,
    f.RunCancelRequested: ChangeKind.CANCELLED_RUN,
    f.Replanned: ChangeKind.REPLANNED,
    f.TaskResubmitRequested: ChangeKind.RESUBMITTED,
}
