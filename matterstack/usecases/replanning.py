"""Ask the campaign of a run once more for the iteration in hand: what every face shows first, then takes.

The campaign is asked in a child process of whoever wants to know; nothing is stored before somebody has
agreed.  What was looked at is what is taken: the command has the plan in it, and what it relies on.
"""

from __future__ import annotations

import posixpath
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import attrs

from matterstack.actors.plan_warnings import plan_warnings
from matterstack.actors.planner import CodeQuestion, ProcessPlanner
from matterstack.actors.planning import replanning_request, structured_answer
from matterstack.actors.runtime import Runtime
from matterstack.actors.secret_warnings import refuse_secrets
from matterstack.backends.registry import make_backend
from matterstack.campaign.used_files import MOST_HASHED_BYTES
from matterstack.campaign.versions import found_versions, write_versions
from matterstack.core.errors import BackendError, CampaignError, RefusedError
from matterstack.core.ids import BackendName, RunId, TaskId, Token
from matterstack.core.model.workflow import Task, Workflow
from matterstack.core.model.workflow_check import check_limits, without_drained
from matterstack.core.run import facts as f
from matterstack.core.run.allowed import Standing, require_allowed
from matterstack.core.run.decide import decide
from matterstack.core.run.messages import Replan, ReplanChoices
from matterstack.core.run.replan_steps import Difference, ReplannedTask, difference, seen_of
from matterstack.core.run.scrubbing import scrubbed
from matterstack.core.run.state import RunState
from matterstack.core.states import TaskStatus
from matterstack.storage.file_errors import file_errors
from matterstack.storage.layout import Root
from matterstack.storage.leases import Holder
from matterstack.storage.read.given_files import given_files
from matterstack.storage.read.reader import open_reader
from matterstack.storage.read.runs import require_run
from matterstack.storage.secret_values import SecretVault
from matterstack.storage.snapshot import load_run
from matterstack.storage.staging import sha256_of_file
from matterstack.usecases.commands import Outcome, send_command
from matterstack.usecases.first_plan import probe


@attrs.frozen(kw_only=True)
class Replanning:
    """What the campaign plans now for the iteration in hand, beside what it planned last time.

    Attributes:
        command: to be sent when somebody has agreed; see `replan`.
        found: what is not as it was; None where nothing has been planned yet.
        campaign: files of the campaign that changed since it was asked last, with their SHA-256.
        facts: how many events it would make of it.
        reopens: whether the run has ended, and goes on.
        warnings: what would end single tasks, and what could not be checked.
        versions: contents of files that the run's folder does not have, by their hash.
    """

    run_id: RunId
    workspace: str
    command: Replan
    found: Difference | None = None
    campaign: Mapping[str, f.Change] = attrs.field(factory=dict)
    facts: int = 0
    reopens: bool = False
    warnings: Sequence[str] = ()
    versions: Mapping[str, bytes] = attrs.field(factory=dict, repr=False)

    @property
    def tasks(self) -> Sequence[ReplannedTask]:
        """The tasks that are not as they were planned last time."""
        return () if self.found is None else self.found.tasks

    @property
    def changes_anything(self) -> bool:
        """Whether there is anything to agree to."""
        return self.facts > 0

    def as_json(self) -> dict[str, Any]:
        """The object that commands print."""
        workflow = self.command.workflow
        return {
            "iteration": self.command.iteration,
            "name": None if workflow is None else workflow.name,
            "campaign": [{"path": path, "old": c.old, "new": c.new} for path, c in self.campaign.items()],
            "tasks": [each.as_json() for each in self.tasks],
            "same": 0 if self.found is None else self.found.same,
            "reopened": [] if self.found is None else list(self.found.reopened),
            "skipped": [] if self.found is None else list(self.found.skipped),
            "reopens_run": self.reopens,
            "warnings": list(self.warnings),
        }


