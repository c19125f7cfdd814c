"""A cause: why tasks of a run do not go on, since when, and what can be done about it."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Any, Final

import attrs

from matterstack.core.ids import TaskId, UtcTime

MOST_TASKS_NAMED: Final = 20
"""How many tasks ``as_json`` names of each cause."""


class Kind(StrEnum):
    """What sort of cause it is.  In this order where all else is the same."""

    DISK_FULL = "disk_full"
    PAUSED = "paused"
    HELD = "held"
    """By its engine: too many of its tasks failed alike."""
    NO_ENGINE = "no_engine"
    LEASE_HELD = "lease_held"
    """By an engine that does nothing, or of which nobody can tell from here."""
    PLANNING_FAILED = "planning_failed"
    TASK_FAILED = "task_failed"
    RUN_FAILED = "run_failed"
    ANSWER_REJECTED = "answer_rejected"
    WAITS_FOR_PERSON = "waits_for_person"
    GATE = "gate"
    WAITS_FOR_JOB_BY_HAND = "waits_for_job_by_hand"
    JOB_HELD = "job_held"
    JOB_NEVER_STARTS = "job_never_starts"
    JOB_SUSPENDED = "job_suspended"
    SSH_OUT = "ssh_out"
    BACKEND_OUT = "backend_out"
    """Its controller does not answer."""
    ACCOUNTING_OUT = "accounting_out"
    SITE_LIMIT = "site_limit"
    SUBMISSION_UNCLEAR = "submission_unclear"
    COMMAND_WAITING = "command_waiting"
    WAITS_IN_VAIN = "waits_in_vain"
    SECRET_MISSING = "secret_missing"  # noqa: S105  a word, and no password
    """The engine has no value for what jobs are to find in their environment."""
    RETRY_WAITING = "retry_waiting"
    BACKEND_CAP = "backend_cap"
    RUN_CAP = "run_cap"
    WAITS_FOR_INSTRUMENT = "waits_for_instrument"
    JOB_PENDING = "job_pending"
    ENDING = "ending"
    TASK_ENDING = "task_ending"
    """A person cancelled the task; its job is being ended."""
    PLANNING = "planning"
    ANALYSIS = "analysis"
    SUBMITTING = "submitting"
    COLLECTING = "collecting"
    JOB_RUNNING = "job_running"
    COMPLETED = "completed"
    CANCELLED = "cancelled"


class Need(IntEnum):
    """What it takes; the most pressing first."""

    PERSON = 0
    """Nothing moves until a person does something."""
    REPAIR = 1
    """Something outside of MatterStack is out or used up; it goes on by itself when that is over."""
    TIME = 2
    """It has to wait for its turn."""
    NOTHING = 3
    """It is under way, or over."""


@attrs.frozen(kw_only=True)
class Cause:
    """One root cause of a stall, in words.

    Attributes:
        since: when it began, as far as that is known; else None.
        blocks: how many tasks wait for it, directly or through tasks that they depend on.
        message: what it is, in words, with names and numbers.
        action: commands for a person, one a line, as a shell takes them; what else is to be done stands in
            comments (``#``) between them.  Empty when there is nothing to do.
        tasks: some of those that wait for it directly.
        last_words: the last lines that a job printed which failed of it.
    """

    kind: Kind
    need: Need
    since: UtcTime | None
    blocks: int
    message: str
    action: str
    tasks: tuple[TaskId, ...] = ()
    last_words: str = ""

    def as_json(self) -> dict[str, Any]:
        """The object that ``run explain --json`` prints."""
        return {
            "kind": self.kind.value,
            "since": self.since,
            "blocks": self.blocks,
            "message": self.message,
            "action": self.action,
            "needs_person": self.need is Need.PERSON,
            "tasks": list(self.tasks[:MOST_TASKS_NAMED]),
            "last_words": self.last_words,
        }
