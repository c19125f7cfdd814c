"""The decision to hold a run whose tasks fail alike, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from matterstack.core.ids import TaskId
from matterstack.core.run import facts as f
from matterstack.core.run.holding import MOST_COMMON, without_own_names
from matterstack.core.run.state import RunState

ENGINE: Final = "the engine"
"""By whom a run is paused that nobody paused."""
MOST_IN_REASON: Final = 160
"""Characters of the last line that they share."""
MOST_NODES_NAMED: Final = 5


def decide_hold(state: RunState) -> list[f.Fact]:
    """Pause the run, if too many of its tasks failed alike and there are more that would."""
    common = state.to_be_held_for
    if not common:
        return []
    ends = state.holding.alike[common]
    nodes = tuple(sorted({node for on_nodes in ends.nodes.values() for node in on_nodes if node}))
    alike = f.AlikeFailures(
        common=common,
        tasks=tuple(ends.tasks),
        count=ends.total,
        nodes=nodes,
        last_words=_shared_end([_last_words(state, task_id) for task_id in ends.tasks]),
        reason=_shared_reason(state, ends.tasks, common),
    )
    return [f.RunPaused(by=ENGINE, reason=_reason(alike), alike=alike)]


def _reason(alike: f.AlikeFailures) -> str:
    said = [] if alike.reason else alike.last_words.splitlines()[-1:]
    told = f", the last line {said[0].strip()[:MOST_IN_REASON]!r}" if said else ""
    return (
        f"{alike.count} tasks failed alike within seconds of their start, and none succeeded in between: "
        f"{alike.told}{told}{_where(alike.nodes)}"
    )


def _where(nodes: Sequence[str]) -> str:
    if not nodes:
        return ""
    more = f" and {len(nodes) - MOST_NODES_NAMED} more" if len(nodes) > MOST_NODES_NAMED else ""
    return f" (on {', '.join(nodes[:MOST_NODES_NAMED])}{more})"


def _last_words(state: RunState, task_id: TaskId) -> str:
    attempt = state.tasks[task_id].last_attempt
    if attempt is None:
        return ""
    return without_own_names(attempt.last_words, task_id, attempt.token, attempt.n)


def _shared_reason(state: RunState, task_ids: Sequence[TaskId], common: str) -> str:
    """Why all of them failed, where that says more than what is counted."""
    reasons = set()
    for task_id in task_ids:
        task, attempt = state.tasks[task_id], state.tasks[task_id].last_attempt
        if attempt is not None:
            reason = task.reason or attempt.reason
            reasons.add(without_own_names(reason, task_id, attempt.token, attempt.n)[:MOST_COMMON])
    shared = reasons.pop() if len(reasons) == 1 else ""
    return "" if common in shared else shared


def _shared_end(texts: Sequence[str]) -> str:
    r"""The last lines that all of them end with.

    >>> _shared_end(["job 1\nno module\nstop", "job 2\nno module\nstop"])
    'no module\nstop'
    """
    shared: list[str] = []
    for lines in zip(*(reversed(text.splitlines()) for text in texts), strict=False):
        if len(set(lines)) > 1:
            break
        shared.append(lines[0])
    return "\n".join(reversed(shared))
