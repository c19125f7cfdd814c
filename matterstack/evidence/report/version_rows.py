"""Versions of the campaign, of the config and of definitions, for the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import attrs

from matterstack.core.model.amending import change_in_words
from matterstack.core.run.campaign_code import changes_in_words
from matterstack.core.run.facts import Change
from matterstack.core.run.state import AttemptState
from matterstack.core.shown_text import shown
from matterstack.evidence.lineage import Definition
from matterstack.evidence.presentation import View, operator_line
from matterstack.evidence.version_tables import config_place

MOST_DEFINITIONS: Final = 100
"""Rows of the report; `definitions.jsonl` has them all."""


@attrs.frozen(kw_only=True)
class VersionRow:
    """A version of the campaign, and the numbers of the rounds that it planned and analyzed."""

    number: int
    since: str
    what: str
    planned: str
    analyzed: str
    sha256: str
    attempts: int


@attrs.frozen(kw_only=True)
class ConfigRow:
    """A version of the config, and where it is."""

    number: int
    since: str
    sha256: str
    place: str
    attempts: int


@attrs.frozen(kw_only=True)
class DefinitionRow:
    """A version of the definition of a task that had more than one.

    Attributes:
        what: the command, as it was planned; then what was changed.
    """

    task_id: str
    number: int
    since: str
    sha256: str
    what: Sequence[str]
    campaign: int
    attempts: str


def version_rows(view: View) -> Sequence[VersionRow]:
    """One row for each version; none where the campaign was the same all the time."""
    versions = view.history.versions
    if not versions:
        return ()
    first = (1, view.history.state.created_at, "as it was when the run was made")
    later = ((v.number, v.at, changes_in_words(v.files, v.before)) for v in versions)
    rounds = view.history.iterations
    lineage, state = view.history.lineage, view.history.state
    made = Counter(lineage.definition_of(state, attempt).campaign for attempt in view.history.attempts())
    return [
        VersionRow(
            number=number,
            since=since,
            what=what,
            planned=_listed(one.number for one in rounds if number in one.planned_by),
            analyzed=_listed(one.number for one in rounds if one.analyzed_by == number),
            sha256=view.campaign_sha256s[number - 1],
            attempts=made[number],
        )
        for number, since, what in (first, *later)
    ]


def config_rows(view: View) -> Sequence[ConfigRow]:
    """One row for each version of the config; none where it was the same all the time."""
    lineage = view.history.lineage
    if len(lineage.configs) == 1:
        return ()
    made = Counter(lineage.config_of(attempt) for attempt in view.history.attempts())
    return [
        ConfigRow(
            number=one.number,
            since=one.at,
            sha256=view.config_sha256s[one.number - 1],
            place=config_place(view, one.number),
            attempts=made[one.number],
        )
        for one in lineage.configs
    ]


def definition_rows(view: View) -> Iterator[DefinitionRow]:
    """The first definitions of tasks that have had more than one."""
    state, lineage = view.history.state, view.history.lineage
    left = MOST_DEFINITIONS
    values = {
        (task_id, version): changed
        for change in view.history.changes.all
        for (task_id, version), changed in zip(change.tasks.items(), change.values, strict=False)
    }
    for task_id, known in view.history.definitions():
        if left < len(known):
            return
        left -= len(known)
        attempts = state.tasks[task_id].attempts
        for one in known:
            mine = [a.n for a in attempts if lineage.definition_of(state, a).number == one.number]
            yield DefinitionRow(
                task_id=task_id,
                number=one.number,
                since=one.at or "",
                sha256=view.definition_sha256(task_id, one),
                what=[shown(line) for line in _said(one, values.get((task_id, one.number), {}))],
                campaign=one.campaign,
                attempts=_listed(mine) or "none",
            )


def _said(definition: Definition, changed: Mapping[str, Change]) -> list[str]:
    if not changed:
        return [operator_line(definition.task)]
    return [change_in_words(path, one.old, one.new) for path, one in changed.items()]


def versions_told(view: View, attempt: AttemptState) -> str:
    """What an attempt was made under, in words, with the hashes; nothing of a run that nobody changed."""
    if not (view.survey.tells_versions and view.is_changed):
        return ""
    lineage = view.history.lineage
    definition = lineage.definition_of(view.history.state, attempt)
    config = lineage.config_of(attempt)
    return ", ".join(
        f"{what} {number} ({digest[:16]})"
        for what, number, digest in (
            ("definition", definition.number, view.definition_sha256(attempt.task_id, definition)),
            ("config", config, view.config_sha256s[config - 1]),
            ("campaign", definition.campaign, view.campaign_sha256s[definition.campaign - 1]),
        )
    )


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))