async def preview_replan(
    root: Root,
    run_id: RunId,
    choices: ReplanChoices,
    by: str,
    reason: str = "",
    *,
    runtime: Runtime | None = None,
) -> Replanning:
    """Ask the campaign, with the state and the results that it had then.  Changes nothing.

    Raises:
        NotFoundError: there is no such run.
        RefusedError: not in the run's state, or what it plans could not run so.
        CampaignError: it failed, or plans what cannot be; says where and how.
    """
    runtime = runtime or Runtime()
    async with open_reader(root) as reader:
        state = await reader.read(_load, run_id)
        require_allowed(Standing.of(state), "replan")
        given = await reader.read(given_files, run_id)
    vault = SecretVault(root)
    await runtime.files(vault.look_up, state.secrets)
    request = replanning_request(root, state)
    question = request.code or CodeQuestion(known=state.code)
    with file_errors(request.folder):
        workflow = structured_answer("plan", await ProcessPlanner(runtime).ask(request))
    search = vault.search()
    if workflow is None and state.iteration:
        raise CampaignError(
            f"{request.campaign_file}: plan() returned None for iteration {state.iteration}, which has "
            f"tasks: none of them is planned any more (to end the run: matterstack run cancel {run_id})"
        )
    if workflow is not None:
        refuse_secrets(workflow, state.secrets, search)
    folder = root.run_folder(state.workspace, run_id)
    versions = await runtime.files(found_versions, folder, question.found, state.code, search)
    if versions.kept.problem is not None:
        raise CampaignError(versions.kept.problem)
    code = versions.kept.code
    planned = workflow if state.iteration else None
    workspace = root.workspaces / state.workspace
    contents: Mapping[TaskId, Mapping[str, f.Change]] = {}
    if planned is not None:
        contents = await runtime.files(_other_contents, state, planned, given, code.files, workspace)
    tasks = () if workflow is None else workflow.tasks
    warnings = await runtime.files(plan_warnings, tasks, workspace)
    command = Replan(
        by=by,
        iteration=state.iteration,
        workflow=planned,
        basis=seen_of(state),
        code=code,
        contents=contents,
        choices=choices,
        warnings=tuple(warnings),
        reason=reason,
    )
    facts = decide(state, scrubbed(command, search))
    found = None if planned is None else difference(state, planned, contents, choices)
    unchecked = await _check_limits(root, state, tasks if found is None else _given_anew(found))
    return Replanning(
        run_id=run_id,
        workspace=state.workspace,
        command=command,
        found=found,
        campaign={
            path: f.Change(state.code.files.get(path), sha) for path, sha in state.code.changed(code).items()
        },
        facts=len(facts),
        reopens=any(isinstance(fact, f.RunReopened) for fact in facts),
        warnings=[*warnings, *unchecked],
        versions=versions.new,
    )


def require_replan(replanning: Replanning) -> None:
    """Refuse a plan by which nothing would change.

    Raises:
        RefusedError: it is what was planned last time, as far as it is taken.
    """
    if not replanning.changes_anything:
        run_id, number = replanning.run_id, replanning.command.iteration
        raise RefusedError(
            f"nothing would change: iteration {number} of run {run_id} is planned as it was",
            hint=f"what failed is tried again by: matterstack run retry {run_id}; what succeeded with "
            "another definition is done again with --redo-changed",
        )


async def replan(
    root: Root,
    replanning: Replanning,
    runtime: Runtime | None = None,
    on_wait: Callable[[Holder], None] | None = None,
) -> Outcome:
    """Take in what was looked at.

    Raises:
        RefusedError: something that it relies on has changed meanwhile; says what.
        StoreError: nobody can carry it out now, or there is no room; nothing of it is left.
    """
    runtime = runtime or Runtime()
    await keep_replanned(root, replanning, runtime)
    return await send_command(root, replanning.run_id, replanning.command, runtime, on_wait)


