"""Look at the first iteration of a run that does not exist: what its jobs would be, and whether they can be.

Nothing is stored and nothing submitted.  The campaign is asked in a child process, as an engine does it.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import trio

from matterstack.actors.preparing import prepared_attempt
from matterstack.actors.runtime import Runtime
from matterstack.backends.base import Backend, PreparedAttempt
from matterstack.backends.factory import make_backend
from matterstack.backends.slurm.backend import SlurmBackend
from matterstack.backends.slurm.programs import Finished
from matterstack.backends.slurm.site import Account, NotSubmittedError, SubmissionOrder, own_account
from matterstack.backends.slurm.ssh.root_id import base_there, root_id
from matterstack.core.documents.config import RunConfig, SlurmBackendConfig, SshConfig
from matterstack.core.errors import BackendError
from matterstack.core.ids import BackendName, TaskId, attempt_token
from matterstack.core.model.workflow_check import check_limits
from matterstack.core.run import messages as m
from matterstack.core.run.state import AttemptState
from matterstack.storage.backend_reports import CommandStatistics
from matterstack.storage.layout import Root
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
    """One command that submits jobs, and what it reads from its standard input."""

    command: Sequence[str]
    stdin: str
    tasks: Sequence[TaskId]


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
    return await _shown(_prepare(root, plan, backends), plan, config, root, warnings)


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
    return [prepared_attempt(state, folder, attempt) for attempt in attempts]


async def _shown(
    attempts: Sequence[PreparedAttempt],
    plan: FirstPlan,
    config: RunConfig,
    root: Root,
    warnings: Sequence[str],
) -> Preview:
    by_backend: dict[BackendName, list[PreparedAttempt]] = {}
    for attempt in attempts:
        name = plan.state.backend_of(plan.state.tasks[attempt.task_id].task)
        by_backend.setdefault(name, []).append(attempt)
    tasks: dict[TaskId, ShownTask] = {}
    submissions: list[Submission] = []
    for name, own in by_backend.items():
        backend = config.backends[name]
        if isinstance(backend, SlurmBackendConfig):
            scripts, submitted = await _on_slurm(name, backend, own, root)
        else:
            scripts, submitted = _here(name, config, own, root)
        for number, submission in enumerate(submitted, len(submissions)):
            for task_id in submission.tasks:
                folder = root.run_folder(plan.state.workspace, NO_RUN).attempt(task_id, 1).path
                tasks[task_id] = ShownTask(
                    task_id=task_id,
                    backend=name,
                    folder=folder,
                    script=scripts[task_id],
                    submission=number,
                )
        submissions += submitted
    return Preview(
        tasks=[tasks[attempt.task_id] for attempt in attempts],
        submissions=submissions,
        resources={attempt.task_id: attempt.resources for attempt in attempts},
        others=[task_id for task_id in plan.state.tasks if task_id not in tasks],
        warnings=warnings,
    )


_Shown = tuple[dict[TaskId, str], list[Submission]]


def _here(name: BackendName, config: RunConfig, attempts: Sequence[PreparedAttempt], root: Root) -> _Shown:
    backend = make_backend(name, config.backends[name].model_dump(mode="json"), root)
    scripts = {attempt.task_id: backend.script(attempt) for attempt in attempts}
    submitted = [
        Submission(
            command=(scripts[a.task_id].partition("\n")[0].removeprefix("#!"), str(a.folder / "job.sh")),
            stdin="",
            tasks=(a.task_id,),
        )
        for a in attempts
    ]
    return scripts, submitted


async def _on_slurm(
    name: BackendName, config: SlurmBackendConfig, attempts: Sequence[PreparedAttempt], root: Root
) -> _Shown:
    """What the backend itself would run, at a site that only takes note."""
    site = _NotingSite(root, config.ssh)
    backend = SlurmBackend(name, config, root.locks / f"submit-{name}.lock", site=site)
    await backend.submit(attempts)
    submitted = [
        Submission(
            command=order.argv, stdin=order.script, tasks=tuple(attempt.task_id for attempt in order.attempts)
        )
        for order in site.orders
    ]
    return {attempt.task_id: backend.script(attempt) for attempt in attempts}, submitted


@attrs.define
class _NotingSite:
    """A site where nothing happens; see `matterstack.backends.slurm.site.Site`."""

    _root: Root
    _ssh: SshConfig | None
    orders: list[SubmissionOrder] = attrs.field(factory=list)
    statistics: Mapping[str, CommandStatistics] = attrs.field(factory=dict)

    @property
    def job_path(self) -> str | None:
        return str(Path(sys.executable).parent) if self._ssh is None else None

    def folder(self, folder: Path) -> Path:
        if self._ssh is None:
            return folder
        there = base_there(self._ssh.workdir, root_id(self._root.private))
        return Path(there, folder.relative_to(self._root.path))

    async def serve(self) -> None:
        await trio.sleep_forever()

    async def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float,  # noqa: ARG002
        inherit: int | None = None,  # noqa: ARG002
        stdin: str = "",  # noqa: ARG002
    ) -> Finished:
        raise BackendError(f"{argv[0]} is not run: this is for show only")

    async def account(self) -> Account:
        return await own_account()

    @property
    def host(self) -> str | None:
        return None if self._ssh is None else self._ssh.host

    async def bring(self, folders: Sequence[Path]) -> None:
        """They stay where they are."""

    async def push(self, orders: Sequence[SubmissionOrder]) -> None:
        self.orders.extend(orders)

    async def submit(self, order: SubmissionOrder, *, timeout_s: float) -> Finished:  # noqa: ARG002
        raise NotSubmittedError(f"{order.name} is for show only")

    @asynccontextmanager
    async def settled(self, attempts: Sequence[PreparedAttempt]) -> AsyncIterator[None]:  # noqa: ARG002
        yield

    async def pull_claims(self, folders: Sequence[Path]) -> None:
        """There are none."""

    async def pull(self, folders: Sequence[Path]) -> frozenset[Path]:  # noqa: ARG002
        return frozenset()

    def watch(self, folders: Sequence[Path]) -> None:
        """Nothing runs."""
