"""Facts: everything that has ever changed a run, in the past tense.

A run's state is the fold of its facts (`matterstack.core.run.apply`).  A fact is small: its cost is that of
its own fields, never that of the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import attrs

from matterstack.core.ids import BackendName, JobId, RunId, TaskId, Token, UtcTime
from matterstack.core.model.resources import Resources
from matterstack.core.model.workflow import Task
from matterstack.core.states import FailureKind, JobState


@attrs.frozen(kw_only=True)
class Commit:
    """The commit of git that a workspace stood at.

    ``is_changed``: whether its files were others than those of the commit; None where git did not say.
    """

    id: str
    is_changed: bool | None = None


@attrs.frozen(kw_only=True)
class RunCreated:
    """A run was made from a workspace; ``config`` is frozen from here on.

    ``by``: who made it.  ``software``: versions of what was installed, by name.  ``sources``: SHA-256 of the
    workspace's files, by path; copies of them are in the run's folder.  ``about``: what its ``about.toml``
    said.  ``commit``: where it was in git, if it was.

    Attributes:
        overrides: what of the config was set for this run alone, over the files; None in histories that are
            older than this field.
    """

    workspace: str
    config: Mapping[str, Any]
    by: str = ""
    software: Mapping[str, str] = attrs.field(factory=dict)
    sources: Mapping[str, str] = attrs.field(factory=dict)
    about: Mapping[str, Any] = attrs.field(factory=dict)
    commit: Commit | None = None
    overrides: Mapping[str, Any] | None = None


@attrs.frozen(kw_only=True)
class ConfigChange:
    """A key of a config with another value than before.

    Attributes:
        path: dotted; the topmost key where all below it came or went at once.
        is_new: nothing stood there before.
        is_gone: nothing stands there any more.
    """

    path: str
    old: Any = None
    new: Any = None
    is_new: bool = False
    is_gone: bool = False


@attrs.frozen(kw_only=True)
class ConfigAmended:
    """A person changed the run's config: from here on all that is done follows ``config``.

    Attributes:
        changes: what is not as it was before.
        config: all of it, as it is now.
        overrides: what of it was set for this run alone, over the files, until now.
    """

    by: str
    changes: tuple[ConfigChange, ...]
    config: Mapping[str, Any]
    overrides: Mapping[str, Any] = attrs.field(factory=dict)
    reason: str = ""


@attrs.frozen(kw_only=True)
class AboutChanged:
    """A person said anew what the run is about; it takes the place of all that was said before.

    It changes nothing that the run does, and may come at any time, also after its end.
    """

    by: str
    about: Mapping[str, Any]
    reason: str = ""


@attrs.frozen(kw_only=True)
class RunStarted:
    """An engine took the PENDING run up."""


@attrs.frozen(kw_only=True)
class AlikeFailures:
    """Tasks that failed alike within seconds of their start, without a success in between.

    Attributes:
        common: their exit code, or their reason.
        tasks: the first of them.
        count: how many there are.
        nodes: where they failed.
        last_words: the last lines of standard error that they share.
        reason: why each of them failed, in words, where they share that and it says more.
    """

    common: str
    tasks: tuple[TaskId, ...]
    count: int
    nodes: tuple[str, ...] = ()
    last_words: str = ""
    reason: str = ""

    @property
    def told(self) -> str:
        """What they have in common, for people."""
        return self.reason or self.common


@attrs.frozen(kw_only=True)
class RunPaused:
    """No new job is submitted from here on; running jobs are followed.

    Attributes:
        alike: failures for whose sake the engine holds the run; None: a person paused it.
    """

    by: str
    reason: str = ""
    alike: AlikeFailures | None = None


@attrs.frozen(kw_only=True)
class RunResumed:
    """The run goes on after a pause."""

    by: str


@attrs.frozen(kw_only=True)
class RunCancelRequested:
    """The run is going to be CANCELLED as soon as none of its jobs is left."""

    by: str
    reason: str = ""


@attrs.frozen(kw_only=True)
class RunFailureRequested:
    """The run is going to be FAILED as soon as none of its jobs is left."""

    reason: str


@attrs.frozen(kw_only=True)
class RunCancelled:
    """None of its jobs is left.  For ever."""

    reason: str = ""


@attrs.frozen(kw_only=True)
class RunFailed:
    """The run cannot go on."""

    reason: str


@attrs.frozen(kw_only=True)
class RunCompleted:
    """The campaign's plan said that the goal is met.

    Attributes:
        code: as in `IterationPlanned`.
        unkept: as in `IterationPlanned`.
    """

    code: Mapping[str, str] = attrs.field(factory=dict)
    unkept: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class RunReopened:
    """A person asked for more attempts of an ended run."""

    by: str


@attrs.frozen(kw_only=True)
class EventsLost:
    """The run's folder knew of events that the store did not have: it had been put back from a backup.

    Attributes:
        head: of the last event that the folder knew of; no event of this history has it.
        until: when that was.
    """

    head: str
    until: UtcTime


@attrs.frozen(kw_only=True)
class RunDeleted:
    """Somebody has deleted the run: this event is all that is left of it in the store.

    Attributes:
        workspace: whose run it was.
        head: of its last event.
        events: how many there were.
        numbers: which ones, such as ``3-5,9``: they stay unused.
        forgotten: its folder had gone before.
    """

    workspace: str
    head: str
    events: int
    numbers: str
    by: str
    forgotten: bool = False


@attrs.frozen(kw_only=True)
class IterationPlanned:
    """``plan`` returned a workflow; its tasks follow as `TaskPlanned`.

    Attributes:
        code: SHA-256 of the files of the workspace that this call of the campaign used, by path:
            ``campaign.py``, modules that it imported, and what tasks name in ``files``.
        unkept: those of them that are not kept in the run's folder, being large or many.
    """

    iteration: int
    task_count: int
    name: str | None = None
    code: Mapping[str, str] = attrs.field(factory=dict)
    unkept: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class PlanWarned:
    """The plan that was just taken in has tasks that would fail as it is.

    Attributes:
        warnings: which, and why, a line each.
    """

    iteration: int
    warnings: tuple[str, ...]


@attrs.frozen(kw_only=True)
class TaskPlanned:
    """A task belongs to the run from here on."""

    position: int
    task: Task


@attrs.frozen(kw_only=True)
class IterationAnalyzed:
    """``analyze`` returned the state for the next plan.

    Attributes:
        code: as in `IterationPlanned`.
        unkept: as in `IterationPlanned`.
    """

    iteration: int
    state: Mapping[str, Any]
    code: Mapping[str, str] = attrs.field(factory=dict)
    unkept: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class CampaignChanged:
    """The campaign that is asked now is another one than that which was asked last, or made the run.

    Attributes:
        action: ``plan`` or ``analyze``: the call that used it first, of this ``iteration``.
        files: SHA-256 that each file has now that changed or is new, by path.
        before: SHA-256 that it had; new ones are not in it.
        unkept: as in `IterationPlanned`.
    """

    action: str
    iteration: int
    files: Mapping[str, str]
    before: Mapping[str, str] = attrs.field(factory=dict)
    unkept: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class TaskReopened:
    """An ended task gets new attempts.  ``reason``: what a gate that sent it back had to say."""

    task_id: TaskId
    by: str
    reason: str = ""


@attrs.frozen(kw_only=True)
class AttemptPrepared:
    """A seat is taken, and a job with this token is about to be submitted.

    Attempts with the same ``batch`` are submitted together, as one job array of that name; ``index`` is the
    attempt's place in it.

    Attributes:
        nonce_sha256: SHA-256 of the nonce that the claim and the exit record of its job must bear; null in
            histories of 0.2.0, where the id of the job decides.
        version: of the task's definition: 1 as it was planned, and one more with each `TaskAmended`.
    """

    task_id: TaskId
    n: int
    token: Token
    backend: BackendName
    resources: Resources
    batch: Token | None = None
    index: int = 0
    nonce_sha256: str | None = None
    version: int = 1


@attrs.frozen(kw_only=True)
class SubmissionRefused:
    """The backend would not take the job; there is none."""

    token: Token
    reason: str


@attrs.frozen(kw_only=True)
class SubmissionWithdrawn:
    """The prepared attempt was given up before there was a job."""

    token: Token
    reason: str


@attrs.frozen(kw_only=True)
class JobAccepted:
    """The backend gave the job an id.  ``state`` is RUNNING where there is no queue.

    Attributes:
        adopted: the job was found, by an engine that did not know whether it had been submitted.
        set_aside: where, in the run's folder, that is kept which lay in the place of the attempt's folder
            before that was made.
    """

    token: Token
    job_id: JobId
    state: JobState = JobState.QUEUED
    manifest_sha256: str | None = None
    adopted: bool = False
    set_aside: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class JobStateChanged:
    """A live job was seen in another state, or waits for another reason.

    ``by`` and ``sha256``: of the file that says so, where a person or an instrument wrote it.
    """

    token: Token
    state: JobState
    raw_state: str = ""
    reason: str = ""
    by: str = ""
    sha256: str = ""


@attrs.frozen
class BoundFile:
    """A log of an attempt, or a file that it was given, as it was when the attempt's job was seen to be over.

    Attributes:
        path: relative to the attempt's folder.
        sha256: empty when the file could not be read, or was too large to be read then.
    """

    path: str
    size_bytes: int
    sha256: str


@attrs.frozen(kw_only=True)
class JobEnded:
    """The job is over; its seat is free.

    ``by`` and ``sha256``: of the answer that ended it, where a person or an instrument wrote one.
    ``environment``: SHA-256 of what was found of the software that it ran in; empty where nobody looked.

    Attributes:
        logs: what was printed, or asked; files without content are left out.  None: nobody could look.
        given: ``manifest.json``, and what it lists, with the hashes that it has.  None: nobody could look.
        last_words: of a job that did not end well, the last lines that it printed, at most 4 kB; without
            secrets and without what would control a terminal.
    """

    token: Token
    state: JobState
    raw_state: str = ""
    reason: str = ""
    exit_code: int | None = None
    host: str | None = None
    started_at: UtcTime | None = None
    ended_at: UtcTime | None = None
    by: str = ""
    sha256: str = ""
    environment: str = ""
    logs: tuple[BoundFile, ...] | None = None
    given: tuple[BoundFile, ...] | None = None
    last_words: str = ""


@attrs.frozen
class OutputFile:
    """A file that a task left behind; ``path`` is relative to the attempt's folder."""

    path: str
    size_bytes: int
    sha256: str


