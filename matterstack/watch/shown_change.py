"""What the monitor says that a command would change, as lines over the question whether it may."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

import attrs

from matterstack.core.model.amending import change_in_words
from matterstack.core.run.config_changes import told_change
from matterstack.core.run.facts import ConfigChange
from matterstack.core.run.replan_steps import Step
from matterstack.explain.replanned import replanned_lines
from matterstack.explain.words import count, named

MOST_DIFFERENCES: Final = 8
MOST_NAMED: Final = 60
"""Tasks of a plan to which the same happens: all lines can be read, but not ten thousand names."""
MOST_GROUPS: Final = 100
"""Kinds of these that are told with their differences."""
_OF_PLAN: Final = {
    "new": "new",
    "changed": "changed",
    Step.REDONE: "done again",
    Step.STALE: "stale",
    "gone": "gone",
}
_OF_CONFIG_CHANGE: Final = tuple(field.name for field in attrs.fields(ConfigChange))


@attrs.frozen
class ShownChange:
    """A change that somebody may agree to.

    Attributes:
        basis: by which the monitor knows what it has shown.
        lines: what would change; the last one asks.
    """

    command: str
    run_id: str
    basis: str
    lines: tuple[str, ...]

    @classmethod
    def of(cls, command: str, run_id: str, reply: Mapping[str, Any], run_name: str) -> ShownChange | None:
        """As the monitor has shown it; None where there is nothing to agree to."""
        result = reply["result"]
        match command:
            case "cancel_tasks":
                told = _ending(result, run_name)
            case "amend_config":
                told = _configuring(result, run_name)
            case "replan":
                told = _replanning(result, run_name)
            case _:
                told = _amending(command, result, run_name)
        lines = tuple(told)
        return cls(command, run_id, reply["basis"], lines) if lines else None


def _amending(command: str, result: Mapping[str, Any], run: str) -> Iterator[str]:
    differences = result["differences"]
    if command == "retry":
        then = ", amended before:" if differences else "."
        yield f"{run}: {named(result['selected'])} will be tried again{then}"
    elif differences:
        yield f"{run}: {named(result['tasks'])} will be amended:"
    else:
        yield f"{run}: nothing is amended."
    for difference in differences[:MOST_DIFFERENCES]:
        change = change_in_words(difference["path"], difference["old"], difference["new"])
        yield f"  {change}   ({count(len(difference['tasks']), 'task')})"
    if len(differences) > MOST_DIFFERENCES:
        yield f"  and {len(differences) - MOST_DIFFERENCES} more differences"
    yield from _jobs(result, "; a next attempt is as it says")
    for warning in result["warnings"]:
        yield f"warning: {warning}"
    yield "Try them again?" if command == "retry" else "Change it?"


def _configuring(result: Mapping[str, Any], run: str) -> Iterator[str]:
    if not result["config"]:
        return
    yield f"{run}: its config, from now on:"
    for change in result["config"]:
        known = {name: change[name] for name in _OF_CONFIG_CHANGE if name in change}
        yield f"  {told_change(ConfigChange(**known))}"
    yield from _jobs(result, "")
    yield from result["notes"]
    yield "Change it?"


def _replanning(result: Mapping[str, Any], run: str) -> Iterator[str]:
    yield from replanned_lines(run, result, most_named=MOST_NAMED, most_groups=MOST_GROUPS)
    for warning in result["warnings"]:
        yield f"warning: {warning}"
    # However far somebody has read on: the question says how much there is.
    tasks = result["tasks"]
    counts = Counter(
        task["step"] if task["step"] in {Step.STALE, Step.REDONE} else task["change"] for task in tasks
    )
    told = [f"{counts[name]:,} {words}" for name, words in _OF_PLAN.items() if counts[name]]
    if ended := sum(task["step"] == Step.JOB_ENDED for task in tasks):
        told.append(f"{count(ended, 'job')} ended")
    yield f"Take this plan ({', '.join(told)})?" if told else "Take this plan?"


def _jobs(result: Mapping[str, Any], then: str) -> Iterator[str]:
    """What becomes of jobs that are there already."""
    if result["resubmitted"]:
        yield f"{named(result['resubmitted'])} submitted, and waiting: cancelled and submitted anew"
    if result["running"]:
        yield f"{named(result['running'])} at work now: not touched{then}"
    if result["queued"]:
        yield f"{named(result['queued'])} submitted: keeps what it was submitted with"


def _ending(result: Mapping[str, Any], run: str) -> Iterator[str]:
    tasks = result["tasks"]
    if not tasks:
        return
    live = sum(task["is_live"] for task in tasks)
    with_jobs = f", {live} of them with jobs, which are ended first" if live else ""
    yield f"{run}: {named([task['task_id'] for task in tasks])} will be cancelled{with_jobs}."
    behind = [task["task_id"] for task in tasks if task["because"] is not None]
    if behind:
        yield f"{named(behind)}: since a task before it is"
    yield "The run goes on without them. Cancel them?"
