"""Look at the first iteration of a run that does not exist: what its jobs would be, and whether they can be.

Nothing is stored and nothing submitted.  The campaign is asked in a child process, as an engine does it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import attrs

from matterstack.actors.preparing import prepared_attempt
from matterstack.actors.runtime import Runtime
from matterstack.backends.base import Backend, PreparedAttempt
from matterstack.core.ids import BackendName, TaskId, attempt_token
from matterstack.core.model.workflow_check import check_limits
from matterstack.core.run import messages as m
from matterstack.core.run.state import AttemptState
from matterstack.storage.layout import Root
from matterstack.storage.secret_values import SecretVault
from matterstack.usecases.configuration import config_of_new_run
from matterstack.usecases.first_plan import (
    NO_RUN,
    FirstPlan,
    backends_of,
    plan_first,
    probe,
    take,
    warnings_of,
)

_NONCE: Final = "NONCE"
"""In the place of each nonce, as another word is in that of the run's id."""


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


async def preview(root: Root, slug: str, overrides: Mapping[str, Any]) -> Preview:
    """Plan a first iteration and write its scripts, as an engine would.

    Raises:
        CampaignError: as the engine tells it; also what a backend can never give.
        ConfigError, NotFoundError: as `matterstack.usecases.runs.create_run`.
    """
    runtime = Runtime()
    config = await runtime.files(config_of_new_run, root, slug, overrides)
    plan = await plan_first(root, slug, config, runtime)
    if plan.workflow is None:
        return Preview()
    backends = backends_of(plan, config, root)
    limits, warnings = await probe(backends)
    check_limits(plan.workflow, limits, config.default_backend)
    warnings = [*warnings, *await runtime.files(warnings_of, plan, root)]
    return _shown(_prepare(root, plan, backends), plan, backends, root, warnings)


# ---- what would be submitted ----


def _prepare(root: Root, plan: FirstPlan, backends: Mapping[BackendName, Backend]) -> list[PreparedAttempt]:
    """First what an engine with all seats free submits at once, then the others, each alone."""
    state, folder = plan.state, root.run_folder(plan.state.workspace, plan.state.run_id)
    runtime = Runtime()
    for name, backend in backends.items():
        seats = state.backend_cap(name)
        take(state, m.Prepare(backend=name, seats=seats, batch_limit=backend.batch_limit), runtime)
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
    vault = SecretVault(root)
    return [
        attrs.evolve(prepared_attempt(state, folder, attempt, None, vault), nonce=_NONCE)
        for attempt in attempts
    ]


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
