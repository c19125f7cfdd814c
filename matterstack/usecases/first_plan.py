"""The first plan of a run that does not exist: made in a child process, as an engine does it, and checked.

Nothing is stored and nothing submitted.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import attrs
import trio

from matterstack.actors.plan_warnings import plan_warnings
from matterstack.actors.planner import PlanningRequest, ProcessPlanner
from matterstack.actors.planning import planning_request, structured_answer
from matterstack.actors.runtime import Runtime
from matterstack.actors.secret_warnings import refuse_secrets
from matterstack.backends.base import Backend
from matterstack.backends.registry import make_backend
from matterstack.campaign.pickled import PickledCampaign
from matterstack.core.documents.config import RunConfig
from matterstack.core.errors import BackendError, CampaignError
from matterstack.core.ids import BackendName, RunId, TaskId
from matterstack.core.model.resources import Limits
from matterstack.core.model.workflow import Workflow
from matterstack.core.model.workflow_check import check_limits, without_drained
from matterstack.core.run import messages as m
from matterstack.core.run.apply import Touched, apply, new_run
from matterstack.core.run.decide import decide
from matterstack.core.run.facts import RunCreated
from matterstack.core.run.state import RunState, TaskState
from matterstack.storage.file_errors import file_errors
from matterstack.storage.layout import Root, Workspace
from matterstack.storage.secret_values import SecretVault

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


async def check_first_plan(
    root: Root,
    slug: str,
    config: RunConfig,
    runtime: Runtime,
    kept: KeptCampaign | None = None,
    planning_s: float = PLANNING_S,
) -> list[str]:
    """Refuse a run whose first jobs could never run; returns the warnings of `Preview`, a line each.

    Args:
        kept: the object that plans it, instead of ``campaign.py``.

    Raises:
        CampaignError: naming the task, the field, the value and the limit; or there is no campaign to ask.
    """
    plan: FirstPlan | None = None
    try:
        with trio.move_on_after(planning_s):
            plan = await plan_first(root, slug, config, runtime, kept)
    except CampaignError as error:
        if not error.is_loaded:
            raise
        return [f"the limits of its backends could not be checked: {error}"]
    if plan is None:
        return [
            f"the limits of its backends could not be checked: planning took longer than {planning_s:g} s"
        ]
    if plan.workflow is None:
        return []
    limits, warnings = await probe(backends_of(plan, config, root))
    drained = without_drained(plan.workflow, limits, config.default_backend)
    check_limits(plan.workflow, limits, config.default_backend)
    check_limits(drained.others, limits, config.default_backend, now=True)
    return [*warnings, *drained.warnings, *await runtime.files(warnings_of, plan, root)]


def warnings_of(plan: FirstPlan, root: Root) -> list[str]:
    """What would end tasks of a plan that can run all the same.  Blocking."""
    tasks = (state.task for state in plan.state.tasks.values())
    return plan_warnings(tasks, root.workspaces / plan.state.workspace)


async def plan_first(
    root: Root, slug: str, config: RunConfig, runtime: Runtime, kept: KeptCampaign | None = None
) -> FirstPlan:
    """Ask a campaign for its first plan.

    Raises:
        CampaignError: it failed, or its plan cannot run; says where and how.
        StoreError: it cannot be asked in its workspace.
    """
    created = RunCreated(workspace=slug, config=config.model_dump(mode="json"))
    state = new_run(NO_RUN, created, runtime.now())
    take(state, m.Start(), runtime)
    request = attrs.evolve(planning_request(root, state, "plan"), log=None, code=None)
    if kept is not None:
        request = attrs.evolve(request, **kept.asked(root, slug))
    with file_errors(request.folder):
        answer = await ProcessPlanner(runtime).ask(request)
    workflow = structured_answer("plan", answer)
    if workflow is not None:
        vault = SecretVault(root)
        await runtime.files(vault.look_up, state.secrets)
        refuse_secrets(workflow, state.secrets, vault.search())
        take(state, m.Planned(iteration=1, workflow=workflow), runtime)
    return FirstPlan(state, workflow)


# ---- objects of host programs ----


@attrs.frozen
class KeptCampaign:
    """An object that plans, kept in a file as long as it is asked before there is a run."""

    file: Path
    sha256: str

    def asked(self, root: Root, slug: str) -> dict[str, Any]:
        """What a `PlanningRequest` has of it; where its workspace is made only now, it is called beside."""
        folder = root.workspaces / slug
        return {
            "campaign_file": self.file,
            "object_sha256": self.sha256,
            "folder": folder if folder.is_dir() else root.path,
        }


@asynccontextmanager
async def kept_aside(campaign: PickledCampaign, slug: str, runtime: Runtime) -> AsyncIterator[KeptCampaign]:
    """Keep an object where it can be loaded as the engine will load it.

    Raises:
        StoreError: there is no room for it.
    """
    with file_errors(Path("temporary files")):
        name = await runtime.files(tempfile.mkdtemp, None, "matterstack-")
    # Laid out as a root is: relative paths start at the workspace.
    file = Root(Path(name)).run_folder(slug, RunId("20000101T000000-000000")).campaign_object
    try:
        with file_errors(file):
            await runtime.files(_keep, file, campaign.content)
        yield KeptCampaign(file, campaign.sha256)
    finally:
        with trio.CancelScope(shield=True):
            await runtime.files(shutil.rmtree, name, True)


def _keep(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True)
    file.write_bytes(content)


async def require_loadable(
    root: Root,
    slug: str,
    config: RunConfig,
    runtime: Runtime,
    kept: KeptCampaign | None = None,
    loading_s: float = PLANNING_S,
) -> None:
    """Load what plans in a process of its own, before there is a run that could not go on.

    What takes longer is left to the engine, which waits longer.

    Args:
        kept: an object, instead of ``campaign.py``.

    Raises:
        CampaignError: it cannot be loaded; says why.
    """
    workspace = root.workspaces / slug
    request = PlanningRequest(
        action="load",
        campaign_file=Workspace(workspace).campaign_file,
        folder=workspace,
        params=config.params,
        timeout_s=config.planning_timeout_s,
    )
    if kept is not None:
        request = attrs.evolve(request, **kept.asked(root, slug))
    with trio.move_on_after(loading_s), file_errors(request.folder):
        await ProcessPlanner(runtime).ask(request)


def take(state: RunState, message: m.Message, runtime: Runtime) -> None:
    """Let a message have its consequences, of which none is stored."""
    for fact in decide(state, message):
        apply(state, fact, runtime.now(), Touched())


def backends_of(plan: FirstPlan, config: RunConfig, root: Root) -> dict[BackendName, Backend]:
    names = dict.fromkeys(plan.state.backend_of(state.task) for state in plan.jobs().values())
    return {name: make_backend(name, config.backends[name].model_dump(mode="json"), root) for name in names}


async def probe(backends: Mapping[BackendName, Backend]) -> tuple[dict[str, Limits], list[str]]:
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
