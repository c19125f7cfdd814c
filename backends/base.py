"""What every backend can do.  One contract test suite runs against all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import attrs

from matterstack.core.ids import BackendName, JobId, RunId, TaskId, Token, UtcTime
from matterstack.core.model.resources import Limits, Resources
from matterstack.core.nonces import sha256_of_nonce
from matterstack.core.run.messages import Observed
from matterstack.core.states import JobState
from matterstack.storage.backend_reports import CommandStatistics
from matterstack.storage.secret_values import RunSecrets


@attrs.frozen(kw_only=True)
class Question:
    """What an attempt of an operator asks, as the store has it.

    Attributes:
        params: of its task; nobody has checked them yet.
        backend: whose script a job by hand is handed out with.
        given: names of the files that were copied into the folder of its attempt.
        again: why it is asked once more; empty the first time.
        max_output_gib: how large a file beside the answer may be; None: any size.
    """

    run_id: RunId
    task_id: TaskId
    n: int
    operator: str
    params: Mapping[str, Any]
    asked_at: UtcTime
    backend: BackendName
    given: Sequence[str] = ()
    again: str = ""
    max_output_gib: float | None = None


@attrs.frozen(kw_only=True)
class PreparedAttempt:
    """An attempt whose intent is durable; its folder is written before it is submitted.

    Attributes:
        batch: see `matterstack.core.run.facts.AttemptPrepared`, as for ``index``.
        question: None for a job.
        given: names of the files that it finds in its folder.
        nonce: what its job's claim and exit record must bear to be believed; goes into its script, and
            nowhere else.  Empty where the job's id decides: of a job by hand, and of an attempt of 0.2.0.
        secrets: what its job is to find in its environment, and nobody else anywhere; None: nothing.
    """

    run_id: RunId
    task_id: TaskId
    n: int
    token: Token
    folder: Path
    command: Sequence[str]
    env: Mapping[str, str]
    resources: Resources
    batch: Token | None = None
    index: int = 0
    question: Question | None = None
    given: Sequence[str] = ()
    nonce: str = attrs.field(default="", repr=False)
    secrets: RunSecrets | None = None

    @property
    def nonce_sha256(self) -> str | None:
        """By what its job's claim and exit record are believed; None where the job's id decides."""
        return sha256_of_nonce(self.nonce) if self.nonce else None


@attrs.frozen(kw_only=True)
class LiveJob:
    """A job that is to be followed.

    Attributes:
        batch: as in `PreparedAttempt`; None also where nobody told.
        question: None for a job.
        nonce_sha256: as in `PreparedAttempt`.
        secrets: as in `PreparedAttempt`; a job that was requeued may ask for them again.
    """

    token: Token
    job_id: JobId
    folder: Path
    batch: Token | None = None
    question: Question | None = None
    nonce_sha256: str | None = None
    secrets: RunSecrets | None = None


@attrs.frozen(kw_only=True)
class SubmitReport:
    """What became of several attempts.

    Attributes:
        accepted: ids of the jobs that exist now.
        state: what the accepted jobs are at first.
        refused: attempts that the backend will never take, and why.
        unresolved: attempts of which nobody knows whether a job exists, and why; `Backend.find` tells.
        deferred: attempts that surely have no job, because a limit is used up for now, and which limit.
    """

    accepted: dict[Token, JobId] = attrs.field(factory=dict)
    state: JobState = JobState.QUEUED
    refused: dict[Token, str] = attrs.field(factory=dict)
    unresolved: dict[Token, str] = attrs.field(factory=dict)
    deferred: dict[Token, str] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class PlannedSubmission:
    """One command that would submit some attempts, for people who want to see it before.

    Attributes:
        command: its words, with folders as the jobs see them.
        stdin: what it reads from its standard input.
        attempts: whose jobs it would make.
        is_queued: the jobs wait for their turn; else they begin at once.
    """

    command: Sequence[str]
    attempts: Sequence[Token]
    stdin: str = ""
    is_queued: bool = False


@attrs.frozen(kw_only=True)
class Health:
    """What a backend knows of itself without asking anybody.

    Attributes:
        statistics: how often each of its commands was run.
        accounting_problem: why what tells of ended jobs does not answer; empty when it does.
        room: how many more jobs may be submitted now, as far as that is known; None where nothing is known.
        limit: which limit leaves so few, in words.
    """

    statistics: Mapping[str, CommandStatistics] = attrs.field(factory=dict)
    accounting_problem: str = ""
    room: int | None = None
    limit: str = ""


class Backend(Protocol):
    """Runs jobs: what an engine asks of every kind of backend.

    Every method may be cancelled at any time; what then became of a submission, `find` tells.  When the
    backend cannot be asked, methods raise BackendError, and nothing may be concluded from that.

    Secrets (see `matterstack.backends.secrets_file`) are given to a job when it is submitted, and taken away
    when it has ended, or when there surely is none.
    """

    name: BackendName
    poll_interval_s: float
    grace_period_s: float
    """How long an attempt must have been looked for before its absence counts."""
    batch_limit: int
    """Most attempts that are submitted as one; right once `probe` has answered."""

    async def serve(self) -> None:
        """Do background work until cancelled."""

    def script(self, attempt: PreparedAttempt) -> str:
        """The job script of an attempt."""

    def describe(self, batch: Sequence[PreparedAttempt]) -> Sequence[PlannedSubmission]:
        """What `submit` would run; nothing is asked, written or submitted."""

    async def hand_out(self, attempt: PreparedAttempt) -> None:
        """Make an attempt's folder ready for a job that a person submits, where that job finds it."""

    async def submit(self, batch: Sequence[PreparedAttempt]) -> SubmitReport:
        """Start one job for each attempt."""

    async def poll(self, jobs: Sequence[LiveJob]) -> list[Observed]:
        """Ask once about all live jobs.  A job that is not in the answer is as it was."""

    async def wait_change(self) -> None:
        """Return when polling before the interval is over is worth it; sleep for ever where unknown."""

    async def cancel(self, jobs: Sequence[LiveJob]) -> None:
        """Ask for the end of jobs.  Only `poll` says when they have ended."""

    async def cancel_waiting(self, jobs: Sequence[LiveJob]) -> None:
        """Ask for the end of those jobs that have not begun.  Only `poll` says which of them ended.

        What has begun is not touched, also when that was at the last moment.  It may be asked for again.
        """

    async def find(self, attempts: Sequence[PreparedAttempt]) -> Mapping[Token, JobId]:
        """Which of these attempts have a job.  No submission is under way while it looks."""

    async def probe(self) -> Limits:
        """The most that one job can ever get here."""

    def health(self) -> Health:
        """How it does, from what the other methods have met."""
