"""What a run can be told: the input of `matterstack.core.run.decide`.  Imperatives, or reports of effects."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import attrs

from matterstack.core.ids import BackendName, JobId, TaskId, Token, UtcTime
from matterstack.core.model.workflow import Workflow
from matterstack.core.run.campaign_code import NOTHING_USED, UsedCode
from matterstack.core.run.facts import BoundFile, Change, OutputFile, SecretsSought
from matterstack.core.states import JobState

# ---- what people ask for ----


@attrs.frozen(kw_only=True)
class Pause:
    """Submit no new job; follow those that run."""

    by: str
    reason: str = ""


@attrs.frozen(kw_only=True)
class Resume:
    """Go on after a pause."""

    by: str


@attrs.frozen(kw_only=True)
class Cancel:
    """End all jobs, then the run.  Irreversible."""

    by: str
    reason: str = ""


@attrs.frozen(kw_only=True)
class Retry:
    """Give failed tasks (all that keep the run from completing, when none is named) new attempts.

    ``changes``: what of their definitions is amended before, by path; ``reason``: why; ``before``: as of
    `AmendTasks`.
    """

    by: str
    tasks: Sequence[TaskId] = ()
    changes: Mapping[str, Any] = attrs.field(factory=dict, hash=False)
    reason: str = ""
    before: Mapping[TaskId, Mapping[str, Any]] = attrs.field(factory=dict, hash=False)


@attrs.frozen(kw_only=True)
class Rerun:
    """Give ended tasks new attempts, also those that succeeded; ``recursive``: their dependents too."""

    by: str
    tasks: Sequence[TaskId]
    recursive: bool = False


@attrs.frozen(kw_only=True)
class CancelTasks:
    """End tasks (named, or by patterns of names), and all that depend on them; the run goes on."""

    by: str
    tasks: Sequence[str]
    reason: str = ""


@attrs.frozen(kw_only=True)
class AmendAbout:
    """Say anew what the run is about: ``about`` is all of it."""

    by: str
    about: Mapping[str, Any]
    reason: str = ""


@attrs.frozen(kw_only=True)
class AmendTasks:
    """Change the definition of tasks that have not succeeded: their next attempts are as it says then.

    Attributes:
        tasks: which; of those that are not in ``named`` too, the ones that have succeeded are left out.
        changes: new values by path (`matterstack.core.model.amending`).
        named: those that a person named one by one.
        resubmit: give up attempts that have not begun, where they are not as the tasks are then; without
            changes, all of them.
        before: what a person was shown that it replaces, by task and path: it is refused where a task has
            something else there by now; empty: nobody was shown anything.
    """

    by: str
    tasks: Sequence[TaskId]
    changes: Mapping[str, Any] = attrs.field(hash=False)
    reason: str = ""
    named: Sequence[TaskId] = ()
    resubmit: bool = False
    before: Mapping[TaskId, Mapping[str, Any]] = attrs.field(factory=dict, hash=False)


@attrs.frozen(kw_only=True)
class AmendConfig:
    """Go on with another config.

    Attributes:
        before: the config that it was made from: it is refused where the run has another one by now.
        config: all of what is to hold, checked.
        overrides: as of `matterstack.core.run.facts.ConfigAmended`.
        moved: backends whose live jobs could not be followed as they are defined now, and why.
        resubmit: give up attempts that have not begun, where their backend is another one, or is defined
            in another way, than before.
    """

    by: str
    before: Mapping[str, Any]
    config: Mapping[str, Any]
    overrides: Mapping[str, Any] = attrs.field(factory=dict)
    moved: Mapping[str, str] = attrs.field(factory=dict)
    reason: str = ""
    resubmit: bool = False


@attrs.frozen(kw_only=True)
class ReplanChoices:
    """What a person wants of a plan that is asked for once more.

    Attributes:
        redo_changed: do tasks again that have succeeded with another definition.
        cancel_gone: end the jobs of tasks that the plan has no more.
        yes_plan: of what a person amended and the plan changed, too, take the plan's.
    """

    redo_changed: bool = False
    cancel_gone: bool = False
    yes_plan: bool = False


@attrs.frozen(kw_only=True)
class Seen:
    """What a person had seen of a task when they agreed; see `Basis`."""

    version: int
    standing: str = ""


@attrs.frozen(kw_only=True)
class Basis:
    """What of a run must not have changed between that a person has seen a plan, and that it is taken in."""

    config: Mapping[str, Any]
    tasks: Mapping[TaskId, Seen]


@attrs.frozen(kw_only=True)
class Replan:
    """Take in what the campaign plans now for the iteration in hand, in the place of what it planned.

    Attributes:
        iteration: which; 0: none has been planned yet, and only the campaign's files are taken.
        workflow: what it plans; None where none has been planned yet.
        code: what the call used; the run's folder has it.
        contents: SHA-256, by task and name, of files that its last attempt was given and that are others now.
        basis: it is refused where this is not so any more.
        warnings: what would end single tasks.
    """

    by: str
    iteration: int
    workflow: Workflow | None
    basis: Basis
    code: UsedCode = NOTHING_USED
    contents: Mapping[TaskId, Mapping[str, Change]] = attrs.field(factory=dict)
    choices: ReplanChoices = attrs.field(factory=ReplanChoices)
    warnings: Sequence[str] = ()
    reason: str = ""


Command: TypeAlias = (
    Pause | Resume | Cancel | Retry | Rerun | AmendAbout | CancelTasks | AmendTasks | AmendConfig | Replan
)

# ---- what the runtime reports ----


@attrs.frozen(kw_only=True)
class Start:
    """An engine serves this run now."""


@attrs.frozen(kw_only=True)
class Behind:
    """The run's folder knows of events, until this time and with this head, that the store does not have."""

    head: str
    until: UtcTime


