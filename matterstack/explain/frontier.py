"""From a situation to its root causes: pure, and linear in tasks and dependencies."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import attrs

from matterstack.core.ids import TaskId
from matterstack.core.states import RunStatus, TaskStatus
from matterstack.explain.causes import Cause, Kind
from matterstack.explain.rules import OTHERS, Key, TaskRules, failure, is_hard_failure, run_causes
from matterstack.explain.situation import UNFINISHED, Situation, TaskView
from matterstack.explain.wording import worded
from matterstack.explain.wording.cause_text import Group

MOST_ALIKE: Final = 50
"""How many causes of one kind are told apart; the others of that kind are one cause.

It bounds the size of the sets that go from task to task, and what a person has to read.
"""
_KINDS: Final = list(Kind)


@attrs.frozen
class Frontier:
    """Why a run does not go on: its root causes, the most important one first."""

    causes: tuple[Cause, ...]
    _bits: tuple[int, ...]
    _masks: Mapping[TaskId, int]

    def causes_of(self, task_id: TaskId) -> list[Cause]:
        """What one task waits for, directly or through others; nothing, when it has ended."""
        mask = self._masks.get(task_id, 0)
        return [cause for cause, bit in zip(self.causes, self._bits, strict=True) if mask & bit]


@attrs.define
class _Groups:
    """The causes found so far; each has a bit, of which the sets of causes are made."""

    groups: dict[Key, Group] = attrs.field(factory=dict)
    _alike: Counter[Kind] = attrs.field(factory=Counter)

    def of(self, key: Key) -> Group:
        group = self.groups.get(key)
        if group is not None:
            return group
        if self._alike[key.kind] >= MOST_ALIKE and key.detail not in {"", OTHERS}:
            return self.of(Key(key.kind, key.backend, OTHERS))
        self._alike[key.kind] += 1
        group = self.groups[key] = Group(key, 1 << len(self.groups))
        return group


def get_run_frontier(situation: Situation) -> Frontier:
    """Walk back from every unfinished task to its root causes.

    A task that waits for several causes counts for each of them.  Tasks that were skipped because another
    one failed count for that failure: they are not done, and would be if it were mended.
    """
    groups = _Groups()
    own, sources = _found(situation, groups)
    masks = _spread(situation, groups, own, sources)
    blocks: Counter[int] = Counter()
    for mask, number in Counter(masks.values()).items():
        for bit in _bits_of(mask):
            blocks[bit] += number
    causes = [(worded(g, situation, blocks[g.bit]), g.bit) for g in groups.groups.values()]
    causes.sort(key=lambda pair: _importance(pair[0]))
    return Frontier(tuple(c for c, _ in causes), tuple(bit for _, bit in causes), masks)


def _importance(cause: Cause) -> tuple[int, int, int, int, str]:
    return (cause.need, -cause.blocks, _KINDS.index(cause.kind), -len(cause.tasks), cause.since or "")


def _found(situation: Situation, groups: _Groups) -> tuple[dict[TaskId, int], dict[TaskId, int]]:
    """The causes that each unfinished task has by itself, and those that failed tasks are for others."""
    of_run = [(groups.of(key), blocks) for key, blocks in run_causes(situation)]
    rules = TaskRules(situation)
    own: dict[TaskId, int] = {}
    sources: dict[TaskId, int] = {}
    for task in situation.tasks:
        if is_hard_failure(task) and situation.run.status is not RunStatus.CANCELLED:
            group = groups.of(failure(task, situation.run))
            if group.key.kind is Kind.TASK_FAILED:
                group.tasks.append(task)
            sources[task.task_id] = group.bit
        elif task.status in UNFINISHED:
            mask = 0
            for group, blocks in of_run:
                if blocks(task):
                    mask |= group.bit
                    group.tasks.append(task)
            for key in rules.causes(task):
                group = groups.of(key)
                mask |= group.bit
                group.tasks.append(task)
            own[task.task_id] = mask
    return own, sources


def _spread(
    situation: Situation, groups: _Groups, own: Mapping[TaskId, int], sources: Mapping[TaskId, int]
) -> dict[TaskId, int]:
    """Hand the causes on from each task to those that depend on it; returns those of every task."""
    failures = sum({bit: bit for bit in sources.values()})
    masks: dict[TaskId, int] = {}
    for task in _in_order(situation.tasks):
        inherited = 0
        if task.status in {TaskStatus.WAITING, TaskStatus.SKIPPED}:
            for need in task.needs:
                inherited |= masks.get(need, 0) | sources.get(need, 0)
        if task.status is TaskStatus.SKIPPED:
            masks[task.task_id] = inherited & failures
        elif task.status in UNFINISHED:
            mask = own[task.task_id] | inherited
            if not mask:
                group = groups.of(Key(Kind.WAITS_IN_VAIN))
                group.tasks.append(task)
                mask = group.bit
            masks[task.task_id] = mask
    return {task_id: mask for task_id, mask in masks.items() if mask}


def _in_order(tasks: Sequence[TaskView]) -> Iterator[TaskView]:
    """Each task after those that it depends on.  (A workflow has no cycles: that was checked.)"""
    by_id = {task.task_id: task for task in tasks}
    unmet = {task.task_id: sum(need in by_id for need in task.needs) for task in tasks}
    dependents: dict[TaskId, list[TaskId]] = {}
    for task in tasks:
        for need in task.needs:
            if need in by_id:
                dependents.setdefault(need, []).append(task.task_id)
    queue = deque(task_id for task_id, number in unmet.items() if not number)
    while queue:
        task_id = queue.popleft()
        yield by_id[task_id]
        for dependent in dependents.get(task_id, ()):
            unmet[dependent] -= 1
            if not unmet[dependent]:
                queue.append(dependent)


def _bits_of(mask: int) -> Iterator[int]:
    while mask:
        bit = mask & -mask
        yield bit
        mask ^= bit
