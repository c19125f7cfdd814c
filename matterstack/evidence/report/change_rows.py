"""What was changed of a run, for the report: one row a change, of however many tasks that is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Final

import attrs

from matterstack.core.ids import TaskId
from matterstack.core.model.amending import change_in_words
from matterstack.core.run import facts as f
from matterstack.core.run.config_changes import told_change
from matterstack.core.run.state import AttemptState
from matterstack.core.shown_text import shown
from matterstack.evidence.history import Note
from matterstack.evidence.presentation import View
from matterstack.evidence.run_changes import Became, ChangeKind, RunChange

MOST_ROWS: Final = 300
"""Changes that the report shows, the first ones; `changes.csv` has them all."""
MOST_NAMED: Final = 5
MOST_VALUES: Final = 8


@attrs.frozen(kw_only=True)
class ChangeRow:
    """A change as a row in words; ``under``: which attempts were made under it."""

    number: int
    at: str
    what: str
    values: Sequence[str]
    by: str
    reason: str
    under: str


def change_rows(view: View) -> list[ChangeRow]:
    """The first changes, each with the attempts that were made under it."""
    changes = view.history.changes.all[:MOST_ROWS]
    if not changes:
        return []
    made = _MadeUnder(view)
    return [
        ChangeRow(
            number=change.number,
            at=change.at,
            what=shown(_what(change)),
            values=[shown(value) for value in _values(change)],
            by=shown(change.by),
            reason=shown(change.reason),
            under=shown(made.of(change)),
        )
        for change in changes
    ]


def notes_told(view: View) -> list[Note]:
    """What happened to the run; a change of many tasks is one line, but in older bundles."""
    notes = view.history.notes
    if not view.survey.tells_versions:
        return notes
    told: list[Note] = []
    for number, group in groupby(notes, key=lambda note: note.change):
        alike = [*group]
        if number is not None and len(alike) > 1:
            alike = [attrs.evolve(alike[0], what=_what(view.history.changes.all[number - 1]))]
        told += (attrs.evolve(note, what=shown(note.what)) for note in alike)
    return told


def _what(change: RunChange) -> str:
    match change.fact:
        case f.TaskAmended():
            versions = set(change.tasks.values())
            which = f"version {versions.pop()}" if len(versions) == 1 else "a further version"
            whose = "its definition" if len(change.tasks) == 1 else "their definitions"
            return f"amended {_tasks(change.tasks)}, which gave {which} of {whose}"
        case f.ConfigAmended():
            return f"{change.kind}, which gave version {change.version} of it"
        case f.CampaignChanged(action=action, iteration=iteration):
            return f"{change.kind}, version {change.version}, to {action} round {iteration}"
        case f.RunPaused(alike=alike) if alike is not None:
            return (
                f"{change.kind}, since {alike.count} tasks failed alike ({_named(alike.tasks, alike.count)})"
            )
        case f.TaskReopened():
            return f"{change.kind} {_tasks(change.tasks)}"
        case f.TaskResubmitRequested():
            return f"{change.kind}: {_tasks(change.tasks)}"
        case f.Replanned(iteration=iteration):
            return f"{change.kind} round {iteration}: {_replanned(change)}"
        case f.TaskCancelled() | f.TaskCancelRequested():
            behind = f", {change.behind} of them since they depend on others" if change.behind else ""
            return f"{change.kind} {_tasks(change.tasks)}{behind}"
        case _:
            return change.kind


def _replanned(change: RunChange) -> str:
    parts = {"changed": change.tasks, **{became.value: tasks for became, tasks in change.became.items()}}
    told = (f"{len(tasks)} {how} ({_named([*tasks], len(tasks))})" for how, tasks in parts.items() if tasks)
    return ", ".join(told) or "nothing of its tasks changed"


def _tasks(tasks: Iterable[TaskId]) -> str:
    ids = [*tasks]
    return ids[0] if len(ids) == 1 else f"{len(ids)} tasks ({_named(ids, len(ids))})"


def _named(names: Sequence[str], count: int) -> str:
    first = ", ".join(names[:MOST_NAMED])
    return first if count <= MOST_NAMED else f"{first} and {count - min(MOST_NAMED, len(names))} more"


def _values(change: RunChange) -> list[str]:
    """What was, and what is since."""
    fact = change.fact
    if isinstance(fact, f.ConfigAmended):
        lines = [told_change(one) for one in fact.changes]
    elif isinstance(fact, f.CampaignChanged):
        lines = [_file(path, fact.before.get(path), digest) for path, digest in fact.files.items()]
    else:
        lines = [*_values_of_tasks(change.values)]
    more = [f"and {len(lines) - MOST_VALUES} more"] if len(lines) > MOST_VALUES else []
    return [*lines[:MOST_VALUES], *more]


def _file(path: str, old: str | None, new: str) -> str:
    return f"{path}: {old[:16] if old else 'not there'} -> {new[:16]}"


def _values_of_tasks(values: Sequence[Mapping[str, f.Change]]) -> Iterator[str]:
    """What changed in the same way once, with the number of tasks where that is not all of them."""
    counts = Counter(
        change_in_words(path, one.old, one.new) for changes in values for path, one in changes.items()
    )
    for line, count in counts.items():
        some = f" ({count} {'task' if count == 1 else 'tasks'})"
        yield line + ("" if count == len(values) else some)


class _MadeUnder:
    """Attempts by what they were made under."""

    def __init__(self, view: View) -> None:
        self._state = view.history.state
        self._lineage = view.history.lineage
        self._by_config: dict[int, list[AttemptState]] = {}
        self._by_campaign: dict[int, list[AttemptState]] = {}
        for attempt in view.history.attempts():
            definition = self._lineage.definition_of(self._state, attempt)
            self._by_config.setdefault(self._lineage.config_of(attempt), []).append(attempt)
            self._by_campaign.setdefault(definition.campaign, []).append(attempt)
        self._next = _next_times(view.history.changes.all)

    def of(self, change: RunChange) -> str:
        """Which were made under a change, in words; nothing where that is no question."""
        match change.kind:
            case ChangeKind.AMENDED:
                return _listed(self._as_defined(change.tasks))
            case ChangeKind.CONFIG:
                return _listed(self._by_config.get(change.version, ()))
            case ChangeKind.CAMPAIGN:
                return _listed(self._by_campaign.get(change.version, ()))
            case ChangeKind.RETRIED | ChangeKind.RERAN:
                return _listed(self._since(change, change.tasks))
            case ChangeKind.RESUBMITTED:
                return _listed(self._since(change, change.tasks))
            case ChangeKind.REPLANNED:
                new = change.became.get(Became.NEW, {})
                others = {t: n for t, n in change.done_again().items() if t not in change.tasks}
                return _listed(
                    [*self._as_defined(change.tasks), *self._since(change, new), *self._since(change, others)]
                )
            case _:
                return ""

    def _as_defined(self, versions: Mapping[TaskId, int]) -> Iterator[AttemptState]:
        """Attempts with these versions of their tasks' definitions."""
        for task_id, version in versions.items():
            for attempt in self._state.tasks[task_id].attempts:
                if self._lineage.definition_of(self._state, attempt).number == version:
                    yield attempt

    def _since(self, change: RunChange, counts: Mapping[TaskId, int]) -> Iterator[AttemptState]:
        """Attempts after so many of their tasks, until these were to be done again once more."""
        for task_id, count in counts.items():
            attempts = self._state.tasks[task_id].attempts
            yield from attempts[count : self._next.get((change.number, task_id))]


def _next_times(changes: Sequence[RunChange]) -> dict[tuple[int, TaskId], int]:
    """Of each change of a task, how many attempts there were when it was next to be done again."""
    later: dict[TaskId, int] = {}
    found: dict[tuple[int, TaskId], int] = {}
    for change in reversed(changes):
        again = change.done_again()
        for task_id in (*again, *change.tasks, *change.became.get(Became.NEW, ())):
            if task_id in later:
                found[change.number, task_id] = later[task_id]
        later |= again
    return found


def _listed(attempts: Iterable[AttemptState]) -> str:
    found = [*attempts]
    if not found:
        return "none"
    return _named([f"{a.task_id} (attempt {a.n})" for a in found[:MOST_NAMED]], len(found))