@attrs.frozen(kw_only=True)
class SecretsSought:
    """What a job left behind was looked through for the values of the secrets that it had.

    Attributes:
        names: of the secrets.
        found: which of them each file holds, by its path in the attempt's folder; such files stay there.
    """

    token: Token
    names: tuple[str, ...]
    found: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class TaskSucceeded:
    """The last attempt ended well, and its declared outputs are there and on the disk."""

    task_id: TaskId
    outputs: tuple[OutputFile, ...] = ()
    data: Any = None


@attrs.frozen(kw_only=True)
class TaskFailed:
    """No attempt is left to try.

    Attributes:
        last_words: where its job ended well, and what that left behind is not what the task needs.
    """

    task_id: TaskId
    reason: str
    outputs: tuple[OutputFile, ...] = ()
    data: Any = None
    last_words: str = ""


@attrs.frozen(kw_only=True)
class TaskRetried:
    """The last attempt failed for a reason that the task wants tried again.

    Attributes:
        last_words: as in `TaskFailed`.
    """

    task_id: TaskId
    kind: FailureKind
    reason: str
    last_words: str = ""


@attrs.frozen(kw_only=True)
class TaskCancelled:
    """The run is ending, so the task does too; or a person had this task ended.

    Attributes:
        by: who had it ended, and not the whole run; ``reason`` is in their words then.
        because: the task that they named, where this one depends on that.
    """

    task_id: TaskId
    reason: str = ""
    by: str = ""
    because: TaskId | None = None


