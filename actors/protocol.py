"""What run actors and backend actors tell each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import attrs

from matterstack.actors.mailbox import Mailbox
from matterstack.backends.base import LiveJob, PreparedAttempt, SubmitReport
from matterstack.core.ids import BackendName, JobId, RunId, Token
from matterstack.core.run.campaign_code import NOTHING_USED, UsedCode
from matterstack.core.run.messages import Collected, Observed
from matterstack.storage.commands import StoredCommand

# ---- to a run ----


@attrs.frozen
class CommandReady:
    """A person asked for something; it is durable."""

    command: StoredCommand


@attrs.frozen
class SeatsGranted:
    """So many seats are kept for this run until it answers with `Submit`."""

    backend: BackendName
    seats: int


@attrs.frozen
class SeatsShort:
    """Others have the seats that this run could use: it should let them know that it waits."""

    backend: BackendName


@attrs.frozen
class Submitted:
    """What became of a `Submit`."""

    backend: BackendName
    report: SubmitReport


@attrs.frozen
class TryAgain:
    """There may be room for so many of the attempts that were deferred."""

    backend: BackendName
    count: int


@attrs.frozen
class Sightings:
    """What the backend saw of this run's jobs."""

    backend: BackendName
    observed: Sequence[Observed]


@attrs.frozen
class Resolved:
    """Attempts that were looked for: those that have a job, and those that surely have none."""

    backend: BackendName
    found: Mapping[Token, JobId]
    absent: Sequence[Token]


@attrs.frozen
class BackendStarted:
    """The backend's actor is new: it knows nothing of this run yet."""

    backend: BackendName


@attrs.frozen
class Attended:
    """The backend knows now what ``attend`` told it; these of its attempts are being submitted right now."""

    attend: Attend
    submitting: Sequence[Token]


@attrs.frozen
class StagingFailed:
    """The folders of these attempts cannot be prepared."""

    reasons: Mapping[Token, str]


@attrs.frozen
class OutputsCollected:
    """What jobs that have ended left behind."""

    collected: Sequence[Collected]


@attrs.frozen
class SecretsLookedFor:
    """A secret of the run has a value now, or has none any more."""


@attrs.frozen
class PlanAnswered:
    """The campaign answered, or failed (``error``).

    ``warnings``: what of its plan would end single tasks.  ``call``: which call it answers.  ``code``: what
    that used.
    """

    action: str
    iteration: int
    call: int
    answer: Any = None
    error: str | None = None
    warnings: Sequence[str] = ()
    code: UsedCode = NOTHING_USED


RunMessage: TypeAlias = (
    CommandReady
    | SeatsGranted
    | SeatsShort
    | Submitted
    | TryAgain
    | Sightings
    | Resolved
    | BackendStarted
    | Attended
    | StagingFailed
    | OutputsCollected
    | SecretsLookedFor
    | PlanAnswered
)

# ---- to a backend ----


@attrs.frozen
class Attend:
    """This run uses the backend; its jobs of earlier engines are these.

    ``deferred``: attempts that the backend would not take for now.
    """

    run: RunId
    mailbox: Mailbox[RunMessage]
    weight: int
    cap: int
    jobs: Sequence[LiveJob]
    unresolved: Sequence[PreparedAttempt]
    deferred: Sequence[Token] = ()


@attrs.frozen
class Terms:
    """The run goes on with another cap, or another weight; what it has there stays."""

    run: RunId
    weight: int
    cap: int


@attrs.frozen
class Want:
    """What the run could use now; replaces what it wanted before.

    ``ready`` of its tasks could be submitted, and it may have ``room`` more jobs by its own cap.
    """

    run: RunId
    ready: int
    room: int


@attrs.frozen
class Submit:
    """Submit these prepared attempts; ``returned`` granted seats were not needed.

    ``denied``: they were not needed because the store said that the cap is used up by others.
    """

    run: RunId
    attempts: Sequence[PreparedAttempt]
    granted: int
    denied: bool = False


@attrs.frozen
class EndJobs:
    """Cancel these jobs, and go on following them until they have ended.

    ``if_waiting``: the same for these, as long as they have not begun; what has is left alone.
    """

    run: RunId
    tokens: Sequence[Token]
    if_waiting: Sequence[Token] = ()


@attrs.frozen
class Release:
    """These attempts have ended, durably: their seats are free."""

    run: RunId
    tokens: Sequence[Token]


@attrs.frozen
class Leave:
    """The run does not use the backend any more (in this engine)."""

    run: RunId


BackendMessage: TypeAlias = Attend | Terms | Want | Submit | EndJobs | Release | Leave
