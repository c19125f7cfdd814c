"""Look at the first iteration of a run that does not exist: what its jobs would be, and whether they can be.

Nothing is stored and nothing submitted.  The campaign is asked in a child process, as an engine does it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import attrs
import trio

from matterstack.actors.planner import ProcessPlanner
from matterstack.actors.planning import planning_request, structured_answer
from matterstack.actors.preparing import prepared_attempt
from matterstack.actors.runtime import Runtime
from matterstack.backends.base import Backend, PreparedAttempt
from matterstack.backends.registry import make_backend
from matterstack.core.documents.config import RunConfig
from matterstack.core.documents.manifests import ManifestError, read_manifest
from matterstack.core.errors import BackendError, CampaignError
from matterstack.core.ids import BackendName, RunId, TaskId, attempt_token
from matterstack.core.model.resources import Limits
from matterstack.core.model.workflow import Workflow
from matterstack.core.model.workflow_check import check_limits
from matterstack.core.operators import ASKING
from matterstack.core.run import messages as m
from matterstack.core.run.apply import Touched, apply, new_run
from matterstack.core.run.decide import decide
from matterstack.core.run.facts import RunCreated
from matterstack.core.run.state import AttemptState, RunState, TaskState
from matterstack.storage.layout import Root
from matterstack.usecases.runs import config_of_new_run

NO_RUN: Final = RunId("RUN_ID")
"""Stands in paths and names for the id that a run would get."""
PLANNING_S: Final = 20.0
"""How long making a run waits for the first plan of its campaign; the engine waits longer."""
PROBING_S: Final = 10.0


@attrs.frozen
class FirstPlan:
    """``workflow`` None: the campaign has met its goal without any task."""

    state: RunState
    workflow: Workflow | None

    def jobs(self) -> dict[TaskId, TaskState]:
        """The tasks that are jobs of a backend."""
        return {task_id: t for task_id, t in self.state.tasks.items() if t.task.operator == "compute"}


@attrs.frozen(kw_only=True)
class ShownTask:
    """The job of a task.  ``submission``: its place in `Preview.submissions`."""

    task_id: TaskId
    backend: str
    folder: Path
    script: str
    submission: int


@attrs.frozen(kw_only=True)
class Submission:
    """One command that submits jobs, and what it reads from its standard input.

    ``is_queued``: the jobs wait for their turn; else they begin at once.
    """

    command: Sequence[str]
    stdin: str
    tasks: Sequence[TaskId]
    is_queued: bool


@attrs.frozen(kw_only=True)
class Preview:
    """All jobs of the first iteration.

    Attributes:
        others: tasks that are no jobs of a backend.
        warnings: what could not be found out, and tasks that would fail at once.
    """

    others: Sequence[TaskId] = ()
    tasks: Sequence[ShownTask] = ()
    submissions: Sequence[Submission] = ()
    resources: Mapping[TaskId, Any] = attrs.field(factory=dict)
    warnings: Sequence[str] = ()


async def preview(root: Root, slug: str, overrides: Mapping[str, Any], runtime: Runtime) -> Preview:
    """Plan a first iteration and write its scripts, as an engine would.

    Raises:
        CampaignError: as the engine tells it; also what a backend can never give.
        ConfigError, NotFoundError: as `matterstack.usecases.runs.create_run`.
    """
    config = config_of_new_run(root, slug, overrides)
    plan = await plan_first(root, slug, config, runtime)
    if plan.workflow is None:
        return Preview()
    backends = _backends(plan, config, root)
    limits, warnings = await _probe(backends)
    check_limits(plan.workflow, limits, config.default_backend)
    warnings = [*warnings, *_bad_questions(plan)]
    return _shown(_prepare(root, plan, backends), plan, backends, root, warnings)


async def check_first_plan(
    root: Root, slug: str, overrides: Mapping[str, Any], runtime: Runtime, planning_s: float = PLANNING_S
) -> list[str]:
    """Refuse a run whose first jobs could never run; returns the warnings of `Preview`, a line each.

    Raises:
        CampaignError: naming the task, the field, the value and the limit.
        ConfigError, NotFoundError: as `matterstack.usecases.runs.create_run`.
    """
    config = config_of_new_run(root, slug, overrides)
    plan: FirstPlan | None = None
    try:
        with trio.move_on_after(planning_s):
            plan = await plan_first(root, slug, config, runtime)
    except CampaignError as error:
        return [f"the limits of its backends could not be checked: {error}"]
    if plan is None:
        return [
            f"the limits of its backends could not be checked: planning took longer than {planning_s:g} s"
        ]
    if plan.workflow is None:
        return []
    limits, warnings = await _probe(_backends(plan, config, root))
    check_limits(plan.workflow, limits, config.default_backend, now=True)
    return [*warnings, *_bad_questions(plan)]


def _bad_questions(plan: FirstPlan) -> Iterator[str]:
    """Tasks that would fail as soon as they ask: their params are no manifest of their operator."""
    for task_id, task in plan.state.tasks.items():
        if task.task.operator in ASKING:
            try:
                read_manifest(task.task.operator, task.task.params)
            except ManifestError as error:
                yield f"task {task_id} would fail: {error}"


async def plan_first(root: Root, slug: str, config: RunConfig, runtime: Runtime) -> FirstPlan:
    """Ask a campaign for its first plan.

    Raises:
        CampaignError: it failed, or its plan cannot run; says where and how.
    """
    created = RunCreated(workspace=slug, config=config.model_dump(mode="json"))
    state = new_run(NO_RUN, created, runtime.now())
    _take(state, m.Start(), runtime)
    request = attrs.evolve(planning_request(root, state, "plan"), log=None)
    workflow = structured_answer("plan", await ProcessPlanner(runtime).ask(request))
    if workflow is not None:
        _take(state, m.Planned(iteration=1, workflow=workflow), runtime)
    return FirstPlan(state, workflow)


def _take(state: RunState, message: m.Message, runtime: Runtime) -> None:
    """Let a message have its consequences, of which none is stored."""
    for fact in decide(state, message):
        apply(state, fact, runtime.now(), Touched())


def _backends(plan: FirstPlan, config: RunConfig, root: Root) -> dict[BackendName, Backend]:
    names = dict.fromkeys(plan.state.backend_of(state.task) for state in plan.jobs().values())
    return {name: make_backend(name, config.backends[name].model_dump(mode="json"), root) for name in names}


async def _probe(backends: Mapping[BackendName, Backend]) -> tuple[dict[str, Limits], list[str]]:
    """What each backend can give, and why that is not known of some; asks all at once."""
    limits: dict[str, Limits] = {}
    unknown: dict[str, str] = dict.fromkeys(backends, f"it gave no answer within {PROBING_S:g} s")

    async def ask(name: BackendName, backend: Backend) -> None:
        try:
            limits[name] = await backend.probe()
        except BackendError as error:
            unknown[name] = str(error)
        else:
            unknown[name] = limits[name].unread

    with trio.move_on_after(PROBING_S):
        async with trio.open_nursery() as nursery:
            for name, backend in backends.items():
                nursery.start_soon(ask, name, backend)
    said = {name: why for name, why in unknown.items() if why}
    return limits, [
        f"the limits of backend {name} could not be checked: {said[name]}" for name in sorted(said)
    ]


# ---- what would be submitted ----


def _prepare(root: Root, plan: FirstPlan, backends: Mapping[BackendName, Backend]) -> list[PreparedAttempt]:
    """First what an engine with all seats free submits at once, then the others, each alone."""
    state, folder = plan.state, root.run_folder(plan.state.workspace, plan.state.run_id)
    runtime = Runtime()
    for name, backend in backends.items():
        seats = state.backend_cap(name)
        _take(state, m.Prepare(backend=name, seats=seats, batch_limit=backend.batch_limit), runtime)
    at = runtime.now()
    attempts = [
        task.last_attempt
        or AttemptState(
            task_id=task_id,
            n=1,
            token=attempt_token(state.run_id, task_id, 1),
            backend=state.backend_of(task.task),
            resources=task.task.resources,
            prepared_at=at,
        )
        for task_id, task in plan.jobs().items()
    ]
    return [prepared_attempt(state, folder, attempt) for attempt in attempts]


def _shown(
    attempts: Sequence[PreparedAttempt],
    plan: FirstPlan,
    backends: Mapping[BackendName, Backend],
    root: Root,
    warnings: Sequence[str],
) -> Preview:
    by_token = {attempt.token: attempt for attempt in attempts}
    tasks: dict[TaskId, ShownTask] = {}
    submissions: list[Submission] = []
    for name, backend in backends.items():
        own = [a for a in attempts if plan.state.backend_of(plan.state.tasks[a.task_id].task) == name]
        for planned in backend.describe(own):
            described = [by_token[token] for token in planned.attempts]
            for attempt in described:
                tasks[attempt.task_id] = ShownTask(
                    task_id=attempt.task_id,
                    backend=name,
                    folder=root.run_folder(plan.state.workspace, NO_RUN).attempt(attempt.task_id, 1).path,
                    script=backend.script(attempt),
                    submission=len(submissions),
                )
            submissions.append(
                Submission(
                    command=planned.command,
                    stdin=planned.stdin,
                    tasks=tuple(attempt.task_id for attempt in described),
                    is_queued=planned.is_queued,
                )
            )
    return Preview(
        tasks=[tasks[attempt.task_id] for attempt in attempts if attempt.task_id in tasks],
        submissions=submissions,
        resources={attempt.task_id: attempt.resources for attempt in attempts},
        others=[task_id for task_id in plan.state.tasks if task_id not in tasks],
        warnings=warnings,
    )