@attrs.frozen(kw_only=True)
class Fail:
    """The run cannot be served any longer: end its jobs, then the run."""

    reason: str


@attrs.frozen(kw_only=True)
class Planned:
    """``plan`` returned; None means that the goal is met.

    ``warnings``: what of it would end single tasks.  ``code``: what the call used.
    """

    iteration: int
    workflow: Workflow | None
    warnings: Sequence[str] = ()
    code: UsedCode = NOTHING_USED


@attrs.frozen(kw_only=True)
class Analyzed:
    """``analyze`` returned the next state.  ``code``: what the call used."""

    iteration: int
    state: Mapping[str, Any]
    code: UsedCode = NOTHING_USED


@attrs.frozen(kw_only=True)
class PlanningFailed:
    """``get_campaign``, ``plan`` or ``analyze`` failed.

    ``action`` and ``iteration``: which call it was.  ``code``: what that used.
    """

    reason: str
    action: str = ""
    iteration: int = 0
    code: UsedCode = NOTHING_USED


@attrs.frozen(kw_only=True)
class Prepare:
    """Take seats for the first ready tasks of a backend, at most so many.

    Attributes:
        batch_limit: most jobs that the backend takes in one submission; 1 where it takes each by itself.
        nonce_sha256: hash of the nonce of an attempt that is prepared now; None where nobody runs its job.
    """

    backend: BackendName
    seats: int
    batch_limit: int = 1
    nonce_sha256: Callable[[Token], str] | None = None


@attrs.frozen(kw_only=True)
class Accepted:
    """The backend took the job of a prepared attempt, or was found to have it (``adopted``)."""

    token: Token
    job_id: JobId
    state: JobState = JobState.QUEUED
    manifest_sha256: str | None = None
    adopted: bool = False
    set_aside: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Refused:
    """The backend, or the preparation of the attempt's folder, said no."""

    token: Token
    reason: str


@attrs.frozen(kw_only=True)
class Withdrawn:
    """There is no job for this prepared attempt, and there will be none."""

    token: Token
    reason: str


@attrs.frozen(kw_only=True)
class Observed:
    """The backend saw the job in this state.

    ``by`` and ``sha256``: of the file that says so, where somebody outside wrote it.  ``environment``: as in
    `matterstack.core.run.facts.JobEnded`.  ``logs``, ``given`` and ``last_words``: of a job that is over, as
    there; no backend says them.

    Attributes:
        said_from: of a job whose reason is told by what it printed to its standard error, from which byte
            of that on.
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
    said_from: int | None = None


@attrs.frozen(kw_only=True)
class Collected:
    """The outputs of a task's last attempt were looked at.

    ``problem`` says what is missing or broken; the outputs that are there are listed all the same.

    Attributes:
        may_get_better: whether another try of the job may leave something else.
        given_up: they were not all looked at, since the run is to end.
        sought: of a job with secrets, what was found of them.
        last_words: of a job that ended well, where there is a problem all the same.
    """

    token: Token
    outputs: tuple[OutputFile, ...] = ()
    data: Any = None
    problem: str | None = None
    may_get_better: bool = True
    given_up: bool = False
    sought: SecretsSought | None = None
    last_words: str = ""


@attrs.frozen(kw_only=True)
class Settle:
    """Conclude what follows by itself from the state, such as the end of the run.

    Attributes:
        may_pause: no submission is under way that would land in a run that is paused.
    """

    may_pause: bool = True


Message: TypeAlias = (
    Command
    | Start
    | Behind
    | Fail
    | Planned
    | Analyzed
    | PlanningFailed
    | Prepare
    | Accepted
    | Refused
    | Withdrawn
    | Observed
    | Collected
    | Settle
)
