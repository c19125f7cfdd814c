"""When so many tasks of a run end alike that the next ones would, too: the count, and the rule.

Plain values, kept in the state of the run by `matterstack.core.run.apply`, so that they survive a restart.
Counted are tasks that fail for good within seconds of their start, by what they have in common, as soon as
their job has ended: then its seat is free for the next one.  A success puts all counts back to nothing, and
so does a person who resumes, retries or reruns.

Of nodes the run knows those that its own jobs were seen on.  Where some of them have no part in the failures,
all tasks of one node count as one: that node may be broken, and the others go on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

import attrs

from matterstack.core.ids import BackendName, TaskId, Token, UtcTime, utc_moment

WITHIN_S: Final = 30.0
"""What ends so soon after its start has not begun its work: it fails for what it found there."""
MOST_ON_FEW_NODES: Final = 10
"""So many times as many tasks hold the run on however few of its nodes: it would burn all of them there."""
MOST_NAMED: Final = 20
"""How many of the tasks are kept by name."""
MOST_TOLD_APART: Final = 8
"""How many ways to fail are counted; of more, those that came up last."""
MOST_COMMON: Final = 300
"""Characters of a reason that are compared, and shown."""
ONE_MACHINE: Final = frozenset({"local"})
"""Types of backend with one node, whatever that is called when another engine takes the run up."""
_PLAIN_WORDS: Final = frozenset({"", "FAILED", "COMPLETED"})

HasOthers = Callable[[BackendName, "AlikeEnds"], bool]
"""Whether a backend has nodes that have no part in the failures."""


@attrs.define
class AlikeEnds:
    """Tasks that failed alike since the last success.

    Attributes:
        tasks: the first of them, at most `MOST_NAMED`.
        nodes: how many failed on each node of each backend; the name is empty where none is known.
        longest_s: how long the longest of their jobs took.
    """

    tasks: list[TaskId] = attrs.field(factory=list)
    nodes: dict[BackendName, dict[str, int]] = attrs.field(factory=dict)
    longest_s: float = 0.0

    @property
    def total(self) -> int:
        """How many tasks there are, wherever they failed."""
        return sum(sum(on_nodes.values()) for on_nodes in self.nodes.values())

    def counted(self, has_others: HasOthers) -> int:
        """How many count: those of one node as one, as long as its backend has other nodes."""
        count = 0
        for backend, on_nodes in self.nodes.items():
            if has_others(backend, self):
                count += sum(1 if node else number for node, number in on_nodes.items())
            else:
                count += sum(on_nodes.values())
        return count


@attrs.define
class Holding:
    """What of a run decides whether it is held, and whether it is.

    Attributes:
        held: what they had in common for whose sake the engine holds the run; empty: it does not.
        alike: failures since the last success, by what they have in common; the latest stand last.
    """

    held: str = ""
    alike: dict[str, AlikeEnds] = attrs.field(factory=dict)

    def note(self, common: str, task_id: TaskId, backend: BackendName, node: str, took_s: float) -> None:
        """Count one more task that failed within seconds."""
        ends = self.alike.pop(common, None) or AlikeEnds()
        self.alike[common] = ends
        if len(ends.tasks) < MOST_NAMED:
            ends.tasks.append(task_id)
        on_nodes = ends.nodes.setdefault(backend, {})
        on_nodes[node] = on_nodes.get(node, 0) + 1
        ends.longest_s = max(ends.longest_s, took_s)
        if len(self.alike) > MOST_TOLD_APART:
            del self.alike[next(iter(self.alike))]

    def take_back(self, common: str, task_id: TaskId, backend: BackendName, node: str) -> None:
        """It is tried again: leave out what was noted last of a task."""
        ends = self.alike.get(common)
        if ends is None or not ends.nodes.get(backend, {}).get(node):
            return
        if task_id in ends.tasks:
            ends.tasks.remove(task_id)
        on_nodes = ends.nodes[backend]
        on_nodes[node] -= 1
        if not on_nodes[node]:
            del on_nodes[node]
        if not ends.total:
            del self.alike[common]

    def reached(self, most: int, has_others: HasOthers) -> str | None:
        """What so many tasks have in common; None where there are fewer.  With 0 there are never too many."""
        if not most:
            return None
        for common, ends in self.alike.items():
            if ends.total < most:
                continue
            if ends.counted(has_others) >= most or ends.total >= MOST_ON_FEW_NODES * most:
                return common
        return None


def common_of(reason: str, exit_code: int | None, raw_state: str, names: Mapping[str, str]) -> str:
    """What a failure has in common with others like it: its exit code, else its reason.

    Args:
        names: what is the task's own in a reason, and what to say for it.

    >>> common_of("its job ended with exit code 3", 3, "FAILED", {})
    'exit code 3'
    >>> common_of("a.xyz of t1 is missing", 0, "", {"t1": "the task"})
    'a.xyz of the task is missing'
    """
    if exit_code:
        return f"exit code {exit_code}" + (f" ({raw_state})" if raw_state not in _PLAIN_WORDS else "")
    return _replaced(reason, names)[:MOST_COMMON]


def end_in_common(task_id: TaskId, token: Token, reason: str, exit_code: int | None, raw_state: str) -> str:
    """What the end of an attempt has in common with others like it; see `common_of`."""
    return common_of(reason or "its job failed", exit_code, raw_state, _own_names(task_id, token))


def without_own_names(text: str, task_id: TaskId, token: Token, n: int) -> str:
    """A reason, or the last words of a job, without what is the task's own in it.

    >>> without_own_names("/r/tasks/t1/1/job.sh: line 9: module: command not found", "t1", "ms-a", 1)
    'job.sh: line 9: module: command not found'
    """
    text = re.sub(rf"\S*/tasks/{re.escape(task_id)}/{n}/", "", text)
    return _replaced(text, _own_names(task_id, token))


def _own_names(task_id: TaskId, token: Token) -> dict[str, str]:
    return {token: "the attempt", task_id: "the task"}


def _replaced(text: str, names: Mapping[str, str]) -> str:
    for name, word in names.items():
        text = re.sub(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", word, text)
    return text


def seconds_taken(start: UtcTime | None, end: UtcTime | None) -> float | None:
    """How long something took; not less than nothing, whatever two clocks say.  None: nobody knows."""
    if start is None or end is None:
        return None
    return max(0.0, (utc_moment(end) - utc_moment(start)).total_seconds())
