"""What a campaign plans now beside what it planned last time, in words, from what commands print as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from matterstack.core.model.amending import change_in_words, told_value
from matterstack.core.run.campaign_code import changes_in_words
from matterstack.core.run.replan_steps import GONE, Step
from matterstack.explain.words import count

Json = Mapping[str, Any]

_SHA_LETTERS: Final = 8
_WHAT: Final[Mapping[str, str]] = {
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


def replanned_lines(
    run: str, plan: Json, *, most_named: int, most_groups: int | None = None
) -> Iterator[str]:
    """Tell task by task what would become of a run; of tasks to which the same happens, together.

    Args:
        run: what the run is called.
        plan: what ``run replan --json`` prints under ``replanned``.
        most_named: of tasks together; how many more there are is told.
        most_groups: of these, each with its differences; of all others it is told how many there are of a
            kind. None: all.
    """
    files = {each["path"]: each["old"] for each in plan["campaign"]}
    known = [path for path, old in files.items() if old is not None]
    campaign = changes_in_words(files, known) if files else "the campaign is as it was"
    if not plan["iteration"]:
        yield f"{run}: nothing has been planned yet ({campaign})"
        yield "  the campaign is asked again, as it is now"
        return
    yield f"{run}: iteration {plan['iteration']} as it is planned now ({campaign})"
    tasks = plan["tasks"]
    groups = _alike(tasks)
    for group in groups[:most_groups]:
        yield f"  {_named([each['task_id'] for each in group], most_named)}: {_what(group[0])}"
        yield from (f"    {line}" for line in _changes(group[0]))
    if most_groups is not None and len(groups) > most_groups:
        others = [each for group in groups[most_groups:] for each in group]
        yield f"  and {count(len(others), 'more task')}, each with differences of its own:"
        for what, number in Counter(map(_what, others)).items():
            yield f"    {count(number, 'task')}: {what}"
    told = {each["task_id"] for each in tasks}
    if again := [task_id for task_id in plan["reopened"] if task_id not in told]:
        yield f"  {_named(again, most_named)}: as planned before, and to be done after all"
    if plan["skipped"]:
        skipped = _named(plan["skipped"], most_named)
        yield f"  {skipped}: skipped, since what it depends on did not succeed"
    yield f"  {count(plan['same'], 'task')} as planned before"
    if tasks and not plan["same"] and _is_all_new(tasks):
        yield "  no task has the name that it had: if they were only renamed, all is done once more"
    if plan["reopens_run"]:
        yield "  the run goes on"


def _what(task: Json) -> str:
    step: str = task["step"]
    return _WHAT.get(step, f"{task['change']}: {step}")  # a newer monitor may know of more


def _is_all_new(tasks: Iterable[Json]) -> bool:
    steps = {each["step"] for each in tasks}
    return Step.PLANNED in steps and steps <= GONE | {Step.PLANNED} and bool(steps & GONE)


def _alike(tasks: Iterable[Json]) -> list[list[Json]]:
    groups: dict[tuple[str, ...], list[Json]] = {}
    for each in tasks:
        groups.setdefault((each["step"], *_changes(each)), []).append(each)
    return list(groups.values())


def _changes(task: Json) -> list[str]:
    """A line for each value that changes, or that two people see differently."""
    lines = [change_in_words(each["path"], each["old"], each["new"]) for each in task["differences"]]
    lines += [
        f"files.{each['name']}: the content has changed ({_sha(each['old'])} -> {_sha(each['new'])})"
        for each in task["files"]
    ]
    for clash in task["clashes"]:
        is_plan = clash["takes"] == "planned"
        taken = "the plan's is taken" if is_plan else "the amendment's stays (--yes-plan)"
        amended, planned = told_value(clash["amended"]), told_value(clash["planned"])
        lines.append(f"clash: {clash['path']}: {amended} was amended, {planned} is planned now: {taken}")
    return lines


def _sha(digest: str | None) -> str:
    return "nothing" if digest is None else digest[:_SHA_LETTERS]


def _named(names: Sequence[str], most: int) -> str:
    first = ", ".join(names[:most])
    return first if len(names) <= most else f"{first} and {len(names) - most:,} more"
