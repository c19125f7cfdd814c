"""Show what a campaign plans now beside what it planned last time, and ask whether it may be taken."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

import asyncclick as click

from matterstack.cli.amend_dialog import require_consent
from matterstack.core.model.amending import change_in_words
from matterstack.core.run.campaign_code import changes_in_words
from matterstack.core.run.replan_steps import GONE, Step
from matterstack.core.shown_text import shown_lines
from matterstack.explain.words import count

if TYPE_CHECKING:
    from matterstack.core.run.replan_steps import ReplannedTask
    from matterstack.usecases.replanning import Replanning

_MOST_NAMED: Final = 6
_SHA_LETTERS: Final = 8
_WHAT: Final = {
    Step.PLANNED: "new",
    Step.CHANGED: "changed",
    Step.NEXT_ATTEMPT: "changed; at work now: not touched, a next attempt is as it says",
    Step.TRIED_AGAIN: "changed; failed: tried again",
    Step.REDONE: "changed; succeeded: done again",
    Step.STALE: "stale: succeeded with another definition, and stays (--redo-changed does it again)",
    Step.BACK: "planned again, after it was withdrawn",
    Step.STAYS_CANCELLED: "changed; cancelled by name: stays so",
    Step.WITHDRAWN: "gone: withdrawn",
    Step.JOB_ENDED: "gone: its job is ended",
    Step.JOB_LEFT: "gone: its job goes on, and no other follows (--cancel-gone ends it)",
    Step.RESULT_KEPT: "gone: succeeded, and its result stays",
}


def agree(*, yes: bool, as_json: bool) -> None:
    """Return when the plan may be taken.

    Raises:
        UsageError: nobody said so, and there is nobody to ask.
        RefusedError: somebody said no.
    """
    require_consent("Take this plan?", yes=yes, as_json=as_json)


def show(found: Replanning) -> None:
    """What is planned now beside what was, task by task; those together to which the same happens."""
    for line in _lines(found):
        click.echo(shown_lines(line))
    for warning in found.warnings:
        click.echo(shown_lines(f"warning: {warning}"), err=True)


def _lines(found: Replanning) -> Iterator[str]:
    old = [path for path, change in found.campaign.items() if change.old is not None]
    campaign = changes_in_words(found.campaign, old) if found.campaign else "the campaign is as it was"
    if found.found is None:
        yield f"run {found.run_id}: nothing has been planned yet ({campaign})"
        yield "  the campaign is asked again, as it is now"
        return
    yield f"run {found.run_id}: iteration {found.command.iteration} as it is planned now ({campaign})"
    for tasks in _alike(found.tasks):
        yield f"  {_named([each.task_id for each in tasks])}: {_WHAT[tasks[0].step]}"
        yield from (f"    {line}" for line in _changes(tasks[0]))
    also = set(found.found.reopened) - {each.task_id for each in found.tasks}
    if also:
        again = [task_id for task_id in found.found.reopened if task_id in also]
        yield f"  {_named(again)}: as planned before, and to be done after all"
    if found.found.skipped:
        yield f"  {_named(list(found.found.skipped))}: skipped, since what it depends on did not succeed"
    yield f"  {count(found.found.same, 'task')} as planned before"
    if found.tasks and not found.found.same and _is_all_new(found.tasks):
        yield "  no task has the name that it had: if they were only renamed, all is done once more"
    if found.reopens:
        yield "  the run goes on"


def _is_all_new(tasks: Iterable[ReplannedTask]) -> bool:
    steps = {each.step for each in tasks}
    return Step.PLANNED in steps and steps <= GONE | {Step.PLANNED} and bool(steps & GONE)


def _alike(tasks: Iterable[ReplannedTask]) -> list[list[ReplannedTask]]:
    groups: dict[tuple[str, str], list[ReplannedTask]] = {}
    for each in tasks:
        groups.setdefault((each.step.value, repr(_changes(each))), []).append(each)
    return list(groups.values())


def _changes(each: ReplannedTask) -> list[str]:
    """A line for each value that changes, or that two people see differently."""
    lines = [change_in_words(path, change.old, change.new) for path, change in each.changes.items()]
    lines += [
        f"files.{name}: the content has changed ({_sha(change.old)} -> {_sha(change.new)})"
        for name, change in each.contents.items()
    ]
    for clash in each.clashes:
        words = change_in_words(clash.path, clash.amended, clash.planned).replace(" -> ", " was amended, ", 1)
        taken = (
            "the plan's is taken" if clash.path in each.redefined else "the amendment's stays (--yes-plan)"
        )
        lines.append(f"clash: {words} is planned now: {taken}")
    return lines


def _sha(digest: str | None) -> str:
    return "nothing" if digest is None else digest[:_SHA_LETTERS]


def _named(names: Sequence[str]) -> str:
    first = ", ".join(names[:_MOST_NAMED])
    return first if len(names) <= _MOST_NAMED else f"{first} and {len(names) - _MOST_NAMED:,} more"
