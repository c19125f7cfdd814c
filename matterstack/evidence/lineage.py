"""Under which versions of its definition, of the config and of the campaign each attempt of a run was made.

All are counted by the events alone, each from 1: a definition from the plan, the config and the campaign from
when the run was made.  What nobody changed takes no room.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final, Self

import attrs

from matterstack.core.ids import TaskId, UtcTime
from matterstack.core.model.workflow import Task
from matterstack.core.run import facts as f
from matterstack.core.run.state import AttemptState, RunState
from matterstack.storage.codec import CONVERTER

FIRST: Final = 1


def definition_text(task: Task) -> str:
    """A definition as JSON, as it stands in a bundle; what is hashed is this."""
    return json.dumps(CONVERTER.unstructure(task))


def text_sha256(text: str | bytes) -> str:
    """SHA-256 of a text, as hexadecimal digits."""
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).hexdigest()


@attrs.frozen(kw_only=True)
class Definition:
    """A version of a task's definition.

    Attributes:
        at: since when it holds; None of what was planned.
        campaign: version of the campaign that gave it; a person's amendment leaves that as it was.
    """

    number: int
    task: Task
    at: UtcTime | None = None
    campaign: int = FIRST


@attrs.frozen(kw_only=True)
class ConfigVersion:
    """A config that a run had, and since when."""

    number: int
    at: UtcTime
    config: Mapping[str, Any]


@attrs.define
class Lineage:
    """All versions of what attempts of a run follow from.

    Attributes:
        configs: all versions, the one that the run was made with first.
        definitions: all versions, the first one first, of tasks that have more than one.
    """

    configs: list[ConfigVersion]
    definitions: dict[TaskId, list[Definition]] = attrs.field(factory=dict)
    _planned_by: dict[TaskId, int] = attrs.field(factory=dict)
    _made_under: dict[tuple[TaskId, int], tuple[int, int]] = attrs.field(factory=dict)

    @classmethod
    def begun(cls, created: f.RunCreated, at: UtcTime) -> Self:
        """That of a run that was just made."""
        return cls([ConfigVersion(number=FIRST, at=at, config=created.config)])

    def take(self, state: RunState, fact: f.Fact, at: UtcTime, before: Task | None, campaign: int) -> None:
        """Take in a fact that was just applied.

        Args:
            before: definition of the task that it is about, as the fact found it.
            campaign: number of the campaign's version that is in use.
        """
        match fact:
            case f.TaskPlanned():
                if campaign != FIRST:
                    self._planned_by[fact.task.id] = campaign
            case f.ConfigAmended():
                self.configs.append(ConfigVersion(number=self.config + 1, at=at, config=fact.config))
            case f.AttemptPrepared():
                under = self.newest(fact.task_id), self.config
                if under != (FIRST, FIRST):
                    self._made_under[fact.task_id, fact.n] = under
            case _ if before is not None and state.tasks[before.id].version != self.newest(before.id):
                self._redefine(state, fact, at, before, campaign)

    def _redefine(self, state: RunState, fact: f.Fact, at: UtcTime, before: Task, campaign: int) -> None:
        """Another definition came from the campaign, unless a person amended the one that was there."""
        planned_by = self._planned_by.get(before.id, FIRST)
        known = self.definitions.setdefault(
            before.id, [Definition(number=FIRST, task=before, campaign=planned_by)]
        )
        by = known[-1].campaign if isinstance(fact, f.TaskAmended) else campaign
        task = state.tasks[before.id].task
        known.append(Definition(number=len(known) + 1, task=task, at=at, campaign=by))

    @property
    def config(self) -> int:
        """Number of the newest config."""
        return len(self.configs)

    def newest(self, task_id: TaskId) -> int:
        """Number of a task's newest definition."""
        return len(self.definitions.get(task_id, ())) or FIRST

    def newest_of(self, state: RunState, task_id: TaskId) -> Definition:
        """The newest definition that a task has."""
        known = self.definitions.get(task_id)
        return known[-1] if known is not None else self._first(state, task_id)

    def _first(self, state: RunState, task_id: TaskId) -> Definition:
        campaign = self._planned_by.get(task_id, FIRST)
        return Definition(number=FIRST, task=state.tasks[task_id].task, campaign=campaign)

    def definition_of(self, state: RunState, attempt: AttemptState) -> Definition:
        """The version of its task's definition that an attempt was made under."""
        number, _ = self._made_under.get((attempt.task_id, attempt.n), (FIRST, FIRST))
        known = self.definitions.get(attempt.task_id)
        if known is not None:
            return known[number - 1]
        return self._first(state, attempt.task_id)

    def config_of(self, attempt: AttemptState) -> int:
        """Number of the config that an attempt was made under."""
        return self._made_under.get((attempt.task_id, attempt.n), (FIRST, FIRST))[1]
