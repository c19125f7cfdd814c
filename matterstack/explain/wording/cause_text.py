"""What is told of a cause, and what the words of several causes have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, TypeAlias

import attrs

from matterstack.core.ids import JobId, UtcTime
from matterstack.explain.causes import Need
from matterstack.explain.rules import Key
from matterstack.explain.situation import AttemptView, BackendView, Health, Situation, TaskView
from matterstack.explain.words import named

MOST_IN_COMMAND: Final = 8
"""How many names a command for a person may hold; else it names what has them all."""


@attrs.define
class Group:
    """Tasks that a cause holds up directly.  ``bit`` stands for the cause in sets of causes."""

    key: Key
    bit: int
    tasks: list[TaskView] = attrs.field(factory=list)


@attrs.frozen
class CauseText:
    """What is told of a cause, but for what it blocks."""

    need: Need
    since: UtcTime | None
    message: str
    action: str = ""
    last_words: str = ""


CauseWriter: TypeAlias = Callable[[Group, Situation], CauseText]


def attempts_of(group: Group) -> list[AttemptView]:
    """Its attempts, of tasks that have any."""
    return [task.attempt for task in group.tasks if task.attempt is not None]


def jobs_of(group: Group) -> list[JobId]:
    """Ids of the jobs of a group of tasks."""
    return [attempt.job_id for attempt in attempts_of(group) if attempt.job_id is not None]


def earliest(times: Iterable[UtcTime | None]) -> UtcTime | None:
    """The first of these times; None where there is none."""
    return min((at for at in times if at is not None), default=None)


def tasks_of(group: Group) -> str:
    """The tasks of a group by name, a few of them."""
    return named([task.task_id for task in group.tasks])


def are(number: int) -> str:
    """The verb after a number: ``is`` or ``are``."""
    return "is" if number == 1 else "are"


def wait(group: Group) -> str:
    """The verb of a group: ``waits`` or ``wait``."""
    return "waits" if len(group.tasks) == 1 else "wait"


def backend_of(group: Group, situation: Situation) -> BackendView:
    """The backend that it is about."""
    name = group.key.backend
    return next(b for b in situation.context.backends.values() if b.name == name)


def health_of(group: Group, situation: Situation) -> Health:
    """The health of the group's backend."""
    return backend_of(group, situation).health