@attrs.frozen(kw_only=True)
class TaskSkipped:
    """A task that this one depends on did not succeed.

    Attributes:
        because: id of that task.
    """

    task_id: TaskId
    because: TaskId
    reason: str


@attrs.frozen(kw_only=True)
class TaskCancelRequested:
    """A person had the task ended; it is CANCELLED as soon as its job is over.

    Attributes:
        because: the task that they named, where this one depends on that.
    """

    task_id: TaskId
    by: str
    reason: str = ""
    because: TaskId | None = None


@attrs.frozen
class Change:
    """A value of a task's definition before and after; None where there is none, or a JSON null."""

    old: Any
    new: Any


@attrs.frozen(kw_only=True)
class TaskAmended:
    """A person changed the definition of a task: attempts that are prepared from here on are as it says.

    One that is live keeps what it was prepared with.  It may come after the run's end, and reopens nothing.

    Attributes:
        changes: by path, such as ``resources.walltime_s``.
    """

    task_id: TaskId
    by: str
    changes: Mapping[str, Change]
    reason: str = ""


@attrs.frozen(kw_only=True)
class Replanned:
    """A person had the campaign asked once more for the iteration in hand; what differs follows.

    Its tasks are analyzed once more when they have all ended.

    Attributes:
        task_count: how many tasks the plan has now.
        name: as in `Workflow`, as it is now.
        code: as in `IterationPlanned`.
        unkept: as in `IterationPlanned`.
    """

    iteration: int
    by: str
    task_count: int
    name: str | None = None
    code: Mapping[str, str] = attrs.field(factory=dict)
    unkept: tuple[str, ...] = ()
    reason: str = ""


