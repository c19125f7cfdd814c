"""Events as one line of words each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from matterstack.core.last_words import closing
from matterstack.core.model.amending import change_in_words
from matterstack.core.operators import ASKED
from matterstack.core.run.campaign_code import changes_in_words
from matterstack.core.run.config_changes import told_changes

MOST_LENGTH: Final = 300

_RUN: Final = {
    "RunStarted": "the run was taken up",
    "AboutChanged": "what the run is about was said anew",
    "RunCompleted": "the run is COMPLETED",
    "RunCancelled": "the run is CANCELLED",
    "RunFailed": "the run is FAILED",
    "RunPaused": "the run was paused",
    "RunResumed": "the run was resumed",
    "RunReopened": "the run was reopened",
    "RunCancelRequested": "the run is being cancelled",
    "RunFailureRequested": "the run ends its jobs",
    "IterationAnalyzed": "the results were analyzed",
}
_TASK: Final = {
    "TaskReopened": "is to be done again",
    "TaskSucceeded": "SUCCEEDED",
    "TaskFailed": "FAILED",
    "TaskRetried": "is tried again",
    "TaskCancelled": "CANCELLED",
    "TaskSkipped": "SKIPPED",
    "TaskCancelRequested": "is being cancelled",
    "TaskResubmitRequested": "is to be submitted anew, if its job has not begun,",
    "TaskResubmitted": "was given up before it began, to be submitted anew",
    "TaskResubmitMissed": "has begun before it could be submitted anew: it goes on as it was submitted",
    "SubmissionRefused": "its job was not taken",
    "SubmissionWithdrawn": "its job was given up before it was submitted",
    "TaskWithdrawn": "is planned no more, and was withdrawn",
}
_WITH_ANOTHER: Final = frozenset({"TaskCancelled", "TaskCancelRequested"})
_TOLD: Final = frozenset({"task_id", "token", "by", "reason", "last_words"})


def sentence(event: Mapping[str, Any], task_id: str | None) -> str:
    """What an event says; not yet fit for a terminal (see `matterstack.watch.text.clean`).

    Args:
        task_id: the task that it is about, where that is known.
    """
    kind, data = event["type"], event["data"]
    if kind == "RunCreated":
        words = f"the run was made from {data['workspace']}"
    elif kind == "EventsLost":
        words = f"what happened until {data['until']} is lost: the store was put back from a backup"
    elif kind == "RunDeleted":
        word = "forgotten" if data.get("forgotten") else "deleted"
        words = f"the run was {word} with its {data['events']} events"
    elif kind == "IterationPlanned":
        name = f" ({data['name']})" if data.get("name") else ""
        words = f"round {data['iteration']}{name} was planned: {data['task_count']} tasks"
    elif kind == "Replanned":
        name = f" ({data['name']})" if data.get("name") else ""
        words = f"round {data['iteration']}{name} was planned anew, with {data['task_count']} tasks,"
    elif kind == "PlanWarned":
        words = f"round {data['iteration']} has a warning: {'; '.join(data['warnings'])}"
    elif kind == "ConfigAmended":
        words = f"the config was amended ({told_changes(data['changes'])})"
    elif kind == "CampaignChanged":
        asked = "planned" if data["action"] == "plan" else "analyzed"
        changes = changes_in_words(data["files"], data.get("before", {}))
        words = f"the campaign has changed: {changes}; round {data['iteration']} is {asked} with it"
    elif kind == "TaskPlanned":
        words = f"{data['task']['id']} was planned"
    elif kind in _RUN:
        words = _RUN[kind]
    else:
        words = f"{task_id or data.get('token', '')} {_of_task(kind, data)}"
    if data.get("by"):
        words += f" by {data['by']}"
    if data.get("reason"):
        words += f": {data['reason']}"
    if said := closing(data.get("last_words") or "", 1):
        words += f" | {said[0]}"
    return words if len(words) <= MOST_LENGTH else words[: MOST_LENGTH - 1] + "…"


def _of_task(kind: str, data: Mapping[str, Any]) -> str:
    if kind == "AttemptPrepared":
        if data["backend"] == ASKED:
            return f"is asked for the {_ordinal(data['n'])} time" if data["n"] > 1 else "is being asked"
        return f"took a seat on {data['backend']}" + (f" (attempt {data['n']})" if data["n"] > 1 else "")
    if kind == "JobAccepted":
        aside = data.get("set_aside")
        told = f"; what lay in the place of its folder is kept as {', '.join(aside)}" if aside else ""
        return f"job {data['job_id']} is {data.get('state', 'QUEUED')}{told}"
    if kind == "JobStateChanged":
        return f"is {_state(data)}"
    if kind == "JobEnded":
        code = data.get("exit_code")
        return f"ended {_state(data)}" + (f", exit code {code}" if code is not None else "")
    if kind == "SecretsSought":
        files = ", ".join(data.get("found", ()))
        return f"left a secret's value in {files}" if files else "left no secret's value behind"
    if kind in _WITH_ANOTHER and data.get("because"):
        return f"{_TASK[kind]} with {data['because']}, which it depends on,"
    if kind == "TaskAmended":
        changes = (change_in_words(path, c["old"], c["new"]) for path, c in data["changes"].items())
        return f"was amended ({'; '.join(changes)})"
    if kind == "TaskReplanned":
        return f"is planned in another way ({'; '.join(_replanned(data))})"
    if kind in _TASK:
        return _TASK[kind]
    # A word of a newer version: what it says is shown as it is.
    rest = {name: value for name, value in data.items() if name not in _TOLD}
    return f"{kind} {json.dumps(rest, ensure_ascii=False)}" if rest else kind


def _replanned(data: Mapping[str, Any]) -> Iterator[str]:
    yield from (change_in_words(path, c["old"], c["new"]) for path, c in data["changes"].items())
    yield from (f"files.{name} has another content" for name in data.get("contents", ()))
    if not data["changes"] and not data.get("contents"):
        yield "what was amended stays"


def _state(data: Mapping[str, Any]) -> str:
    raw = data.get("raw_state")
    return f"{data['state']} ({raw})" if raw and raw != data["state"] else str(data["state"])


def _ordinal(n: int) -> str:
    """Which one it is, in words.

    >>> _ordinal(2), _ordinal(11), _ordinal(23)
    ('2nd', '11th', '23rd')
    """
    teens = 10 <= n % 100 <= 20
    return f"{n}{'th' if teens else {1: 'st', 2: 'nd', 3: 'rd'}.get(n % 10, 'th')}"
