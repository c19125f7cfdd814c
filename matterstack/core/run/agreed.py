"""Hold an amendment to what somebody agreed to: the values that tasks had when it was shown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from matterstack.core.errors import ChangedError
from matterstack.core.ids import TaskId
from matterstack.core.model.amending import told_value
from matterstack.core.run import facts as f

LOOK_AGAIN: Final = "look at what you want to change once more, and give the command again"

Before = Mapping[TaskId, Mapping[str, Any]]
"""What is to be replaced, by task and path; empty where nobody was shown anything."""


def before_of(facts: Iterable[f.Fact]) -> Before:
    """What amendments take the place of: whoever agrees to them has seen that."""
    return {
        fact.task_id: {path: change.old for path, change in fact.changes.items()}
        for fact in facts
        if isinstance(fact, f.TaskAmended)
    }


def require_as_shown(before: Before, facts: Iterable[f.Fact]) -> None:
    """Refuse to replace another value than somebody was shown.

    Raises:
        ChangedError: says which one, of how many tasks.
    """
    if not before:
        return
    others: dict[tuple[str, str], list[TaskId]] = {}
    for task_id, path, words in _others(before, facts):
        others.setdefault((path, words), []).append(task_id)
    for (path, words), tasks in others.items():
        of = f"task {tasks[0]}" + (f" and {len(tasks) - 1} more" if len(tasks) > 1 else "")
        raise ChangedError(f"changed meanwhile: {path} of {of} {words}", hint=LOOK_AGAIN)


def _others(before: Before, facts: Iterable[f.Fact]) -> Iterator[tuple[TaskId, str, str]]:
    for fact in facts:
        if not isinstance(fact, f.TaskAmended):
            continue
        shown = before.get(fact.task_id, {})
        for path, change in fact.changes.items():
            if path not in shown:
                yield fact.task_id, path, f"is {told_value(change.old)}, and was not to change"
            elif shown[path] != change.old:
                yield (
                    fact.task_id,
                    path,
                    f"is {told_value(change.old)}, not {told_value(shown[path])} as was shown",
                )
