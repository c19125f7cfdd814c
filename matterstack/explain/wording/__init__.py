"""What people are told of each kind of cause: words with names and numbers, and what they can do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from matterstack.explain.causes import Cause, Kind
from matterstack.explain.situation import Situation
from matterstack.explain.wording import backends, jobs, questions, runs
from matterstack.explain.wording.cause_text import CauseWriter, Group


def worded(group: Group, situation: Situation, blocks: int) -> Cause:
    """Put a cause into words."""
    told = _TELLERS[group.key.kind](group, situation)
    return Cause(
        kind=group.key.kind,
        need=told.need,
        since=told.since,
        blocks=blocks,
        message=told.message,
        action=told.action,
        tasks=tuple(task.task_id for task in group.tasks),
        last_words=told.last_words,
    )


_TELLERS: Final[Mapping[Kind, CauseWriter]] = {
    **runs.TELLERS,
    **jobs.TELLERS,
    **questions.TELLERS,
    **backends.TELLERS,
}