@attrs.frozen(kw_only=True)
class TaskReplanned:
    """The plan gives another definition of a task now: attempts prepared from here on are as it says.

    One that is live keeps what it was prepared with.

    Attributes:
        changes: by path, between what it was and what it is, what was amended included.
        planned: what the plan gives.
        task: that with what was amended on top; None where nothing was.
        contents: SHA-256 of files that its last attempt was given and that are others now, by their name.
    """

    task_id: TaskId
    changes: Mapping[str, Change]
    planned: Task
    task: Task | None = None
    contents: Mapping[str, Change] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class TaskWithdrawn:
    """The plan has a task no more.  It is CANCELLED: at once, or when its job is over and has not succeeded.

    Attributes:
        ends_job: its job is ended; else that goes on, and what it leaves is kept.
    """

    task_id: TaskId
    by: str
    ends_job: bool = False
    reason: str = ""


@attrs.frozen(kw_only=True)
class TaskResubmitRequested:
    """A person wants an attempt given up that has not begun, and the next one as its task is by now.

    Its job is cancelled if it still waits by then; one that has begun goes on (`TaskResubmitMissed`).
    """

    task_id: TaskId
    token: Token
    by: str
    reason: str = ""


@attrs.frozen(kw_only=True)
class TaskResubmitted:
    """The attempt had not begun, and was given up, as a person wanted: it counts as no try.

    The next one is prepared when it is the task's turn.
    """

    task_id: TaskId
    token: Token


@attrs.frozen(kw_only=True)
class TaskResubmitMissed:
    """The job of the attempt had begun before it could be cancelled: it goes on as it was submitted."""

    task_id: TaskId
    token: Token


Fact: TypeAlias = (
    RunCreated
    | AboutChanged
    | ConfigAmended
    | RunStarted
    | RunPaused
    | RunResumed
    | RunCancelRequested
    | RunFailureRequested
    | RunCancelled
    | RunFailed
    | RunCompleted
    | RunReopened
    | EventsLost
    | RunDeleted
    | IterationPlanned
    | PlanWarned
    | TaskPlanned
    | IterationAnalyzed
    | CampaignChanged
    | TaskReopened
    | AttemptPrepared
    | SubmissionRefused
    | SubmissionWithdrawn
    | JobAccepted
    | JobStateChanged
    | JobEnded
    | SecretsSought
    | TaskSucceeded
    | TaskFailed
    | TaskRetried
    | TaskCancelled
    | TaskSkipped
    | TaskCancelRequested
    | TaskAmended
    | Replanned
    | TaskReplanned
    | TaskWithdrawn
    | TaskResubmitRequested
    | TaskResubmitted
    | TaskResubmitMissed
)

FACT_TYPES: Final[Mapping[str, type[Fact]]] = {kind.__name__: kind for kind in Fact.__args__}


@attrs.frozen(kw_only=True)
class Event:
    """A fact in its place: ``seq`` counts over all runs of a root; who is missing was deleted."""

    seq: int
    run_id: RunId
    at: UtcTime
    fact: Fact