async def keep_replanned(root: Root, replanning: Replanning, runtime: Runtime) -> None:
    """Keep the files of the campaign as they were asked, before any event speaks of them.

    Raises:
        StoreError: they cannot be written.
    """
    folder = root.run_folder(replanning.workspace, replanning.run_id)
    with file_errors(folder.versions):
        await runtime.files(write_versions, folder, replanning.versions)


def _load(connection: sqlite3.Connection, run_id: RunId) -> RunState:
    require_run(connection, run_id)
    state = load_run(connection, run_id)
    if state is None:
        raise RefusedError(f"run {run_id} is in another root: only its evidence is here")
    return state


# ---- contents of files ----


def _other_contents(
    state: RunState,
    workflow: Workflow,
    given: Mapping[Token, Mapping[str, str]],
    used: Mapping[str, str],
    workspace: Path,
) -> dict[TaskId, dict[str, f.Change]]:
    """Files that the last attempt of an ended task was given, and that are others now.  Blocking."""
    now = _Now(used, workspace)
    found: dict[TaskId, dict[str, f.Change]] = {}
    for task in workflow.tasks:
        changed = {name: change for name, change in _changed(state, task, given, now) if change.new}
        if changed:
            found[task.id] = changed
    return found


def _changed(
    state: RunState, task: Task, given: Mapping[Token, Mapping[str, str]], now: _Now
) -> Iterator[tuple[str, f.Change]]:
    known = state.tasks.get(task.id)
    last = None if known is None else known.last_attempt
    if known is None or last is None or known.status not in {TaskStatus.SUCCEEDED, TaskStatus.FAILED}:
        return
    had = state.definition_of(last).files
    for name, path in task.files.items():
        if had.get(name) != path:
            continue  # that is another definition
        if last.token in given:
            before = given[last.token].get(name)
            if not before:
                continue  # nobody could look
        elif last.job_id is not None:
            continue
        else:  # it was not there to be copied, or not as it was when it was planned
            before = state.code.files.get(posixpath.normpath(str(path)))
        if (digest := now.sha256(str(path))) != before:
            yield name, f.Change(before, digest)


@attrs.define
class _Now:
    """SHA-256 of files that tasks name, as they are now; each is read once."""

    _used: Mapping[str, str]
    _workspace: Path
    _known: dict[str, str | None] = attrs.field(factory=dict)

    def sha256(self, path: str) -> str | None:
        if path not in self._known:
            used = self._used.get(posixpath.normpath(path))
            self._known[path] = used or sha256_of_file(path, self._workspace, MOST_HASHED_BYTES)
        return self._known[path]


# ---- limits ----


def _given_anew(found: Difference) -> list[Task]:
    """Tasks that are asked of a backend in another way than before."""
    return [
        each.task
        for each in found.tasks
        if each.task is not None
        and (each.status is None or (each.is_defined_anew and any(map(_is_of_place, each.changes))))
    ]


def _is_of_place(path: str) -> bool:
    return path.partition(".")[0] in {"resources", "backend", "operator"}


async def _check_limits(root: Root, state: RunState, tasks: Iterable[Task]) -> Sequence[str]:
    """Refuse what a backend can never give; returns what could not be checked, or waits for better times."""
    jobs = [task for task in tasks if task.operator == "compute"]
    names = dict.fromkeys(state.job_backend_of(task) for task in jobs)
    if not names:
        return ()
    try:
        make = partial(_backend, root, state)
        limits, warnings = await probe({name: make(name) for name in names})
    except BackendError as error:
        return [str(error)]
    default = state.config["default_backend"]
    try:
        check_limits(Workflow(jobs), limits, default)
    except CampaignError as error:
        raise RefusedError(str(error), hint="nothing was changed") from None
    return [*warnings, *without_drained(Workflow(jobs), limits, default).warnings]


def _backend(root: Root, state: RunState, name: BackendName) -> Any:  # noqa: ANN401  as the registry has it
    return make_backend(name, state.backend_config(name), root)
